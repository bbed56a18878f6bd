"""What a reference cannot be asked is data: such cases are unproven for its version, with the reason."""

from pathlib import Path

import pytest

from triton_contract.cases.case import Case
from triton_contract.cases.load import load_cases
from triton_contract.cases.rpc import GrpcCase
from triton_contract.comparing.compare import Outcome
from triton_contract.playing.observation import Observation
from triton_contract.reference.limits import LimitError, can_start, load_limits, reason_against
from triton_contract.reference.wheel import VERSIONS
from triton_contract.running.pair import Pair
from triton_contract.running.sides import RecordedSide

NO_TRACE = "without a trace manager, trace settings crash the frontends of 2.72"


def case(**fields: object) -> Case:
    values = {"id": "a/b", "repository": "small", **fields}
    return (GrpcCase if "rpc" in str(fields) else Case).model_validate(values)


TRACE = case(steps=[{"path": "/v2/models/two/trace/setting"}])


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (TRACE, NO_TRACE),
        (case(steps=[{"rpc": "TraceSetting", "message": {}}]), NO_TRACE),
        (
            case(steps=[{"path": "/v2"}], flags=["--trace-config=level=OFF"]),
            "the frontends of 2.72 are started without a trace manager",
        ),
        (
            case(steps=[{"path": "/v2/systemsharedmemory/status"}]),
            "without a shared memory manager, shared memory crashes the frontends of 2.72",
        ),
        (case(steps=[{"path": "/v2"}], flags=["--id=x"]), ""),
    ],
    ids=["trace settings", "trace settings over gRPC", "a flag", "shared memory", "nothing of these"],
)
def test_the_frontends_are_not_asked_what_they_cannot_be_asked(asked: Case, reason: str) -> None:
    assert reason_against("2.72.0", asked) == reason
    assert reason_against("2.51.0", asked) == ""


def test_a_server_is_not_started_with_a_flag_that_it_cannot_be_given() -> None:
    assert not can_start("2.72.0", ["--id=x", "--trace-config=level=OFF"])
    assert can_start("2.72.0", ["--id=x"])
    assert can_start("2.51.0", ["--trace-config=level=OFF"])


@pytest.mark.parametrize("limited_first", [True, False], ids=["the reference", "the target"])
def test_a_case_that_one_side_was_not_asked_is_unproven_whatever_the_other_answers(
    limited_first: bool,
) -> None:
    limited = RecordedSide({TRACE.id: Observation((), unproven="it cannot")})
    dead = RecordedSide({TRACE.id: Observation((), death="killed by SIGSEGV")})
    pair = Pair(limited, dead) if limited_first else Pair(dead, limited)
    verdicts = pair.run(TRACE).verdicts
    pair.end()
    assert {(verdict.outcome, verdict.detail) for verdict in verdicts.values()} == {
        (Outcome.UNPROVEN, "it cannot")
    }


def test_every_row_is_about_a_reference_and_fits_a_case() -> None:
    cases = load_cases()
    for row in load_limits():
        assert row.version in VERSIONS
        assert any(row.covers(each) for each in cases), row


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("- {version: 2.72.0, flag: --x, case: y, reason: z}")
    with pytest.raises(
        LimitError, match=r"^limits.yaml: row 1 needs version, reason and one of flag, mentions, case$"
    ):
        load_limits(path)
