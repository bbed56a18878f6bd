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

from .compare import AXES, EQUAL, Outcome, Verdict, compare
from .divergences import Divergence, apply
from .grpc.case import Rpc
from .http import repository_files
from .http.case import Case
from .http.operations import operation_of
from .http.play import SHARED_MEMORY, Observation, play, recount
from .http.statistics import SETTLE_PAUSE, Counts, delta
from .process import ServerFailed
from .results import CaseResult
from .targets import Target, TargetUnavailable

MODELS = Path(__file__).parent / "models"
RECOUNT_SECONDS = 5.0
"""How long two servers' statistics may differ before they count as different: a busy server counts late."""
RECOUNT_PAUSE = 0.02
RECORD_PAUSE = 0.1
"""Seconds between two equal readings of the statistics when nothing shows that the last count has come: a real
server counts its first decoupled request some 40 ms after its answer."""
DEATH_SECONDS = 5.0
"""How long a server's end may take to be seen after its connections were cut."""
DEATHS = 10
"""How often the reference may die in one case before it counts. A server of 2.51 aborts by chance, the more often the
busier its machine: while it answers a gRPC stream (an assertion of its own, proto_buffer_writer.h:65), and after a
`pb_utils.load_model` that failed (freeing its message throws; nearly every server within its first few such loads).
"""
CORRUPT = "it answered from memory that it had freed"
_HARMLESS = ("silent", SHARED_MEMORY)


class Side(Protocol):
    """Whatever answers cases."""

    def begin(self, repository: Path, flags: Sequence[str]) -> None: ...
    def observe(self, case: Case) -> Observation: ...
    def again(self, seen: Observation) -> Observation: ...
    def renew(self) -> None:
        """Have a fresh server for the next case."""

    def end(self) -> None: ...


class LiveSide:
    """A target, with a fresh server whenever a case asks for one or the last one died."""

    def __init__(self, target: Target, *, settle_pause: float = SETTLE_PAUSE) -> None:
        self.target = target
        self._settle_pause = settle_pause
        self._started = self._used = self._stale = False
        self._repository, self._flags = MODELS, list[str]()

    def begin(self, repository: Path, flags: Sequence[str]) -> None:
        """Start the target; `{models}` in a flag is the folder that all repositories are in."""
        self._repository = repository
        self._flags = [flag.replace("{models}", str(MODELS)) for flag in flags]
        self.target.start(repository, self._flags)
        self._started = True
        self._used = self._stale = False

    def observe(self, case: Case) -> Observation:
        if case.edits:
            return self._observe_over_a_copy(case)
        if not self._started:
            self.begin(self._repository, self._flags)
        if self._stale or (self._used and (case.needs_fresh_server or case.isolated)):
            self.target.restart()
            self._stale = False
        self._used = True
        return self._play(case)

    def _observe_over_a_copy(self, case: Case) -> Observation:
        with repository_files.copied(self._repository) as copy:
            self.target.stop()
            self.target.start(copy, self._flags)
            try:
                return self._play(case, copy)
            finally:
                self.target.stop()
                self._started = False

    def _play(self, case: Case, repository: Path | None = None) -> Observation:
        seen = play(
            case,
            self.target.http,
            self.target.metrics,
            self.target.grpc,
            repository=repository,
            settle_pause=self._settle_pause,
        )
        death = self.target.death(within=DEATH_SECONDS if _looks_dead(case, seen) else 0.0)
        return seen if death is None else replace(seen, death=str(death), counts=None)

    def again(self, seen: Observation) -> Observation:
        return recount(seen, self.target.http)

    def renew(self) -> None:
        self._stale = True

    def end(self) -> None:
        self.target.stop()


def _looks_dead(case: Case, seen: Observation) -> bool:
    """Whether a server may be about to die: a plain request found its connection cut, or none at all.

    A case of literal bytes cuts connections on purpose, and a server that is silent is alive.
    """
    if any(step.is_raw or step.half_close for step in case.steps):
        return False
    return any(each.response is None and each.ending not in _HARMLESS for each in seen.exchanges)


class RecordedSide:
    """The recorded answers of a real server."""

    def __init__(self, observations: Mapping[str, Observation]) -> None:
        self._observations = observations

    def begin(self, repository: Path, flags: Sequence[str]) -> None:
        """Nothing to start."""

    def observe(self, case: Case) -> Observation:
        if case.id not in self._observations:
            raise LookupError(
                f"no recorded answer to {case.id}: run `triton-contract record --http-case {case.id}`"
            )
        return self._observations[case.id]

    def again(self, seen: Observation) -> Observation:
        return seen

    def renew(self) -> None:
        """A recording does not wear out."""

    def end(self) -> None:
        """Nothing to stop."""


class Pair:
    """Two sides over one group of cases."""

    def __init__(
        self, expected: Side, actual: Side, divergences: tuple[Divergence, ...] = (), *, alike: bool = False
    ) -> None:
        """`alike`: both are real servers, which may crash together."""
        self._sides = (expected, actual)
        self._alike = alike
        self._divergences = divergences
        self._pool = ThreadPoolExecutor(2)
        self._gap: Counts | None = None
        """By how much the sides' statistics differed when they were last looked at (None: not known)."""

    def begin(self, repository: str, flags: Sequence[str]) -> None:
        """Start both; ServerFailed or TargetUnavailable when one cannot."""
        try:
            list(self._pool.map(lambda side: side.begin(MODELS / repository, flags), self._sides))
        except BaseException:
            self.end()
            raise

    def run(self, case: Case) -> CaseResult:
        """Play the case on both sides and compare.

        A reference that dies where the case does not say so is asked again: what it does by chance (DEATHS) is nothing
        that a target could equal, and what it answers when it lives is. So is one whose answer is not sound.
        """
        for _ in range(DEATHS):
            result = self._once(case)
            if case.crashes_reference or not result.crash:
                break
        return result

    def _once(self, case: Case) -> CaseResult:
        # Two servers would meet in one shared memory object.
        observe = map if case.shared_memory else self._pool.map
        expected, actual = observe(lambda side: side.observe(case), self._sides)
        if case.needs_fresh_server or case.isolated:
            self._gap = None
        result = self._judge(case, expected, actual)
        deadline = time.monotonic() + RECOUNT_SECONDS
        while _miscounted(result) and time.monotonic() < deadline:
            time.sleep(RECOUNT_PAUSE)
            expected, actual = (s.again(o) for s, o in zip(self._sides, (expected, actual), strict=True))
            result = self._judge(case, expected, actual)
        gap = _gap(expected.after, actual.after)
        self._gap = self._gap if gap is None else gap
        if not is_sound(case, expected):
            result = replace(result, crash=CORRUPT)
        if case.isolated or result.crash or actual.death:
            self.renew()
        return result

    def _judge(self, case: Case, expected: Observation, actual: Observation) -> CaseResult:
        verdicts = judge(case, expected, actual, alike=self._alike)
        after = _gap(expected.after, actual.after)
        if after is not None and after in (self._gap, _gap(expected.before, actual.before)):
            # A count of an earlier case that came late falls into this one, maybe on one side only.
            verdicts["statistics"] = EQUAL
        verdicts = apply(case.id, verdicts, self._divergences)
        return CaseResult(case.id, operation_of(case), verdicts, (expected.death or "").split("\n")[0])

    def renew(self) -> None:
        """Have fresh servers for the next case."""
        self._gap = None
        for side in self._sides:
            side.renew()

    def end(self) -> None:
        list(self._pool.map(lambda side: side.end(), self._sides))
        self._pool.shutdown()


def _gap(expected: Counts | None, actual: Counts | None) -> Counts | None:
    return None if expected is None or actual is None else delta(actual, expected)


def _miscounted(result: CaseResult) -> bool:
    verdict = result.verdicts.get("statistics")
    return verdict is not None and verdict.outcome is Outcome.DIFFERENT


def judge(
    case: Case, expected: Observation, actual: Observation, *, alike: bool = False
) -> dict[str, Verdict]:
    """The comparison, with deaths taken into account: where the reference died there is nothing to equal,
    but the target must have answered with an error and stayed up.
    """
    if actual.death is not None and expected.death is not None and alike:
        return _everywhere(Verdict(Outcome.UNPROVEN, f"the reference crashes: {expected.death}"))
    if actual.death is not None:
        return _everywhere(Verdict(Outcome.DIFFERENT, f"the target died: {actual.death}"))
    if expected.death is None:
        if case.crashes_reference:
            return _everywhere(
                Verdict(Outcome.DIFFERENT, "the case says that the reference crashes; it did not")
            )
        return compare(case, expected, actual)
    broken = next(
        (i for i, e in enumerate(expected.exchanges) if e.response is None), len(expected.exchanges) - 1
    )
    answer = actual.exchanges[broken].response if broken < len(actual.exchanges) else None
    if answer is None or not answer.is_error:
        got = "no answer" if answer is None else f"{answer.status}"
        text = f"the reference crashes ({expected.death}); the target must answer with an error, got {got}"
        return _everywhere(Verdict(Outcome.DIFFERENT, text))
    return _everywhere(Verdict(Outcome.UNPROVEN, f"the reference crashes: {expected.death}"))


def is_sound(case: Case, seen: Observation) -> bool:
    """Whether a living reference answered with the text that the case names, if it names one."""
    if not case.sound_answer or seen.death is not None:
        return True
    text = case.sound_answer.encode()
    return any(each.response is not None and text in each.response.body for each in seen.exchanges)


def _everywhere(verdict: Verdict) -> dict[str, Verdict]:
    return dict.fromkeys(AXES[:-1], verdict)


Group = tuple[tuple[str, tuple[str, ...]], list[Case]]


def groups_of(cases: Iterable[Case]) -> list[Group]:
    """Cases by repository and flags; inside a group in the order written, large groups first."""
    ordered = sorted(cases, key=lambda case: case.group)
    groups = [(key, list(members)) for key, members in groupby(ordered, key=lambda case: case.group)]
    return sorted(groups, key=lambda group: -len(group[1]))


def parts_of(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """The groups shared out over that many who work side by side, about as long each; large groups first."""
    parts: list[list[Group]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for group in sorted(groups, key=_seconds, reverse=True):
        lightest = loads.index(min(loads))
        parts[lightest].append(group)
        loads[lightest] += _seconds(group)
    return parts


def _seconds(group: Group) -> float:
    """About how long a group takes: a real server's start is what does."""
    starts = sum(bool(case.needs_fresh_server or case.isolated or case.edits) for case in group[1])
    return 2.0 * (1 + starts) + 0.04 * len(group[1])


def run_pairs(
    cases: Iterable[Case],
    pair: Callable[[], Pair],
    *,
    jobs: int = 2,
    on_result: Callable[[CaseResult], None] | None = None,
) -> list[CaseResult]:
    """Every case on both sides, `jobs` groups at a time; results in the order of the cases."""
    cases = list(cases)

    def one(group: Group) -> list[CaseResult]:
        (repository, flags), members = group
        running = pair()
        results: list[CaseResult] = []
        try:
            running.begin(repository, flags)
        except ServerFailed as failure:
            verdicts = _everywhere(Verdict(Outcome.DIFFERENT, str(failure)))
            return [CaseResult(case.id, operation_of(case), verdicts) for case in members]
        try:
            for case in members:
                results.append(running.run(case))
                if on_result is not None:
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
    on_case: Callable[[Case], None] | None = None,
) -> Iterator[tuple[Case, Observation]]:
    """What a target answers to every case, in the order of the cases."""
    cases = list(cases)

    def one(group: Group) -> list[tuple[Case, Observation]]:
        (repository, flags), members = group
        side = LiveSide(target(), settle_pause=RECORD_PAUSE)
        seen = []
        try:
            side.begin(MODELS / repository, flags)
            for case in members:
                for _ in range(DEATHS):
                    observation = side.observe(case)
                    failed = observation.death or not is_sound(case, observation)
                    if case.isolated or failed:
                        side.renew()
                    if case.crashes_reference or not failed:
                        break
                seen.append((case, observation))
                if on_case is not None:
                    on_case(case)
        finally:
            side.end()
        return seen

    with ThreadPoolExecutor(jobs) as pool:
        found = {case.id: (case, seen) for group in pool.map(one, groups_of(cases)) for case, seen in group}
    return iter([found[case.id] for case in cases])


def fits_url(case: Case) -> bool:
    """Whether a case can be run against a server that we do not start."""
    metrics = any(step.port == "metrics" or step.pending for step in case.steps)
    calls = any(isinstance(step, Rpc) for step in case.steps)
    return not (case.flags or case.needs_fresh_server or case.isolated or case.edits or metrics or calls)


__all__ = [
    "LiveSide",
    "Pair",
    "RecordedSide",
    "TargetUnavailable",
    "fits_url",
    "groups_of",
    "parts_of",
    "record",
    "run_pairs",
]
