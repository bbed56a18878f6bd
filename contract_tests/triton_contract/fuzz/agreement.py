"""Two live servers that must agree: one request at a time, compared as the contract's cases are compared.

A request that kills the reference proves nothing. Both servers are started again, and requests of the same shape are
left out from then on.
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
from triton_contract.targets import TargetUnavailable

from .request import Request, case_of

_VARIABLE = re.compile(r"'[^']*'|\[[^\]]*\]|0x[0-9a-f]+|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_STUB_DEATH = re.compile(r"expected .*Stub process '[^']*' is not healthy")
_KEPT = ("name", "datatype")
_SHOWN = 240


class Disagreement(AssertionError):
    """The servers differ on a request. `kind` is the same for requests that show the same difference."""

    def __init__(self, request: Request, result: CaseResult) -> None:
        super().__init__(details(result))
        self.request = request
        self.result = result
        self.kind = kind_of(request, result)


class KnownToCrash(Exception):
    """The reference has died of a request of this shape before."""


@dataclass(slots=True)
class Agreement:
    """A pair of servers, and the counts of what was asked so far."""

    pair: Pair
    repository: str
    tally: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    """Requests by operation and outcome."""
    crashes: dict[str, tuple[Request, str]] = field(default_factory=dict)
    """By shape: the request that the reference died of, and how."""
    left_out: int = 0
    """Requests not sent because of `crashes`."""

    def ask(self, request: Request) -> CaseResult:
        """Send the request to both servers and compare. Raises KnownToCrash for a shape that the reference died of.

        Raises TargetUnavailable when one of them was lost and cannot be started anew.
        """
        shape = shape_of(request)
        if shape in self.crashes:
            self.left_out += 1
            raise KnownToCrash(shape)
        case = case_of(request, self.repository)
        result = self.pair.run(case)
        if result.failed and (reason := self.pair.lost(case)):
            raise TargetUnavailable(reason)
        if not result.crash and _STUB_DEATH.search(details(result)):
            # The server still runs, but without the model. Only newly started servers can be compared.
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
    """The kind of a difference: the operation, the axes that differ, and the texts without names and numbers.

    When both servers answer 200 the texts are data. Then the path is used instead.
    """
    axes = [axis for axis, verdict in result.verdicts.items() if verdict.outcome is Outcome.DIFFERENT]
    status, body = (result.verdicts[axis] for axis in ("status", "body"))
    if status.outcome is not Outcome.DIFFERENT and '{"error"' not in body.detail:
        return f"{result.operation} {'+'.join(axes)} {request.path}"
    told = _VARIABLE.sub("_", f"{status.detail} {body.detail}")
    return f"{result.operation} {'+'.join(axes)} {told[:_SHOWN]}"


def shape_of(request: Request) -> str:
    """Method, path and the structure of the JSON: keys, names and datatypes, and the types of all other values."""
    if request.config is not None:
        return repr(request.config)
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
