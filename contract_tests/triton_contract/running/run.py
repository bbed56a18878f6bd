"""Runs cases against a target and compares its answers with those of a reference: recorded ones, or a live server's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from triton_contract import recordings
from triton_contract.cases.case import Case
from triton_contract.cases.load import MODELS, load_cases
from triton_contract.comparing.divergences import load_divergences
from triton_contract.comparing.evidence import DEFAULT_ADDRESS
from triton_contract.comparing.results import CaseResult, RunResult
from triton_contract.playing.observation import Observation
from triton_contract.playing.statistics import SETTLE_PAUSE
from triton_contract.reference import DEFAULT_VERSION
from triton_contract.targets import Target, TargetUnavailable, UrlTarget, target_of, version_of

from .groups import cases_for, groups_of
from .pair import Pair
from .sides import COMPARE_PAUSE, LiveSide, RecordedSide, Side
from .stop import UNAVAILABLE, Stop
from .workers import Workers

MakeTarget = Callable[[], Target]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a target is compared with: the name of the target that it is itself, one line for reports, and its sides."""

    name: str
    how: str
    side: Callable[[], Side]
    is_live: bool


def live_reference(make: MakeTarget) -> Reference:
    """A server that runs next to the target."""
    example = make()
    return Reference(example.name, example.how(), lambda: LiveSide(make()), is_live=True)


def recorded_reference(observations: Mapping[str, Observation], version: str) -> Reference:
    """The recorded answers of the real server of that version, by case id."""
    how = f"recorded answers of tritonserver {version}"
    return Reference("triton", how, lambda: RecordedSide(observations), is_live=False)


def run_cases(
    target: str | MakeTarget,
    cases: Iterable[Case] | None = None,
    *,
    reference: str | MakeTarget | None = None,
    repository: str | None = None,
    version: str | None = None,
    jobs: int = 2,
) -> RunResult:
    """Run cases (default: all) against a target and compare every answer with a reference.

    `target` is "triton", "emulator", one of these with a version ("emulator==2.72.0"), an http:// URL, or a callable
    that makes a target, such as `EmulatorTarget`; every group of cases gets a server of its own, `jobs` at a time.
    `reference` is the same, or None for the recorded answers of the real server of that `version` (default: that of the
    target's name, else 2.51.0). A target at a URL needs `repository`, the one that it serves; cases of other
    repositories are left out.

    Raises TargetUnavailable when a server cannot be had here, LookupError for a case without a recorded answer,
    ValueError for a URL without `repository`, CaseError and DivergenceError for broken files. A target that is lost in
    between ends the run: `stopped` of the result says so, and the results until then are kept.
    """
    if version is None:
        version = (version_of(target) if isinstance(target, str) else None) or DEFAULT_VERSION
    make = _maker(target, version)
    chosen = list(load_cases() if cases is None else cases)
    if reference is None:
        names = [make().name]
        against = recorded_reference(recordings.read(version, chosen), version)
    else:
        against = live_reference(_maker(reference, version))
        names = [make().name, against.name]
    return compare_target(against, make, cases_for(chosen, names, repository), version=version, jobs=jobs)


def _maker(target: str | MakeTarget, version: str) -> MakeTarget:
    return (lambda: target_of(target, version=version)) if isinstance(target, str) else target


def compare_target(
    reference: Reference,
    target: MakeTarget,
    cases: Iterable[Case],
    *,
    version: str,
    jobs: int = 2,
    on_result: Callable[[CaseResult], None] | None = None,
    stop: Stop | None = None,
) -> RunResult:
    """Run these cases against the target and compare with the reference.

    Known divergences excuse a target only where it is not the same kind of server as the reference. A target that is
    lost in between, or a `stop` that is asked for, ends the run: the result says why, and has what was found.

    Raises TargetUnavailable when a server cannot be had here, so that no case can be asked.
    """
    stop = stop or Stop()
    example = target()
    cases = list(cases)
    if isinstance(example, UrlTarget):
        for repository in sorted({case.group[0] for case in cases}):
            example.require(MODELS / repository)
    alike = example.name == reference.name
    rows = () if alike else load_divergences()
    # Next to a live reference, a count that comes late shows as a difference and is read again.
    pause = SETTLE_PAUSE if reference.is_live or example.name == "emulator" else COMPARE_PAUSE

    def pair() -> Pair:
        return Pair(
            reference.side(),
            LiveSide(target(), settle_pause=pause),
            rows,
            alike=alike,
            version=version,
            address=example.http_url if isinstance(example, UrlTarget) else DEFAULT_ADDRESS,
        )

    found = run_pairs(cases, pair, jobs=jobs, on_result=on_result, stop=stop)
    if stop.reason and not found and stop.exit_code == UNAVAILABLE:
        raise TargetUnavailable(stop.reason)
    left = len(cases) - len(found)
    return RunResult(version, reference.how, example.how(), today(), tuple(found), stop.reason, left)


def today() -> str:
    """The date in UTC, as YYYY-MM-DD."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def run_pairs(
    cases: Iterable[Case],
    pair: Callable[[], Pair],
    *,
    jobs: int = 2,
    most: int | None = None,
    alone: Container[str] = frozenset(),
    on_result: Callable[[CaseResult], None] | None = None,
    stop: Stop | None = None,
) -> list[CaseResult]:
    """Run every case on both sides, `jobs` groups at a time. The results are in the order of the cases.

    `pair` makes a new pair for each group. A group of more than `most` cases is divided. The cases whose ids are in
    `alone` get servers of their own and come first: those that wait for answers that never come then wait at the same
    time. A group whose servers do not start differs in all of its cases.

    A server that is lost and cannot be started anew asks `stop` to end the run, as others may. Then the results of the
    cases that were not asked are missing.
    """
    cases = list(cases)
    found = Workers(groups_of(cases, most, alone), pair, stop or Stop(), on_result).run(jobs)
    return [found[case.id] for case in cases if case.id in found]
