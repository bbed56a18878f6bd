"""The files that are written: recordings, results, and the ledger made from them."""

import json
from pathlib import Path

import pytest

from triton_contract import recordings
from triton_contract.cases.case import Case
from triton_contract.cases.load import load_cases
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing import results
from triton_contract.comparing.compare import Outcome, Verdict
from triton_contract.comparing.divergences import Divergence
from triton_contract.comparing.results import CaseResult, RunResult
from triton_contract.playing.observation import Observation
from triton_contract.recordings import Provenance
from triton_contract.reference import DEFAULT_VERSION
from triton_contract.reporting import ledger
from triton_contract.running.record import split

CASE = Case.model_validate(
    {"id": "infer/a", "repository": "http", "steps": [{"path": "/v2/models/m/infer"}], "topic": "topic"}
)
ORIGIN = Provenance("triton", "2.51.0", "2026-01-31", "by hand of a test")


def recorded(tmp_path: Path, seen: Observation) -> Observation:
    path = recordings.topic_file("2.51.0", "topic", tmp_path)
    recordings.write(path, ORIGIN, [(CASE, seen)])
    assert recordings.provenance(path) == ORIGIN
    return recordings.read("2.51.0", [CASE], tmp_path)[CASE.id]


def test_a_recording_gives_back_every_byte(tmp_path: Path) -> None:
    seen = Observation(
        (
            Exchange(
                Response(
                    "HTTP/1.1", 200, "OK", (("A", "b"), ("a", "c")), b'{"\xc3\xa9":1}\n', "chunked", (3, 8)
                ),
                interim=(100,),
                ending="closed",
                extra=b"more",
            ),
            Exchange(Response("HTTP/1.0", 500, "", (), b"\xff\x00", "content-length", complete=False)),
            Exchange(Response("HTTP/1.0", 500, "", (), "a\u2028b".encode(), "close")),
            Exchange(None, ending="reset"),
        ),
        counts={"m/1/inference_count": 1},
    )
    assert recorded(tmp_path, seen) == seen


def test_a_recording_keeps_large_bodies_compressed(tmp_path: Path) -> None:
    body = bytes(1 << 24)
    assert recorded(tmp_path, Observation((Exchange(Response("gRPC", 0, "OK", (), body)),))).exchanges[
        0
    ].response == Response("gRPC", 0, "OK", (), body)
    assert recordings.topic_file("2.51.0", "topic", tmp_path).stat().st_size < 30_000


def test_no_recording_is_a_burden_to_those_who_install_the_package() -> None:
    sizes = {path.name: path.stat().st_size for path in recordings.FOLDER.rglob("*.jsonl")}
    assert {name: size for name, size in sizes.items() if size > 1_000_000} == {}


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"At:\\n  /home/me/models/err/1/model.py(3): execute\\n"}',
        b'nv_inference_count{model="m",namespace="/home/me/one",version="1"} 1',
    ],
)
def test_a_recording_keeps_no_place_of_the_recording_machine(tmp_path: Path, body: bytes) -> None:
    seen = Observation(
        (Exchange(Response("HTTP/1.1", 500, "", (), body)),), death="killed by SIGSEGV\n  /home/me"
    )
    back = recorded(tmp_path, seen)
    assert back.exchanges[0].response is not None
    assert b"/home" not in back.exchanges[0].response.body
    assert back.death == "killed by SIGSEGV"


def test_an_answer_to_other_requests_is_no_answer(tmp_path: Path) -> None:
    seen = recorded(tmp_path, Observation((Exchange(None, ending="reset"),)))
    changed = CASE.model_copy(update={"steps": (CASE.steps[0].model_copy(update={"method": "PUT"}),)})
    renamed = CASE.model_copy(update={"note": "why", "normalise": ("decoded",)})
    assert recordings.read("2.51.0", [changed], tmp_path) == {}
    assert recordings.read("2.51.0", [renamed], tmp_path) == {CASE.id: seen}


def answer(body: bytes) -> Observation:
    return Observation((Exchange(Response("HTTP/1.1", 200, "OK", (), body)),))


def test_another_version_stores_what_differs_from_its_neighbour(tmp_path: Path) -> None:
    cases = [CASE.model_copy(update={"id": f"infer/{name}"}) for name in ("same", "other", "not-asked")]
    for version, observations, equal in (
        ("2.51.0", [(cases[0], answer(b"a")), (cases[1], answer(b"a")), (cases[2], answer(b"a"))], []),
        ("2.50.0", [(cases[1], answer(b"b"))], [cases[0], cases[2]]),
        ("2.48.0", [(cases[2], Observation((), unproven="it cannot"))], cases[:2]),
    ):
        origin = Provenance("triton", version, "2026-01-31", "by hand of a test")
        path = recordings.topic_file(version, "topic", tmp_path)
        recordings.write(path, origin, observations, equal)
    assert recordings.read("2.48.0", cases, tmp_path) == {
        "infer/same": answer(b"a"),
        "infer/other": answer(b"b"),
        "infer/not-asked": Observation((), unproven="it cannot"),
    }
    changed = [case.model_copy(update={"flags": ("--id=x",)}) for case in cases]
    assert recordings.read("2.48.0", changed, tmp_path) == {}


def test_answers_are_those_of_the_neighbour_where_only_what_is_masked_differs() -> None:
    statistics = Case.model_validate(
        {"id": "statistics/a", "repository": "http", "steps": [{"path": "/v2/models/m/stats"}]}
    )
    known = {CASE.id: answer(b"1"), statistics.id: answer(b'{"ns":1}')}
    seen = [(CASE, answer(b"2")), (statistics, answer(b'{"ns":2}'))]
    assert split(seen, known) == ([(CASE, answer(b"2"))], [statistics])
    assert split(seen, {}) == (seen, [])


def test_a_topic_that_was_never_recorded_has_no_answers(tmp_path: Path) -> None:
    assert recordings.read("2.51.0", [CASE], tmp_path) == {}


def test_every_case_has_a_recorded_answer_of_the_real_server() -> None:
    cases = load_cases()
    recorded = recordings.read(DEFAULT_VERSION, cases)
    assert [case.id for case in cases if case.id not in recorded] == []
    for topic in {case.topic for case in cases}:
        origin = recordings.provenance(recordings.topic_file(DEFAULT_VERSION, topic))
        assert (origin.server, origin.version) == ("triton", DEFAULT_VERSION)


EQUAL = Verdict(Outcome.EQUAL)
RUN = RunResult(
    "2.51.0",
    "the real one",
    "the emulator",
    "2026-01-31",
    (
        CaseResult(
            "infer/a", "infer", {"status": EQUAL, "body": Verdict(Outcome.NORMALISED), "statistics": EQUAL}
        ),
        CaseResult(
            "infer/b", "infer", {"status": EQUAL, "body": Verdict(Outcome.DIFFERENT, "expected x\ngot y")}
        ),
        CaseResult("infer/c", "infer", {"status": EQUAL, "body": Verdict(Outcome.DIVERGENCE, "because")}),
        CaseResult(
            "health/a", "health", {"status": Verdict(Outcome.UNPROVEN), "body": EQUAL}, "killed by SIGFPE"
        ),
    ),
)


def test_a_case_is_as_good_as_its_worst_axis() -> None:
    assert [result.outcome for result in RUN.cases] == [
        Outcome.NORMALISED,
        Outcome.DIFFERENT,
        Outcome.DIVERGENCE,
        Outcome.UNPROVEN,
    ]
    assert (RUN.failed, [result.failed for result in RUN.cases]) == (True, [False, True, False, False])


def test_results_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.save(path, RUN)
    assert results.load([path]) == [RUN]
    assert json.loads(path.read_text())["cases"][3]["crash"] == "killed by SIGFPE"


def test_the_ledger_shows_operation_by_axis_and_every_divergence() -> None:
    page = ledger.render_ledger([RUN], [Divergence("infer/c", "body", "because")])
    lines = page.splitlines()
    assert "- 4 cases: 1 equal after normalising, 1 known divergence, 1 unproven, 1 different" in lines
    assert "| operation | cases | status | headers | spelling | body | framing | statistics |" in lines
    assert "| health | 1 | 0/1 (1u) |  |  | 1/1 |  |  |" in lines
    assert "| infer | 3 | 3/3 |  |  | 0/3 (1n 1k 1d) |  | 1/1 |" in lines
    assert "- `infer/b`" in lines
    assert "| `infer/c` | body | because |" in lines
    assert "| 2.51.0 | `health/a` | killed by SIGFPE |" in lines
