"""Running cases: a case is repeated when the real server dies by chance, and the work is divided evenly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from triton_contract.cases.case import Case
from triton_contract.cases.load import load_cases
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing.compare import Outcome
from triton_contract.playing.observation import Observation
from triton_contract.running.groups import groups_of, parts_of
from triton_contract.running.pair import DEATHS, Pair

ANSWER = Observation((Exchange(Response("HTTP/1.1", 200, "OK", (), b"", "content-length")),))
DEATH = Observation((Exchange(None),), death="killed by SIGABRT")


@dataclass
class Side:
    """A side with prepared observations, which may be deaths."""

    life: Iterator[Observation]
    asked: int = 0
    renewed: list[int] = field(default_factory=list)

    def begin(self, repository: Path, flags: Sequence[str]) -> None: ...

    def observe(self, case: Case) -> Observation:
        self.asked += 1
        return next(self.life)

    def again(self, seen: Observation) -> Observation:
        return seen

    def renew(self) -> None:
        self.renewed.append(self.asked)

    def end(self) -> None: ...


def run(deaths: int, **case: object) -> tuple[set[Outcome], Side]:
    """The outcomes for a reference that dies this many times before it answers, and a target that always answers."""
    reference = Side(iter([DEATH] * deaths + [ANSWER] * 20))
    pair = Pair(reference, Side(iter([ANSWER] * 40)))
    steps = [{"path": "/v2/health/live"}]
    result = pair.run(Case.model_validate({"id": "health/a", "repository": "http", "steps": steps, **case}))
    pair.end()
    return {verdict.outcome for verdict in result.verdicts.values()}, reference


@pytest.mark.parametrize("deaths", [0, 1, DEATHS - 1])
def test_a_case_is_repeated_until_a_reference_that_dies_by_chance_answers(deaths: int) -> None:
    outcomes, reference = run(deaths)
    assert outcomes == {Outcome.EQUAL}
    assert reference.asked == deaths + 1


def test_each_repetition_has_a_new_server() -> None:
    _, reference = run(3)
    assert reference.renewed == [1, 2, 3]


def test_a_reference_that_always_dies_is_a_difference() -> None:
    outcomes, reference = run(DEATHS)
    assert outcomes == {Outcome.DIFFERENT}
    assert reference.asked == DEATHS


def test_a_case_that_expects_a_death_is_not_repeated() -> None:
    _, reference = run(2, crashes_reference=True)
    assert reference.asked == 1


def test_an_answer_from_freed_memory_counts_as_a_death() -> None:
    def answer(body: bytes) -> Observation:
        return Observation((Exchange(Response("HTTP/1.1", 200, "OK", (), body, "content-length")),))

    reference = Side(iter([answer(b"message: \x01"), answer(b"message: no such model")]))
    target = Side(iter([answer(b"message: no such model")] * 2))
    pair = Pair(reference, target)
    case = {
        "id": "health/a",
        "repository": "http",
        "steps": [{"path": "/p"}],
        "sound_answer": "no such model",
    }
    result = pair.run(Case.model_validate({**case, "operation": "health"}))
    pair.end()
    assert not result.failed
    assert (reference.asked, reference.renewed) == (2, [1])


def test_the_parts_of_the_proof_are_all_of_it_and_the_same_each_time() -> None:
    groups = groups_of(load_cases())
    parts = parts_of(groups, 2)
    assert sorted(key for part in parts for key, _ in part) == sorted(key for key, _ in groups)
    assert parts == parts_of(groups_of(load_cases()), 2)


def test_the_longest_groups_are_shared_out_first() -> None:
    steps = [{"path": "/v2/health/live"}]
    fresh = Case.model_validate(
        {"id": "health/a", "repository": "http", "steps": steps, "needs_fresh_server": True}
    )
    short, long = [((name, ()), [fresh]) for name in "abc"], (("long", ()), [fresh] * 5)
    assert parts_of([*short, long], 2) == [[long], short]
