"""Running cases: a case is repeated when the real server dies by chance, and the work is divided evenly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from triton_contract.cases.case import PATIENCE, Case
from triton_contract.cases.load import load_cases
from triton_contract.cases.rpc import GrpcCase
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing.compare import Outcome
from triton_contract.playing.observation import Observation
from triton_contract.running.groups import groups_of, parts_of
from triton_contract.running.pair import DEATHS, Pair
from triton_contract.running.sides import SILENCE_SECONDS, hurried

ANSWER = Observation((Exchange(Response("HTTP/1.1", 200, "OK", (), b"", "content-length")),))
DEATH = Observation((Exchange(None),), death="killed by SIGABRT")


@dataclass
class Side:
    """A side with prepared observations, which may be deaths."""

    life: Iterator[Observation]
    asked: int = 0
    renewed: list[int] = field(default_factory=list)

    def begin(self, repository: Path, flags: Sequence[str]) -> None: ...

    def limit(self, case: Case) -> str:
        return ""

    def observe(self, case: Case) -> Observation:
        self.asked += 1
        return next(self.life)

    def again(self, seen: Observation) -> Observation:
        return seen

    def renew(self) -> None:
        self.renewed.append(self.asked)

    def lost(self, case: Case) -> str:
        return ""

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


A = Case.model_validate(
    {"id": "infer/a", "repository": "http", "steps": [{"path": "/p"}], "operation": "infer"}
)


def counted(before: int, after: int) -> Observation:
    """An answer, and the requests that the server had counted before and after it."""
    counts = {"m/1/execution_count": after - before} if after != before else {}
    return Observation(
        ANSWER.exchanges,
        counts,
        before={"m/1/execution_count": before} if before else {},
        after={"m/1/execution_count": after} if after else {},
    )


SILENCE = Observation((Exchange(None, ending="silent"),))
LATE = Observation((Exchange(Response("gRPC", 4, "DEADLINE_EXCEEDED", (), b"")),))
ASK = {"path": "/p"}
CALL = {"rpc": "ServerLive", "message": {}}


@pytest.mark.parametrize(
    ("seen", "step", "renewed"),
    [
        pytest.param(ANSWER, ASK, [], id="not after an answer"),
        pytest.param(SILENCE, ASK, [1], id="after an answer over HTTP that never came"),
        pytest.param(SILENCE, {**ASK, "timeout": 1}, [], id="not where the case says how long it waits"),
        pytest.param(LATE, CALL, [1], id="after an answer over gRPC that never came"),
        pytest.param(LATE, {**CALL, "deadline": 1}, [], id="not after a deadline of the case's own"),
    ],
)
@pytest.mark.parametrize("silent_side", ["reference", "target"])
def test_both_servers_are_started_anew(
    silent_side: str, seen: Observation, step: dict[str, object], renewed: list[int]
) -> None:
    # What the case left in a model may wait for ever, and the next case would see that instead of its own answer.
    silent, other = Side(iter([seen])), Side(iter([ANSWER]))
    pair = Pair(*((silent, other) if silent_side == "reference" else (other, silent)))
    pair.run(
        GrpcCase.model_validate(
            {"id": "health/a", "repository": "http", "steps": [step], "operation": "health"}
        )
    )
    pair.end()
    assert (silent.renewed, other.renewed) == (renewed, renewed)


@pytest.mark.parametrize("cases_between", [0, 1, 3])
def test_a_request_that_the_reference_counts_some_cases_later_is_no_difference(cases_between: int) -> None:
    # A case without statistics came first. The target has counted its request, the reference counts it later.
    reference = Side(iter([*[counted(0, 0)] * cases_between, counted(0, 1)]))
    target = Side(iter([counted(1, 1)] * (cases_between + 1)))
    pair = Pair(reference, target)
    results = [pair.run(A) for _ in range(cases_between + 1)]
    pair.end()
    assert [result.failed for result in results] == [False] * (cases_between + 1)


def test_a_request_that_only_the_target_counts_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton_contract.running.pair.RECOUNT_SECONDS", 0.0)
    reference = Side(iter([counted(0, 1), counted(1, 1), counted(1, 1)]))
    target = Side(iter([counted(0, 1), counted(1, 2), counted(2, 2)]))
    pair = Pair(reference, target)
    results = [pair.run(A) for _ in range(3)]
    pair.end()
    assert [result.failed for result in results] == [False, True, False]


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


def test_groups_may_be_divided() -> None:
    def case(name: str, repository: str) -> Case:
        return Case.model_validate({"id": f"health/{name}", "repository": repository, "steps": [ASK]})

    cases = [case(name, "http") for name in "abcde"] + [case("f", "small")]
    names = [[each.id[-1] for each in members] for _, members in groups_of(cases, 2)]
    assert names == [["a", "b"], ["c", "d"], ["e"], ["f"]]


def test_cases_that_take_long_begin_before_all_others_on_servers_of_their_own() -> None:
    cases = [
        Case.model_validate({"id": f"health/{name}", "repository": "http", "steps": [ASK]}) for name in "abcd"
    ]
    names = [
        [each.id[-1] for each in members] for _, members in groups_of(cases, 2, {"health/c", "health/b"})
    ]
    assert names == [["b"], ["c"], ["a", "d"]]


def test_what_a_recorded_reference_never_answered_is_waited_for_shortly() -> None:
    silence, late = (
        Exchange(None, ending="silent"),
        Exchange(Response("gRPC", 4, "DEADLINE_EXCEEDED", (), b"")),
    )
    [answer] = ANSWER.exchanges
    steps = [
        {"path": "/a"},
        {"path": "/b", "in_background": "b"},
        {"path": "/a"},
        {"path": "/c", "timeout": 2},
        {"answer_of": "b"},
        {"rpc": "ServerLive", "message": {}},
    ]
    case = GrpcCase.model_validate({"id": "health/a", "repository": "http", "steps": steps})
    assert hurried(case, Observation((answer, answer, answer, answer, answer))) is case
    waits = [
        step.patience for step in hurried(case, Observation((answer, silence, silence, silence, late))).steps
    ]
    assert waits == [PATIENCE, SILENCE_SECONDS, SILENCE_SECONDS, 2.0, SILENCE_SECONDS, SILENCE_SECONDS]
