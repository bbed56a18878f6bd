"""Reports: JUnit, Markdown, badge, JSON, and the HTML page, opened in Chromium."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from emulator.tests.control.browser import Browser, Page, opened
from triton_contract import EmulatorTarget
from triton_contract.cases.case import Case
from triton_contract.cases.load import MODELS, load_cases
from triton_contract.cases.rpc import GrpcCase
from triton_contract.cli import main
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing import results
from triton_contract.comparing.compare import Outcome, Verdict
from triton_contract.comparing.evidence import Evidence, curl_of, evidence_of
from triton_contract.comparing.redaction import redact
from triton_contract.comparing.results import CaseResult, RunResult
from triton_contract.playing.observation import Observation
from triton_contract.reporting.badge import message_of
from triton_contract.reporting.junit import render_junit
from triton_contract.reporting.markdown import LIMIT, render_markdown
from triton_contract.reporting.page import render_page
from triton_contract.reporting.words import headline

EQUAL = Verdict(Outcome.EQUAL)
STEP = Evidence(
    "POST /v2 HTTP/1.1\n\n<b>", "HTTP/1.1 200 OK\n\nyes", "HTTP/1.1 400 Bad\n\nno", "curl http://h/v2"
)
RUN = RunResult(
    "2.51.0",
    "the real one",
    "the | emulator",
    "2026-01-31",
    (
        CaseResult("infer/a", "infer", {"status": EQUAL, "body": EQUAL}, seconds=0.25),
        CaseResult(
            "infer/b",
            "infer",
            {"status": EQUAL, "body": Verdict(Outcome.DIFFERENT, "expected \x00```<i>\ngot y")},
            evidence=(STEP,),
            seconds=0.5,
        ),
        CaseResult(
            "health/c", "health", {"status": Verdict(Outcome.DIVERGENCE, "because\nexpected 1\ngot 2")}
        ),
        CaseResult(
            "health/d", "health", {"status": Verdict(Outcome.UNPROVEN, "it crashes")}, "killed by SIGFPE"
        ),
    ),
)
STOPPED = replace(RUN, stopped="target http://h was lost at infer/b: refused", not_asked=7)


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def read(document: str) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - a document of ours


def attributes(element: ET.Element, *names: str) -> list[str | None]:
    return [element.get(name) for name in names]


def test_junit_has_a_suite_for_each_operation_and_a_test_for_each_case() -> None:
    root = read(render_junit([RUN]))
    names = ("name", "tests", "failures", "errors", "skipped", "time")
    assert attributes(root, *names) == ["triton-contract", "4", "1", "0", "2", "0.750"]
    assert [attributes(suite, *names) for suite in root] == [
        ["health", "2", "0", "0", "2", "0.000"],
        ["infer", "2", "1", "0", "0", "0.750"],
    ]
    tests = {test.get("name"): test for test in root.iter("testcase")}
    assert tests["infer/a"].get("classname") == "triton_contract.infer"
    assert list(tests["infer/a"]) == []
    [failure] = tests["infer/b"]
    assert failure.get("message") == "body: expected \\x00```<i>"
    assert failure.text is not None
    assert failure.text.splitlines() == [
        "body: expected \\x00```<i>",
        "  got y",
        "",
        "To repeat it:",
        "curl http://h/v2",
        "triton-contract show --http-case infer/b",
    ]
    [known], [unproven] = tests["health/c"], tests["health/d"]
    assert (known.tag, known.get("message")) == ("skipped", "known divergence: because")
    assert (unproven.tag, unproven.get("message")) == ("skipped", "unproven: it crashes")


def test_junit_tells_a_run_that_ended_early_as_an_error() -> None:
    root = read(render_junit([STOPPED]))
    [error] = root.iter("error")
    assert (root.get("errors"), error.get("message")) == (
        "1",
        "target http://h was lost at infer/b: refused; 7 of 11 cases were not asked",
    )


def test_tests_of_several_runs_have_classes_of_their_own_in_junit() -> None:
    root = read(render_junit([RUN, replace(RUN, version="2.72.0")]))
    found = [test.get("classname") for test in root.iter("testcase") if test.get("name") == "infer/a"]
    assert found == ["triton_contract.run1.infer", "triton_contract.run2.infer"]


def test_a_comment_has_a_table_and_folded_differences() -> None:
    assert (
        render_markdown([RUN])
        == """\
### ❌ Triton contract: 1 of 4 cases differ

Expected: the real one. Actual: the \\| emulator.

| operation | cases | equal | equal after normalising | known divergence | unproven | different |
|---|--:|--:|--:|--:|--:|--:|
| health | 2 |  |  | 1 | 1 |  |
| infer | 2 | 1 |  |  |  | 1 |
| **all** | 4 | 1 |  | 1 | 1 | 1 |

<details><summary><code>infer/b</code></summary>

````text
body: expected \x00```<i>
  got y
````

```sh
curl http://h/v2
triton-contract show --http-case infer/b
```

</details>
"""
    )


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (replace(RUN, cases=()), "no case was asked"),
        (replace(RUN, cases=RUN.cases[:1]), "the one case agrees"),
        (replace(RUN, stale=("x",)), "1 of 4 cases differ, 1 known failure is stale"),
        (
            replace(STOPPED, stale=("x", "y")),
            "1 of 4 cases differ, 2 known failures are stale, 7 were not asked",
        ),
    ],
)
def test_the_headline_of_every_report(run: RunResult, said: str) -> None:
    assert headline(run) == said


def test_a_comment_fits_into_what_github_takes() -> None:
    failing = CaseResult("infer/b", "infer", {"body": Verdict(Outcome.DIFFERENT, "x" * 100_000)})
    many = tuple(replace(failing, case=f"infer/{number}", operation=f"op{number}") for number in range(3000))
    text = render_markdown([replace(RUN, cases=many)] * 3)
    assert len(text) <= LIMIT
    assert text.endswith("differ. The HTML and JSON reports have all of them.\n")


def test_a_comment_says_that_the_run_ended_early() -> None:
    assert (
        "**The run ended early:** target http://h was lost at infer/b: refused; 7 of 11 cases were not asked.\n"
        in (render_markdown([STOPPED]))
    )


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (RUN, ("1 of 4 differ", "red")),
        (replace(RUN, cases=RUN.cases[:1]), ("1 case agrees", "brightgreen")),
        (STOPPED, ("incomplete, 1 differ", "lightgrey")),
        (replace(RUN, cases=RUN.cases[:1], stale=("x",)), ("stale baseline", "red")),
    ],
    ids=["some differ", "all agree", "ended early", "stale"],
)
def test_a_badge_says(run: RunResult, said: tuple[str, str]) -> None:
    assert message_of([run]) == said


def test_results_with_evidence_survive_a_file(tmp_path: Path) -> None:
    one, several = tmp_path / "one.json", tmp_path / "several.json"
    results.save(one, STOPPED)
    results.save(several, RUN, STOPPED)
    assert results.load([one, several]) == [STOPPED, RUN, STOPPED]


@pytest.mark.parametrize("text", ["", "[1]", "{}", "null"])
def test_a_file_that_has_no_results_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    result = invoke("report", path, "--out", tmp_path / "page.md")
    assert result.exit_code == 2
    assert result.output.startswith(f"triton-contract: {path}: not a file of results: ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123\nA: b", "Authorization: <redacted>\nA: b"),
        ("curl -H 'X-API-Key: geheim' url", "curl -H 'X-API-Key: <redacted>' url"),
        ("['set-cookie: a=b', 'x: y']", "['set-cookie: <redacted>', 'x: y']"),
        ('{"api_key": "geheim", "text": "key"}', '{"api_key": "<redacted>", "text": "key"}'),
        ("said Bearer abcdefgh", "said Bearer <redacted>"),
        ("key sk-proj-abcdefgh12", "key <redacted>"),
        ("http://me:geheim@host/v2", "http://<redacted>@host/v2"),
        ("/v2?a=b&token=geheim", "/v2?a=b&token=<redacted>"),
        ('{"tokens": [1], "token": "hello"}', '{"tokens": [1], "token": "hello"}'),
        ("task-oriented-models", "task-oriented-models"),
    ],
)
def test_secrets_are_taken_out(text: str, shown: str) -> None:
    assert redact(text) == shown


def one(**step: object) -> Case:
    return Case.model_validate({"id": "infer/a", "repository": "http", "steps": [step]})


def test_evidence_shows_request_and_both_answers_without_secrets() -> None:
    case = one(path="/v2/models/m/infer", headers={"Authorization": "Bearer geheim"}, text='{"a": "ü\x00"}')
    ours = Exchange(
        Response("HTTP/1.1", 200, "OK", (("Set-Cookie", "geheim"),), b"a\xff\n", "content-length")
    )
    found = evidence_of(case, Observation((ours,)), Observation((Exchange(None, ending="reset"),)))
    assert found == (
        Evidence(
            "POST /v2/models/m/infer HTTP/1.1\nHost: triton\nAuthorization: <redacted>\nContent-Length: 12\n\n"
            '{"a": "ü\\x00"}',
            "HTTP/1.1 200 OK\nSet-Cookie: <redacted>\n\na\\xff\n",
            "no answer: reset",
            "printf %s eyJhIjogIsO8ACJ9 | base64 -d | curl -sS -i --path-as-is --globoff -X POST -H "
            "'Authorization: <redacted>' -H Content-Type: --data-binary @- http://localhost:8000/v2/models/m/infer",
        ),
    )


def test_a_grpc_call_is_shown_by_its_method_and_message() -> None:
    steps = [{"rpc": "ModelReady", "message": {"name": "m"}}]
    case = GrpcCase.model_validate({"id": "grpc/a", "repository": "http", "steps": steps})
    answer = Observation((Exchange(Response("gRPC", 0, "OK", (), b'{"ready":true}', "1 messages")),))
    [found] = evidence_of(case, answer, answer)
    assert (found.request, found.expected, found.command) == (
        'gRPC /inference.GRPCInferenceService/ModelReady\n{"name": "m"}',
        'gRPC 0 OK\n\n{"ready":true}',
        "",
    )


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorTarget]:
    target = EmulatorTarget()
    target.start(MODELS / "http", ())
    try:
        yield target
    finally:
        target.stop()


@pytest.mark.parametrize(
    "case_id", ["infer/json/adds-and-subtracts", "infer/binary/in-and-out", "health/wrong-method/FOO"]
)
def test_a_command_sends_what_the_case_sends(case_id: str, emulator: EmulatorTarget) -> None:
    [case] = [case for case in load_cases() if case.id == case_id]
    command = curl_of(case.steps[0], emulator.http_url)
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    outcome = invoke("show", "--target", emulator.http_url, "--repository", "http", "--http-case", case_id)
    status, body = done.stdout.split(b"\r\n", 1)[0].decode(), done.stdout.split(b"\r\n\r\n", 1)[1]
    assert f"-- answer 1: {status}" in outcome.output
    assert f"   {body!r}" in outcome.output


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("htm", "'htm' is no format of a report: did you mean html?"),
        ("html=", "no file after html=: write html=FILE"),
        (
            f"junit={__file__}/junit.xml",
            f"{__file__}/junit.xml cannot be written: {__file__} is no folder, or you may not write in it",
        ),
        ("html=.", ". is a folder: name a file in it, html=triton-contract.html"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_before_a_case_is_asked(given: str, told: str) -> None:
    result = invoke("run", "--target", "emulator", "--report", given)
    assert (result.exit_code, told in result.output) == (2, True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of a comparison of two versions, of which some answers differ."""
    folder = tmp_path_factory.mktemp("reports")
    names = ("--target", "emulator==2.51.0", "--target", "emulator==2.72.0")
    reports = [
        f"--report={kind}={folder / file}"
        for kind, file in (
            ("html", "page.html"),
            ("junit", "junit.xml"),
            ("json", "results.json"),
            ("markdown", "deep/er/comment.md"),
            ("badge", "badge.svg"),
            ("badge", "badge.json"),
        )
    ]
    result = invoke("diff", *names, "--only", "infer/json/*", "--only", "generate/datatype/*", *reports)
    assert result.exit_code == 1, result.output
    return folder


def test_one_run_writes_several_reports(written: Path) -> None:
    [run] = results.load([written / "results.json"])
    failing = [result for result in run.cases if result.failed]
    assert failing
    assert all(
        step.request and step.expected and step.actual for result in failing for step in result.evidence
    )
    root = read((written / "junit.xml").read_text())
    assert attributes(root, "tests", "failures") == [str(len(run.cases)), str(len(failing))]
    said = f"{len(failing)} of {len(run.cases)}"
    assert f"Triton contract: {said} cases differ" in (written / "deep/er/comment.md").read_text()
    assert json.loads((written / "badge.json").read_text()) == {
        "schemaVersion": 1,
        "label": "triton contract",
        "message": f"{said} differ",
        "color": "red",
    }
    assert f"triton contract: {said} differ" in "".join(read((written / "badge.svg").read_text()).itertext())


@pytest.fixture
def page(browser: Browser, written: Path) -> Iterator[Page]:
    with opened(browser, f"file://{written}/page.html") as page:
        yield page


def shown(page: Page) -> list[str]:
    seen = "[...document.querySelectorAll('.case:not([hidden])')]"
    return list(page.value(f"{seen}.map((each) => each.querySelector('code').textContent)"))


def choose(page: Page, field: str, value: str) -> None:
    page.fill(f"#filters [name={field}]", value)


def test_the_page_shows_the_differences_first_and_filters_all_cases(page: Page, written: Path) -> None:
    [run] = results.load([written / "results.json"])
    failing = [result.case for result in run.cases if result.failed]
    assert shown(page) == failing
    choose(page, "outcome", "")
    assert shown(page) == [result.case for result in run.cases]
    choose(page, "operation", "infer")
    assert shown(page) == [result.case for result in run.cases if result.operation == "infer"]
    choose(page, "text", "ADDS-and-subtracts")
    assert shown(page) == ["infer/json/adds-and-subtracts"]
    assert page.text("#shown") == f"1 of {len(run.cases)} cases"


def test_a_difference_opens_with_the_request_both_answers_and_a_command(page: Page) -> None:
    choose(page, "text", "generate/datatype/empty")
    page.click(".case:not([hidden]) summary")
    text = page.text(".case:not([hidden])")
    assert "POST /v2/models/id_fp32/generate HTTP/1.1" in text
    assert "HTTP/1.1 200 OK" in text
    assert "HTTP/1.1 400 Bad Request" in text
    assert "curl -sS -i --path-as-is --globoff -X POST -H Content-Type: --data-raw '{\"INPUT0\":[]}'" in text
    assert "triton-contract show --http-case generate/datatype/empty" in text


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(13, 17, 23)")])
def test_the_page_follows_the_readers_colours_and_loads_nothing(page: Page, scheme: str, paper: str) -> None:
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert page.value("getComputedStyle(document.body).backgroundColor") == paper
    assert page.value("performance.getEntriesByType('resource').length") == 0
    assert page.value("document.querySelectorAll('[src], link, [href]').length") == 0


def test_what_a_server_says_is_no_markup_of_the_page(browser: Browser, tmp_path: Path) -> None:
    text = "</pre><img src=x onerror=alert(1)><script>document.title='taken'</script>"
    bad = CaseResult(
        "infer/x",
        "infer",
        {"body": Verdict(Outcome.DIFFERENT, text)},
        evidence=(Evidence(text, text, text, text),),
    )
    (tmp_path / "page.html").write_text(render_page([replace(RUN, actual=text, stopped=text, cases=(bad,))]))
    with opened(browser, f"file://{tmp_path}/page.html") as page:
        assert page.value("document.title") == "Triton contract: the one case differs"
        assert page.value("document.querySelectorAll('img').length") == 0


def test_several_runs_stand_side_by_side(browser: Browser, tmp_path: Path) -> None:
    other = replace(RUN, version="2.72.0", cases=RUN.cases[:1])
    (tmp_path / "page.html").write_text(render_page([RUN, other]))
    with opened(browser, f"file://{tmp_path}/page.html") as page:
        rows = page.value("[...document.querySelectorAll('#side-by-side tr')].map((row) => row.innerText)")
        assert rows == ["operation\t2.51.0\t2.72.0", "health\t0/2 1k 1u\t", "infer\t1/2 1d\t1/1"]
