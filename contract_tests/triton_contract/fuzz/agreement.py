"""Two live servers that must agree: one request at a time, judged as the contract's cases are judged.

Where the reference dies of a request nothing is proven: both servers are started anew, and requests of the same
shape are left out from then on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from triton_contract.cases.encoding import HEADER_LENGTH
from triton_contract.comparing.compare import Outcome, Verdict
from triton_contract.comparing.results import CaseResult
from triton_contract.running.pair import Pair

from .request import Request, case_of

_VARIABLE = re.compile(r"'[^']*'|\[[^\]]*\]|0x[0-9a-f]+|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_STUB_DEATH = re.compile(r"expected .*Stub process '[^']*' is not healthy")
_KEPT = ("name", "datatype")
_SHOWN = 240


class Disagreement(AssertionError):
    """The servers differ on a request; `kind` is the same for requests that differ alike."""

    def __init__(self, request: Request, result: CaseResult) -> None:
        super().__init__(details(result))
        self.request = request
        self.result = result
        self.kind = kind_of(request, result)


class KnownToCrash(Exception):
    """The reference died of a request of this shape before."""


@dataclass(slots=True)
class Agreement:
    """A pair of servers, and what has been asked of them so far."""

    pair: Pair
    repository: str
    tally: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    """Requests by operation and outcome."""
    crashes: dict[str, tuple[Request, str]] = field(default_factory=dict)
    """By shape: the request that the reference died of, and how."""
    left_out: int = 0
    """Requests not sent because of `crashes`."""

    def ask(self, request: Request) -> CaseResult:
        """Both servers' answers to the request, compared. Raises KnownToCrash instead of asking again."""
        shape = shape_of(request)
        if shape in self.crashes:
            self.left_out += 1
            raise KnownToCrash(shape)
        result = self.pair.run(case_of(request, self.repository))
        if not result.crash and _STUB_DEATH.search(details(result)):
            # The server lives on without the model: only fresh servers can be compared.
            self.pair.renew()
            death = Verdict(Outcome.UNPROVEN, "a Python model's process died")
            result = CaseResult(result.case, result.operation, {"status": death}, death.detail)
        if result.crash:
            self.crashes[shape] = (request, result.crash)
        self.tally[result.operation, result.outcome] += 1
        return result


def details(result: CaseResult) -> str:
    """What differs, one axis per line."""
    return "\n".join(f"{axis}: {detail}" for axis, detail in result.differences().items())


def kind_of(request: Request, result: CaseResult) -> str:
    """The operation, the axes that differ, and the texts without their names and numbers.

    Where both answer 200 the texts are data, so the path stands for them.
    """
    axes = [axis for axis, verdict in result.verdicts.items() if verdict.outcome is Outcome.DIFFERENT]
    status, body = (result.verdicts[axis] for axis in ("status", "body"))
    if status.outcome is not Outcome.DIFFERENT and '{"error"' not in body.detail:
        return f"{result.operation} {'+'.join(axes)} {request.path}"
    told = _VARIABLE.sub("_", f"{status.detail} {body.detail}")
    return f"{result.operation} {'+'.join(axes)} {told[:_SHOWN]}"


def shape_of(request: Request) -> str:
    """Method, path and the skeleton of the JSON: keys, names and datatypes kept, other values as their types."""
    body = request.body
    length = dict(request.headers).get(HEADER_LENGTH, "")
    if length.isdecimal():
        body = body[: int(length)]
    try:
        skeleton = _skeleton(json.loads(body))
    except (ValueError, RecursionError):
        skeleton = repr(body)
    return f"{request.method} {request.path} {skeleton}"


def _skeleton(value: Any, key: str = "") -> str:
    if isinstance(value, dict):
        members = (f"{name}:{_skeleton(each, name)}" for name, each in sorted(value.items()))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted({_skeleton(each) for each in value})) + "]"
    return repr(value) if key in _KEPT else type(value).__name__
