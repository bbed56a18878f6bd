"""What an upgrade changes: probes made from models' metadata, differences by row of the table, the pages."""

import pytest

from triton_contract.cases.case import Case
from triton_contract.cases.rpc import GrpcCase
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing.compare import EQUAL, Outcome, Verdict
from triton_contract.comparing.results import CaseResult
from triton_contract.fuzz.model import Input, Model
from triton_contract.playing.observation import Observation
from triton_contract.upgrades.changes import Change, History, load_history
from triton_contract.upgrades.compare import Shown, Upgrade
from triton_contract.upgrades.page import render_page, render_upgrade
from triton_contract.upgrades.probes import PROBES, cases_of

SUM = Model(
    name="sum",
    inputs=(
        Input("A", "FP32", (-1, 2)),
        Input("B", "BYTES", (1,)),
        Input("C", "FP16", (2,)),
        Input("D", "INT32", (1,), True),
    ),
    outputs=(("OUT", "FP32"),),
    max_batch_size=8,
)
FEW = Change("few", "2.50.0", "Too few elements are refused with another text.", "infer/few")
FLAG = Change("flag", "2.49.0", "A flag has gone.", "source: server r24.08, src/main.cc")
HISTORY = History(
    {"2.48.0": "24.07", "2.49.0": "24.08", "2.50.0": "24.09", "2.51.0": "24.10"},
    ("2.48.0", "2.51.0"),
    (FLAG, FEW),
)


def test_a_valid_request_has_the_needed_inputs_in_their_smallest_shape() -> None:
    (probe,) = (probe for probe in PROBES if probe.name == "a-valid-request")
    (case,) = cases_of(probe, [SUM], "/models")
    assert (case.id, case.folder) == ("upgrade/sum/a-valid-request", "/models")
    assert case.steps[0].path == "/v2/models/sum/infer"
    form = case.steps[0].infer
    assert form is not None
    assert form.header == {
        "inputs": [
            {"name": "A", "datatype": "FP32", "shape": [1, 2], "data": [1, 1]},
            {"name": "B", "datatype": "BYTES", "shape": [1], "data": ["text"]},
            {"name": "C", "datatype": "FP16", "shape": [2], "parameters": {"binary_data_size": 4}},
        ]
    }


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_every_probe_makes_cases_of_every_kind_of_model(probe: object) -> None:
    nothing = Model("none", (), ())
    decoupled = Model("dec", (Input("PLAN", "BYTES", (1,)),), (("OUT", "BYTES"),), decoupled=True)
    for case in cases_of(probe, [SUM, nothing, decoupled], "/models"):  # type: ignore[arg-type]
        assert isinstance(case, GrpcCase) == case.id.endswith("over-grpc")
        assert case.id.startswith(("upgrade/sum/", "upgrade/none/", "upgrade/dec/", "upgrade/server/"))


def test_every_row_that_a_probe_shows_is_in_the_table() -> None:
    fields = {change.field for change in load_history().changes}
    assert {field for probe in PROBES for field in probe.shows} <= fields


def test_the_changes_between_two_releases_are_those_after_the_first_up_to_the_second() -> None:
    assert HISTORY.between("2.48.0", "2.49.0") == [FLAG]
    assert HISTORY.between("2.49.0", "2.51.0") == [FEW]
    assert HISTORY.between("2.51.0", "2.48.0") == []
    with pytest.raises(KeyError):
        HISTORY.between("1.0", "2.51.0")


def shown(name: str, *changes: Change, different: str = "") -> Shown:
    case = Case.model_validate(
        {"id": f"upgrade/{name}", "repository": "yours", "steps": [{"path": f"/v2/{name}"}]}
    )
    body = Verdict(Outcome.DIFFERENT, different) if different else EQUAL
    return Shown(case, CaseResult(case.id, "infer", {"status": EQUAL, "body": body}), changes)


def test_what_differs_is_told_by_row_with_the_request_that_shows_it() -> None:
    results = (
        shown("m/few", FEW, different="at byte 0\nexpected a\ngot      b"),
        shown("n/few", FEW, different="at byte 0\nexpected a\ngot      b"),
        shown("m/odd", different="expected c\ngot      d"),
        shown("m/valid"),
    )
    upgrade = Upgrade("2.48.0", "2.51.0", (Model("m", (), ()), Model("n", (), ())), results, (FLAG, FEW))
    assert (
        render_upgrade(upgrade)
        == """\
From 2.48.0 to 2.51.0: 2 models (m, n), 4 requests.

## Too few elements are refused with another text. (since 2.50.0)

upgrade/m/few:
GET /v2/m/few HTTP/1.1
  body: at byte 0
2.48.0: a
2.51.0: b
  also: n/few

## Different, and no row of the table says why

upgrade/m/odd:
GET /v2/m/odd HTTP/1.1
  body: 2.48.0: c
2.51.0: d

## Changes that these requests did not show

- 2.49.0: A flag has gone.
"""
    )


def test_counts_are_told_by_version_and_an_answer_that_says_expected_is_left_as_it_is() -> None:
    details = (
        "expected {'x': 'expected 1'}\ngot      {'x': 'expected 2'}",
        "m/1/count: expected +1, got +0\nm/1/failures: expected +0, got +-1",
    )
    upgrade = Upgrade("2.48.0", "2.51.0", (), (shown("m/a", FEW, different=details[0]),), (FEW,))
    counted = Upgrade("2.48.0", "2.51.0", (), (shown("m/a", FEW, different=details[1]),), (FEW,))
    same = Upgrade("2.51.0", "2.51.0", (), (shown("m/a", FEW, different=details[1]),), (FEW,))
    assert "body: 2.48.0: {'x': 'expected 1'}\n2.51.0: {'x': 'expected 2'}\n" in render_upgrade(upgrade)
    assert "m/1/count: 2.48.0 +1, 2.51.0 +0\nm/1/failures: 2.48.0 +0, 2.51.0 +-1\n" in render_upgrade(counted)
    assert details[1] in render_upgrade(same)


def test_no_difference_is_said() -> None:
    upgrade = Upgrade("2.50.0", "2.51.0", (Model("m", (), ()),), (shown("m/valid"),), ())
    assert render_upgrade(upgrade) == "From 2.50.0 to 2.51.0: 1 model (m), 1 request.\n\nNo answer differs.\n"


ASKED = Case.model_validate(
    {
        "id": "infer/few",
        "repository": "small",
        "steps": [{"path": "/v2/models/m/infer", "json": {"inputs": []}}],
    }
)


def page_of(old: Observation, new: Observation) -> str:
    return render_page(HISTORY, [ASKED], {"2.48.0": {ASKED.id: old}, "2.51.0": {ASKED.id: new}})


def answer(body: bytes, **headers: str) -> Observation:
    response = Response("HTTP/1.1", 400, "Bad Request", tuple(headers.items()), body)
    return Observation((Exchange(response),))


def test_the_page_shows_a_request_and_both_answers() -> None:
    page = page_of(answer(b'{"error":"old"}'), answer(b'{"error":"new"}'))
    assert "Read in the source, server r24.08, src/main.cc. No case shows it.\n" in page
    assert page.endswith("""\
### Too few elements are refused with another text.

Proved by the cases `infer/few`.

```text
POST /v2/models/m/infer HTTP/1.1

{"inputs":[]}
```

2.48.0:

```text
400 Bad Request
{"error":"old"}
```

2.51.0:

```text
400 Bad Request
{"error":"new"}
```
""")


def test_the_page_shows_headers_and_counts_where_the_answers_are_alike() -> None:
    page = page_of(answer(b"", A="1", B="2"), answer(b"", B="2"))
    assert page.endswith(
        "2.48.0:\n\n```text\n400 Bad Request\nA: 1\nB: 2\n```\n\n2.51.0:\n\n```text\n400 Bad Request\nB: 2\n```\n"
    )
    page = page_of(Observation((), {"m/fail": 1, "m/count": 1}), Observation((), {"m/count": 1}))
    assert page.endswith(
        "2.48.0:\n\n```text\nstatistics: m/fail +1\n```\n\n2.51.0:\n\n```text\nstatistics: m/fail +0\n```\n"
    )
    assert page_of(answer(b"", A="1"), answer(b"", A="1")).endswith("Proved by the cases `infer/few`.\n")


def test_the_page_shows_of_long_metrics_the_series_that_the_other_version_lacks() -> None:
    series = b"".join(b"nv_%d{} 5\n" % number for number in range(100))
    page = page_of(answer(series + b"nv_old{} 1\n"), answer(series.replace(b"} 5", b"} 6") + b"nv_new{} 2\n"))
    assert page.endswith(
        "2.48.0:\n\n```text\n400 Bad Request\n...\nnv_old{} 1\n```\n\n"
        "2.51.0:\n\n```text\n400 Bad Request\n...\nnv_new{} 2\n```\n"
    )
