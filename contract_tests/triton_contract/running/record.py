"""Plays cases against one target and returns what it answered: to record it, or to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from triton_contract.cases.case import Case
from triton_contract.cases.load import MODELS
from triton_contract.comparing.compare import Outcome, compare
from triton_contract.comparing.judge import is_sound
from triton_contract.playing.observation import Observation
from triton_contract.targets import Target

from .groups import Group, groups_of
from .pair import DEATHS
from .sides import RECORD_PAUSE, LiveSide, unanswered


def record(
    cases: Iterable[Case],
    target: Callable[[], Target],
    *,
    jobs: int = 2,
    on_case: Callable[[Case], None] | None = None,
) -> Iterator[tuple[Case, Observation]]:
    """The observations of a target for every case, in the order of the cases.

    `target` makes a new target for each group. A server that dies where the case does not say so is asked again.
    """
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
                    if case.isolated or failed or unanswered(case, observation):
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


def split(
    seen: Iterable[tuple[Case, Observation]], known: Mapping[str, Observation]
) -> tuple[list[tuple[Case, Observation]], list[Case]]:
    """Divide observations into those that differ from the known ones and the cases of those that are equal to them."""
    different: list[tuple[Case, Observation]] = []
    equal: list[Case] = []
    for case, observation in seen:
        if case.id in known and _alike(case, known[case.id], observation):
            equal.append(case)
        else:
            different.append((case, observation))
    return different, equal


def _alike(case: Case, known: Observation, seen: Observation) -> bool:
    if known.unproven or seen.unproven or known.death or seen.death:
        return (known.unproven, known.death) == (seen.unproven, seen.death)
    verdicts = compare(case, known, seen).values()
    return all(verdict.outcome in (Outcome.EQUAL, Outcome.NORMALISED) for verdict in verdicts)
