"""Comparing two observations: which axis differs, and how the difference is shown."""

from dataclasses import replace

import pytest

from triton_contract.cases.case import Case
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing.compare import Outcome, Verdict, body_difference, compare
from triton_contract.comparing.divergences import Divergence, DivergenceError, apply, load_divergences
from triton_contract.comparing.judge import judge
from triton_contract.playing.observation import Observation

INFER = Case.model_validate(
    {"id": "infer/a", "repository": "http", "steps": [{"path": "/v2/models/m/infer"}]}
)
STATISTICS = Case.model_validate(
    {"id": "statistics/a", "repository": "http", "steps": [{"path": "/v2/models/stats"}]}
)
ANSWER = Response(
    "HTTP/1.1",
    200,
    "OK",
    (("Content-Type", "application/json"), ("Content-Length", "7")),
    b'{"a":1}',
    "content-length",
)
PLAIN = Exchange(ANSWER)


def seen(**changes: object) -> Observation:
    return Observation((Exchange(replace(ANSWER, **changes)),))  # type: ignore[arg-type]


def different(case: Case, expected: Observation, actual: Observation) -> set[str]:
    return {
        axis
        for axis, verdict in compare(case, expected, actual).items()
        if verdict.outcome is Outcome.DIFFERENT
    }


def test_equal_observations_are_equal_on_every_axis() -> None:
    verdicts = compare(INFER, seen(), seen())
    assert {axis: verdict.outcome.value for axis, verdict in verdicts.items()} == dict.fromkeys(
        ("status", "headers", "spelling", "body", "framing"), "equal"
    )


@pytest.mark.parametrize(
    ("changes", "axes"),
    [
        ({"status": 400}, {"status"}),
        ({"reason": "Fine"}, {"status"}),
        ({"version": "HTTP/1.0"}, {"status"}),
        ({"headers": (("content-type", "application/json"), ("Content-Length", "7"))}, {"spelling"}),
        ({"headers": (("Content-Type", "text/plain"), ("Content-Length", "7"))}, {"headers"}),
        (
            {"headers": (("Content-Length", "7"), ("Content-Type", "application/json"))},
            {"headers", "spelling"},
        ),
        ({"headers": (*ANSWER.headers, ("Date", "now"))}, {"headers", "spelling"}),
        ({"body": b'{"a":2}'}, {"body"}),
        ({"body": b'{"a": 1}'}, {"body"}),
        ({"framing": "chunked", "chunks": (7,)}, {"framing"}),
    ],
    ids=[
        "status code",
        "reason phrase",
        "http version",
        "spelling of a header",
        "value of a header",
        "order of headers",
        "a header more",
        "a value in the body",
        "a space in the body",
        "chunked instead of content-length",
    ],
)
def test_each_difference_shows_on_its_own_axis(changes: dict[str, object], axes: set[str]) -> None:
    assert different(INFER, seen(), seen(**changes)) == axes


def test_a_kept_content_length_differs_only_through_the_body() -> None:
    longer = seen(body=b'{"a":10}', headers=(("Content-Type", "application/json"), ("Content-Length", "8")))
    assert different(INFER, seen(), longer) == {"body"}


def test_a_broken_content_length_shows_in_headers_and_framing() -> None:
    broken = seen(headers=(("Content-Type", "application/json"), ("Content-Length", "9")), complete=False)
    assert different(INFER, seen(), broken) == {"headers", "framing"}


def test_chunk_boundaries_count_while_the_bodies_are_equal() -> None:
    one = seen(framing="chunked", chunks=(7,))
    two = seen(framing="chunked", chunks=(3, 4))
    assert different(INFER, one, two) == {"framing"}


@pytest.mark.parametrize(
    "change", [{"ending": "closed"}, {"extra": b"x"}], ids=["the connection closes", "bytes follow"]
)
def test_the_end_of_an_exchange_is_framing(change: dict[str, object]) -> None:
    actual = Observation((replace(PLAIN, **change),))  # type: ignore[arg-type]
    assert different(INFER, Observation((PLAIN,)), actual) == {"framing"}


def test_interim_responses_belong_to_the_status() -> None:
    assert different(INFER, Observation((PLAIN,)), Observation((replace(PLAIN, interim=(100,)),))) == {
        "status"
    }


def test_no_answer_differs_from_an_answer_everywhere() -> None:
    silent = Observation((Exchange(None, ending="closed"),))
    assert different(INFER, seen(), silent) == {"status", "headers", "spelling", "body", "framing"}
    assert different(INFER, silent, silent) == set()


def test_times_in_statistics_are_equal_after_normalising() -> None:
    first = b'{"model_stats":[{"last_inference":5,"inference_stats":{"success":{"count":1,"ns":7}}}]}'
    second = b'{"model_stats":[{"last_inference":66,"inference_stats":{"success":{"count":1,"ns":8}}}]}'
    verdicts = compare(STATISTICS, seen(body=first), seen(body=second))
    assert verdicts["body"].outcome is Outcome.NORMALISED
    assert different(STATISTICS, seen(body=first), seen(body=second.replace(b'"count":1', b'"count":2'))) == {
        "body"
    }


def test_the_detail_names_the_step() -> None:
    expected = Observation((PLAIN, PLAIN))
    actual = Observation((PLAIN, Exchange(replace(ANSWER, status=500))))
    detail = compare(INFER, expected, actual)["status"].detail
    assert detail == "step 2: expected HTTP/1.1 200 OK\ngot      HTTP/1.1 500 OK"


def test_a_wait_that_the_reference_never_ends_is_a_fault_of_the_case() -> None:
    step = {"path": "/metrics", "port": "metrics", "until": {"contains": "requests 2"}}
    case = Case.model_validate({"id": "metrics/a", "repository": "http", "steps": [step]})
    assert not different(case, seen(body=b"requests 2"), seen(body=b"requests 2"))
    assert different(case, seen(body=b"requests 1"), seen(body=b"requests 1")) == {"body"}


def test_requests_that_neither_side_queued_are_no_agreement() -> None:
    vain = Observation((Exchange(None, ending="waited in vain: {'m': 1} were to be queued, {'m': 0} are"),))
    assert compare(INFER, vain, vain)["body"] == Verdict(Outcome.DIFFERENT, vain.exchanges[0].ending)


def test_statistics_are_an_axis_when_they_were_looked_at() -> None:
    expected = Observation((PLAIN,), counts={"m/1/inference_count": 1})
    verdict = compare(INFER, expected, Observation((PLAIN,), counts={}))["statistics"]
    assert verdict == Verdict(Outcome.DIFFERENT, "m/1/inference_count: expected +1, got +0")


@pytest.mark.parametrize(
    ("expected", "actual", "text"),
    [
        (b"abc", b"abd", "at byte 2\nexpected abc\ngot      abd"),
        (b"abc", b"ab", "at byte 2\nexpected abc\ngot      ab"),
        (
            b"x" * 400 + b"A",
            b"x" * 400 + b"B",
            f"at byte 400\nexpected ...{'x' * 60}A\ngot      ...{'x' * 60}B",
        ),
        (b"x\n" * 200 + b"A", b"x\n" * 200 + b"B", "@@ -201 +201 @@\n-A\n+B"),
    ],
    ids=["short", "one ends early", "long", "lines"],
)
def test_body_differences_are_readable(expected: bytes, actual: bytes, text: str) -> None:
    assert body_difference(expected, actual) == text


# --- deaths ---

DEAD = Observation((Exchange(None, ending="closed"),), death="killed by SIGSEGV\n  last words")


def outcomes(verdicts: dict[str, Verdict]) -> set[Outcome]:
    return {verdict.outcome for verdict in verdicts.values()}


def test_where_the_reference_dies_any_error_is_accepted() -> None:
    assert outcomes(judge(INFER, DEAD, seen(status=400))) == {Outcome.UNPROVEN}
    assert outcomes(judge(INFER, DEAD, seen(status=200))) == {Outcome.DIFFERENT}
    assert outcomes(judge(INFER, DEAD, Observation((Exchange(None),)))) == {Outcome.DIFFERENT}


def test_a_target_must_never_die() -> None:
    assert outcomes(judge(INFER, seen(), DEAD)) == {Outcome.DIFFERENT}
    assert outcomes(judge(INFER, DEAD, DEAD)) == {Outcome.DIFFERENT}


def test_two_real_servers_may_die_together() -> None:
    assert outcomes(judge(INFER, DEAD, DEAD, alike=True)) == {Outcome.UNPROVEN}


def test_a_crash_that_no_longer_happens_is_reported() -> None:
    case = INFER.model_copy(update={"crashes_reference": True})
    assert outcomes(judge(case, seen(), seen())) == {Outcome.DIFFERENT}


# --- known divergences ---

ROW = Divergence("infer/*", "body", "because")


def test_a_listed_difference_is_excused_on_its_axis_only() -> None:
    verdicts = compare(INFER, seen(), seen(body=b"{}", status=400))
    done = apply(INFER.id, verdicts, (ROW,))
    assert (done["body"].outcome, done["status"].outcome) == (Outcome.DIVERGENCE, Outcome.DIFFERENT)
    assert done["body"].detail.startswith("because\n")


def test_an_excuse_for_what_is_equal_fails() -> None:
    done = apply(INFER.id, compare(INFER, seen(), seen()), (ROW,))
    assert done["body"].outcome is Outcome.DIFFERENT
    assert done["body"].detail.endswith("it is equal: remove the row")


def test_an_excuse_for_other_cases_excuses_nothing() -> None:
    verdicts = compare(STATISTICS, seen(), seen(body=b"{}"))
    assert apply(STATISTICS.id, verdicts, (ROW,)) == verdicts


@pytest.mark.parametrize(
    ("since", "until", "version", "concerned"),
    [
        ("", "", "2.9.0", True),
        ("2.47.0", "", "2.46.0", False),
        ("2.47.0", "", "2.47.0", True),
        ("2.9.0", "", "2.10.0", True),
        ("", "2.44.0", "2.44.0", True),
        ("", "2.44.0", "2.45.0", False),
    ],
)
def test_a_row_may_be_about_some_versions(since: str, until: str, version: str, concerned: bool) -> None:
    assert Divergence("infer/*", "body", "because", since, until).concerns(version) is concerned


def test_our_file_of_divergences_can_be_read() -> None:
    assert all(row.reason for row in load_divergences())


def test_a_row_needs_case_axis_and_reason(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "divergences.yaml"
    path.write_text("- {case: 'infer/*', axis: colour, reason: because}")
    with pytest.raises(DivergenceError, match="row 1 needs case, axis"):
        load_divergences(path)
