"""The proof: every case, against the real server and the emulator side by side.

Where the real server is not available (and this is not CI), its recorded answers are used instead. A group of cases
has one repository and one set of flags, and one pair of servers. The next group's pair starts while this group's cases
run. Three workers divide the groups (the root's conftest.py). Select with `-m proof`, or one case with `-k`.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from triton_contract import recordings
from triton_contract.cases.case import Case
from triton_contract.cases.load import load_cases
from triton_contract.comparing.compare import Outcome
from triton_contract.comparing.divergences import load_divergences
from triton_contract.reference import DEFAULT_VERSION, ReferenceUnavailable
from triton_contract.reference.installation import install
from triton_contract.reference.pytest_support import in_ci, require_reference
from triton_contract.running.groups import groups_of, parts_of
from triton_contract.running.pair import Pair
from triton_contract.running.sides import LiveSide, RecordedSide, Side
from triton_contract.targets import EmulatorTarget, TargetUnavailable, TritonTarget, emulator_command

Group = tuple[str, tuple[str, ...]]
PARTS = parts_of(groups_of(load_cases()), 3)
PART_OF = {case.id: part for part, groups in enumerate(PARTS) for _, members in groups for case in members}
CASES = [case for groups in PARTS for _, members in groups for case in members]


class Bench:
    """The pair of servers of the current group, and the pair of the next group, which is starting."""

    def __init__(self, cases: list[Case]) -> None:
        self._parts = {case.group: PART_OF[case.id] for case in cases}
        self._groups = list(self._parts)
        self._pool = ThreadPoolExecutor(2)
        self._pairs: dict[Group, Future[Pair]] = {}

    def pair(self, group: Group) -> Pair:
        for other in [
            other for other in self._pairs if self._groups.index(other) < self._groups.index(group)
        ]:
            self._end(other)
        later = self._groups[self._groups.index(group) + 1 :]
        following = [other for other in later if self._parts[other] == self._parts[group]]
        for each in (group, *following[:1]):
            if each not in self._pairs:
                self._pairs[each] = self._pool.submit(_start, each)
        return self._pairs[group].result()

    def close(self) -> None:
        for group in list(self._pairs):
            self._end(group)
        self._pool.shutdown()

    def _end(self, group: Group) -> None:
        future = self._pairs.pop(group)
        if future.exception() is None:
            future.result().end()


def _start(group: Group) -> Pair:
    pair = Pair(_truth(), LiveSide(EmulatorTarget()), load_divergences())
    pair.begin(*group)
    return pair


def _truth() -> Side:
    try:
        install()
    except ReferenceUnavailable:
        return RecordedSide(recordings.read(DEFAULT_VERSION, CASES))
    return LiveSide(TritonTarget())


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if in_ci():
        require_reference()
    try:
        emulator_command()
    except TargetUnavailable as unavailable:
        pytest.skip(str(unavailable))
    chosen = [
        item.callspec.params["case"]
        for item in request.session.items
        if hasattr(item, "callspec") and "case" in item.callspec.params
    ]
    bench = Bench([case for case in chosen if isinstance(case, Case)])
    try:
        yield bench
    finally:
        bench.close()


@pytest.mark.proof
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_emulator_equals_triton(case: Case, bench: Bench) -> None:
    result = bench.pair(case.group).run(case)
    differences = [
        f"{axis}: {v.detail}" for axis, v in result.verdicts.items() if v.outcome is Outcome.DIFFERENT
    ]
    assert not differences, "\n" + "\n".join(differences)
