"""Running cases: servers started once per repository and flags, a death noticed and survived, both sides alike.

A *side* answers cases. A live side holds a target; a recorded side holds a real server's answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

from .compare import AXES, Outcome, Verdict, compare
from .divergences import Divergence, apply
from .http.case import Case
from .http.operations import operation_of
from .http.play import Observation, counts_statistics, play, recount
from .results import CaseResult
from .targets import Target, TargetUnavailable

MODELS = Path(__file__).parent / "models"
RECOUNT_SECONDS = 1.5
RECOUNT_PAUSE = 0.02
DEATH_SECONDS = 2.0
_LOST = ("closed", "reset", "silent")


class Side(Protocol):
    """Whatever answers cases."""

    def begin(self, repository: Path, flags: Sequence[str]) -> None: ...
    def observe(self, case: Case) -> Observation: ...
    def again(self, seen: Observation) -> Observation: ...
    def renew(self) -> None: ...
    def end(self) -> None: ...


class LiveSide:
    """A target, with a fresh server whenever a case asks for one or the last one died."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._used = False

    def begin(self, repository: Path, flags: Sequence[str]) -> None:
        self.target.start(repository, flags)
        self._used = False

    def observe(self, case: Case) -> Observation:
        if self._used and (case.needs_fresh_server or case.isolated):
            self.renew()
        self._used = True
        seen = play(case, self.target.http, self.target.metrics)
        lost = any(exchange.response is None for exchange in seen.exchanges)
        death = self.target.death(within=DEATH_SECONDS if lost and not self._meant(case, seen) else 0.0)
        return seen if death is None else replace(seen, death=str(death), counts=None)

    def _meant(self, case: Case, seen: Observation) -> bool:
        """Whether an answer that did not come is likely the point of the case, and no sign of a death."""
        return any(step.is_raw or step.half_close for step in case.steps) and seen.exchanges[-1].ending in _LOST

    def again(self, seen: Observation) -> Observation:
        return recount(seen, self.target.http)

    def renew(self) -> None:
        if self._used:
            self.target.restart()
            self._used = False

    def end(self) -> None:
        self.target.stop()


class RecordedSide:
    """The recorded answers of a real server."""

    def __init__(self, observations: Mapping[str, Observation]) -> None:
        self._observations = observations

    def begin(self, repository: Path, flags: Sequence[str]) -> None:
        """Nothing to start."""

    def observe(self, case: Case) -> Observation:
        return self._observations[case.id]

    def again(self, seen: Observation) -> Observation:
        return seen

    def renew(self) -> None:
        """A recording does not wear out."""

    def end(self) -> None:
        """Nothing to stop."""


class Pair:
    """Two sides over one group of cases."""

    def __init__(self, expected: Side, actual: Side, divergences: tuple[Divergence, ...] = ()) -> None:
        self._sides = (expected, actual)
        self._divergences = divergences
        self._pool = ThreadPoolExecutor(2)

    def begin(self, repository: str, flags: Sequence[str]) -> None:
        """Start both; ServerFailed or TargetUnavailable when one cannot."""
        try:
            list(self._pool.map(lambda side: side.begin(MODELS / repository, flags), self._sides))
        except BaseException:
            self.end()
            raise

    def run(self, case: Case) -> CaseResult:
        """Play the case on both sides and compare."""
        expected, actual = self._pool.map(lambda side: side.observe(case), self._sides)
        result = self._judge(case, expected, actual)
        deadline = time.monotonic() + RECOUNT_SECONDS
        while _miscounted(result) and time.monotonic() < deadline:
            time.sleep(RECOUNT_PAUSE)
            expected, actual = (s.again(o) for s, o in zip(self._sides, (expected, actual), strict=True))
            result = self._judge(case, expected, actual)
        if case.isolated or expected.death or actual.death:
            list(self._pool.map(lambda side: side.renew(), self._sides))
        return result

    def _judge(self, case: Case, expected: Observation, actual: Observation) -> CaseResult:
        verdicts = judge(case, expected, actual)
        verdicts = apply(case.id, verdicts, self._divergences)
        return CaseResult(case.id, operation_of(case), verdicts, (expected.death or "").split("\n")[0])

    def end(self) -> None:
        list(self._pool.map(lambda side: side.end(), self._sides))
        self._pool.shutdown()


def _miscounted(result: CaseResult) -> bool:
    verdict = result.verdicts.get("statistics")
    return verdict is not None and verdict.outcome is Outcome.DIFFERENT


def judge(case: Case, expected: Observation, actual: Observation) -> dict[str, Verdict]:
    """The comparison, with deaths taken into account: where the reference died there is nothing to equal,
    but the target must have answered with an error and stayed up."""
    if actual.death is not None:
        return _everywhere(Verdict(Outcome.DIFFERENT, f"the target died: {actual.death}"))
    if expected.death is None:
        if case.crashes_reference:
            return _everywhere(Verdict(Outcome.DIFFERENT, "the case says that the reference crashes; it did not"))
        return compare(case, expected, actual)
    broken = next((i for i, e in enumerate(expected.exchanges) if e.response is None), len(expected.exchanges) - 1)
    answer = actual.exchanges[broken].response if broken < len(actual.exchanges) else None
    if answer is None or answer.status < 400:
        got = "no answer" if answer is None else f"{answer.status}"
        text = f"the reference crashes ({expected.death}); the target must answer with an error, got {got}"
        return _everywhere(Verdict(Outcome.DIFFERENT, text))
    return _everywhere(Verdict(Outcome.UNPROVEN, f"the reference crashes: {expected.death}"))


def _everywhere(verdict: Verdict) -> dict[str, Verdict]:
    return {axis: verdict for axis in AXES[:-1]}


Group = tuple[tuple[str, tuple[str, ...]], list[Case]]


def groups_of(cases: Iterable[Case]) -> list[Group]:
    """Cases by repository and flags; inside a group in the order written, large groups first."""
    ordered = sorted(cases, key=lambda case: case.group)
    groups = [(key, list(members)) for key, members in groupby(ordered, key=lambda case: case.group)]
    return sorted(groups, key=lambda group: -len(group[1]))


def run_pairs(
    cases: Iterable[Case],
    pair: Callable[[], Pair],
    *,
    jobs: int = 2,
    on_result: Callable[[CaseResult], None] = lambda result: None,
) -> list[CaseResult]:
    """Every case on both sides, `jobs` groups at a time; results in the order of the cases."""
    cases = list(cases)

    def one(group: Group) -> list[CaseResult]:
        (repository, flags), members = group
        running = pair()
        running.begin(repository, flags)
        results = []
        try:
            for case in members:
                results.append(running.run(case))
                on_result(results[-1])
        finally:
            running.end()
        return results

    with ThreadPoolExecutor(jobs) as pool:
        found = {result.case: result for results in pool.map(one, groups_of(cases)) for result in results}
    return [found[case.id] for case in cases]


def record(
    cases: Iterable[Case],
    target: Callable[[], Target],
    *,
    jobs: int = 2,
    on_case: Callable[[Case], None] = lambda case: None,
) -> Iterator[tuple[Case, Observation]]:
    """What a target answers to every case, in the order of the cases."""
    cases = list(cases)

    def one(group: Group) -> list[tuple[Case, Observation]]:
        (repository, flags), members = group
        side = LiveSide(target())
        seen = []
        try:
            side.begin(MODELS / repository, flags)
            for case in members:
                observation = side.observe(case)
                if counts_statistics(case):
                    time.sleep(RECOUNT_PAUSE)
                    observation = side.again(observation)
                seen.append((case, observation))
                if case.isolated or observation.death:
                    side.renew()
                on_case(case)
        finally:
            side.end()
        return seen

    with ThreadPoolExecutor(jobs) as pool:
        found = {case.id: (case, seen) for group in pool.map(one, groups_of(cases)) for case, seen in group}
    return iter([found[case.id] for case in cases])


def fits_url(case: Case) -> bool:
    """Whether a case can be run against a server that we do not start."""
    metrics = any(step.port == "metrics" for step in case.steps)
    return not (case.flags or case.needs_fresh_server or case.isolated or metrics)


__all__ = ["LiveSide", "Pair", "RecordedSide", "TargetUnavailable", "fits_url", "groups_of", "record", "run_pairs"]
