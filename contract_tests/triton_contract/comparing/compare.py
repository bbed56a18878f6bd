"""Compares two observations of one case, axis by axis. Pure.

The aim is that the raw bytes are equal. `NORMALISED` is a weaker outcome: equal after the case's normalisers.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from triton_contract.cases.case import Case, is_met
from triton_contract.cases.operations import operation_of
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.playing.observation import IN_VAIN, Observation

from .normalise import ALWAYS, BY_OPERATION, normalise

AXES = ("status", "headers", "spelling", "body", "framing", "statistics")
_ANSWER_LIMIT = 300


class Outcome(StrEnum):
    """What the comparison of one axis of one case showed, from best to worst."""

    EQUAL = "equal"
    NORMALISED = "equal after normalising"
    DIVERGENCE = "known divergence"
    DIFFERENT = "different"
    UNPROVEN = "unproven"


_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}


def worst(outcomes: Iterator[Outcome] | list[Outcome]) -> Outcome:
    """The worst of them; EQUAL when there are none."""
    return max(outcomes, key=_RANK.__getitem__, default=Outcome.EQUAL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one axis. `detail` shows the first difference."""

    outcome: Outcome
    detail: str = ""


EQUAL = Verdict(Outcome.EQUAL)


def compare(case: Case, expected: Observation, actual: Observation) -> dict[str, Verdict]:
    """A verdict for every axis of the case. There is one for the statistics only when they were read."""
    verdicts = dict.fromkeys(AXES[:-1], EQUAL)
    for side in (expected, actual):
        for exchange in side.exchanges:
            if exchange.ending.startswith(IN_VAIN):
                return dict.fromkeys(verdicts, Verdict(Outcome.DIFFERENT, exchange.ending))
    if len(expected.exchanges) != len(actual.exchanges):
        text = f"{len(expected.exchanges)} answers expected, {len(actual.exchanges)} came"
        return {axis: Verdict(Outcome.DIFFERENT, text) for axis in verdicts}
    if waited := _unmet_wait(case, expected):
        return verdicts | {"body": Verdict(Outcome.DIFFERENT, waited)}
    for number, pair in enumerate(zip(expected.exchanges, actual.exchanges, strict=True), start=1):
        step = f"step {number}: " if len(expected.exchanges) > 1 else ""
        for axis, verdict in _exchange(case, *pair).items():
            if _RANK[verdict.outcome] > _RANK[verdicts[axis].outcome]:
                verdicts[axis] = replace(verdict, detail=step + verdict.detail)
    if expected.counts is not None or actual.counts is not None:
        verdicts["statistics"] = _counts(expected, actual)
    return verdicts


def _unmet_wait(case: Case, expected: Observation) -> str | None:
    """Why the comparison means nothing: the reference never gave the answer that the case waits for. Else None."""
    for number, (step, exchange) in enumerate(zip(case.answered, expected.exchanges, strict=False), start=1):
        response = exchange.response
        if step.until and (response is None or not is_met(step.until, response.status, response.body)):
            return (
                f"step {number}: the reference never gave the answer that the case waits for ({step.until!r})"
            )
    return None


def normalisers_of(case: Case) -> tuple[str, ...]:
    """The names of the normalisers: those of all cases, those of the case's operation, then its own."""
    return (*ALWAYS, *BY_OPERATION.get(operation_of(case), ()), *case.normalise)


def _exchange(case: Case, expected: Exchange, actual: Exchange) -> dict[str, Verdict]:
    if expected.response is None or actual.response is None:
        if expected.response is None and actual.response is None:
            return {"framing": _same((expected.ending, expected.extra), (actual.ending, actual.extra))}
        shown = Verdict(Outcome.DIFFERENT, _two(_summary(expected), _summary(actual)))
        return dict.fromkeys(AXES[:-1], shown)
    raw = plain = (expected.response, actual.response)
    if raw[0] != raw[1]:  # equal ones stay equal, and searching megabytes takes long
        names = normalisers_of(case)
        plain = (normalise(raw[0], names, case.mask), normalise(raw[1], names, case.mask))
    body = _bodies(raw, plain)
    return {
        "status": _same(_status(expected, raw[0]), _status(actual, raw[1])),
        "headers": _same(_headers(raw[0]), _headers(raw[1])),
        "spelling": _same([name for name, _ in raw[0].headers], [name for name, _ in raw[1].headers]),
        "body": body,
        "framing": _same(
            _framing(expected, plain[0], same_body=body.outcome is Outcome.EQUAL),
            _framing(actual, plain[1], same_body=body.outcome is Outcome.EQUAL),
        ),
    }


def _status(exchange: Exchange, response: Response) -> str:
    interim = "".join(f"{code} then " for code in exchange.interim)
    return f"{interim}{response.version} {response.status} {response.reason}"


def _headers(response: Response) -> list[str]:
    """The headers in order, names in lower case.

    The value of a Content-Length that was correct is left out: it follows from the body, which is compared itself.
    """
    lines = []
    for name, value in response.headers:
        kept = response.complete and name.lower() == "content-length"
        lines.append(f"{name.lower()}: {'<length of the body>' if kept else value}")
    return lines


def _framing(exchange: Exchange, response: Response, *, same_body: bool) -> dict[str, object]:
    chunks: object = list(response.chunks) if same_body else len(response.chunks)
    return {
        "framing": response.framing,
        "chunks": chunks,
        "complete": response.complete,
        "connection": exchange.ending,
        "extra bytes": exchange.extra,
    }


def _bodies(raw: tuple[Response, Response], plain: tuple[Response, Response]) -> Verdict:
    if raw[0].body == raw[1].body:
        return EQUAL
    if plain[0].body == plain[1].body:
        return Verdict(Outcome.NORMALISED)
    return Verdict(Outcome.DIFFERENT, body_difference(plain[0].body, plain[1].body))


def _counts(expected: Observation, actual: Observation) -> Verdict:
    if expected.counts == actual.counts:
        return EQUAL
    names = sorted((expected.counts or {}).keys() | (actual.counts or {}).keys())
    lines = []
    for name in names:
        pair = [(counts or {}).get(name, 0) for counts in (expected.counts, actual.counts)]
        if pair[0] != pair[1]:
            lines.append(f"{name}: expected +{pair[0]}, got +{pair[1]}")
    return Verdict(Outcome.DIFFERENT, "\n".join(lines) or _two(expected.counts, actual.counts))


def _same(expected: object, actual: object) -> Verdict:
    return EQUAL if expected == actual else Verdict(Outcome.DIFFERENT, _two(expected, actual))


def _two(expected: object, actual: object) -> str:
    if isinstance(expected, dict) and isinstance(actual, dict):
        differing = [key for key in expected if expected[key] != actual.get(key)]
        expected, actual = ({key: each.get(key) for key in differing} for each in (expected, actual))
    return f"expected {expected}\ngot      {actual}"


def _summary(exchange: Exchange) -> str:
    if exchange.response is None:
        return f"no answer ({exchange.ending}{', bytes: ' + repr(exchange.extra) if exchange.extra else ''})"
    return f"{_status(exchange, exchange.response)} {_shown(exchange.response.body)}"


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "backslashreplace")
    return text if len(text) <= _ANSWER_LIMIT else f"{text[:_ANSWER_LIMIT]}... ({len(body)} bytes)"


def body_difference(expected: bytes, actual: bytes) -> str:
    """Both bodies, and the first byte at which they differ. Of long bodies only the part around that byte is shown."""
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b),
        min(len(expected), len(actual)),
    )
    if max(len(expected), len(actual)) <= _ANSWER_LIMIT:
        return f"at byte {at}\nexpected {_shown(expected)}\ngot      {_shown(actual)}"
    if b"\n" in expected.strip():
        left, right = (body.decode("utf-8", "backslashreplace").splitlines() for body in (expected, actual))
        return "\n".join(list(difflib.unified_diff(left, right, lineterm="", n=0))[2:14])
    start = max(0, at - 60)
    around = [body[start : at + 120].decode("utf-8", "backslashreplace") for body in (expected, actual)]
    return f"at byte {at}\nexpected ...{around[0]}\ngot      ...{around[1]}"
