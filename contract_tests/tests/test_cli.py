"""The command line: help, lists, comparisons, recordings, and exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from triton_contract.cases.load import MODELS
from triton_contract.cli import main
from triton_contract.cli.diff import reference_and_target
from triton_contract.cli.serve import split_flags
from triton_contract.comparing.results import load
from triton_contract.reference.pytest_support import require_reference

from .literal_server import CLOSE, literal_server

CASES = """
repository: small
cases:
  - {id: infer/adds, path: /v2/models/two/infer, json: {inputs: [
      {name: INPUT0, datatype: INT32, shape: [1, 4], data: [1, 2, 3, 4]},
      {name: INPUT1, datatype: INT32, shape: [1, 4], data: [1, 2, 3, 4]}]}}
  - {id: infer/nothing, path: /v2/models/nope/infer, json: {}}
  - id: infer/crash
    path: /v2/models/id_bytes/infer
    crashes_reference: true
    json:
      inputs: [{name: INPUT0, datatype: BYTES, shape: [1], data: [a]}]
      outputs: [{name: OUTPUT0, parameters: {classification: 1}}]
  - {id: health/after-the-crash, path: /v2/health/ready}
"""


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "topic.yaml"
    path.write_text(CASES)
    return path


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_it_tells_its_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.output) == (0, f"triton-contract {version('triton-emulator')}\n")


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["diff"], ["run"], ["record"], ["cases"], ["show"], ["report"]]
)
def test_help_teaches(command: list[str]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_cases_lists_and_filters(cases: Path) -> None:
    result = invoke("cases", "--cases", cases, "--only", "infer/n*", "--http-case", "health/after-the-crash")
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "infer/nothing",
        "health/after-the-crash",
    ]


def test_a_filter_that_fits_nothing_is_an_error(cases: Path) -> None:
    result = invoke("cases", "--cases", cases, "--only", "nothing/*")
    assert result.exit_code == 2
    assert result.output.endswith("Error: no case matches: `triton-contract cases` lists them\n")


@pytest.mark.parametrize(
    ("words", "known", "rest"),
    [
        (["--model-repository=a", "--id=b"], {"--model-repository": "a"}, ["--id=b"]),
        (["--model-store", "a", "--http-port", "1"], {"--model-repository": "a", "--http-port": "1"}, []),
    ],
)
def test_our_flags_are_distinguished_from_the_servers(
    words: list[str], known: dict[str, str], rest: list[str]
) -> None:
    assert split_flags(words) == (known, rest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff", "--target", "nobody"], "unknown target 'nobody'"),
        (["run", "--target", "http://127.0.0.1:1"], "a target at a URL needs --repository"),
        (["serve"], "give --model-repository=DIR"),
        (
            ["run", "--target", "http://127.0.0.1:1", "--repository", "htp"],
            "no selected case is of the repository 'htp': did you mean http?",
        ),
        (
            ["run", "--target", "emulator", "--repository", "nope", "--only", "health/ready"],
            "no selected case is of the repository 'nope': they are of http",
        ),
    ],
)
def test_a_wrong_command_line_is_reported_in_one_line(words: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "triton_contract", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_known_failure_is_one_line_and_exit_code_2(cases: Path) -> None:
    result = invoke("diff", "--target", "nobody", "--cases", cases)
    told = (
        "triton-contract: unknown target 'nobody'; it is triton, triton==<version>, emulator, emulator==<version> or "
        "an http:// URL\n"
    )
    assert (result.exit_code, result.output) == (2, told)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ("triton", "emulator")),
        (("emulator",), ("triton", "emulator")),
        (("triton",), ("triton", "triton")),
        (("triton", "emulator"), ("triton", "emulator")),
        (("emulator", "triton"), ("triton", "emulator")),
        (("http://a", "http://b"), ("http://a", "http://b")),
    ],
    ids=["none", "one", "triton alone", "triton first", "triton second", "two of the user's"],
)
def test_the_real_server_is_the_reference_of_two(names: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert reference_and_target(names) == expected


def test_record_then_run_against_the_same_server(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_reference()
    monkeypatch.setattr("triton_contract.recordings.FOLDER", tmp_path)
    recorded = invoke("record", "--cases", cases, "--out", tmp_path)
    assert recorded.exit_code == 0, recorded.output
    lines = [json.loads(line) for line in (tmp_path / "2.51.0/http/topic.jsonl").read_text().splitlines()]
    assert lines[0]["provenance"]["version"] == "2.51.0"
    assert [line["case"] for line in lines[1:]] == [
        "infer/adds",
        "infer/nothing",
        "infer/crash",
        "health/after-the-crash",
    ]
    assert lines[1]["answers"][0]["status"] == 200
    assert lines[1]["statistics"]["two/1/inference_count"] == 1
    assert lines[3]["death"] == "killed by SIGFPE"
    again = invoke("run", "--target", "triton", "--cases", cases, "--recordings", tmp_path)
    assert again.exit_code == 0, again.output


def test_a_case_without_a_recorded_answer_fails_the_run(cases: Path, tmp_path: Path) -> None:
    done = invoke("run", "--target", "triton", "--cases", cases, "--recordings", tmp_path)
    assert done.exit_code == 1
    assert "4 cases have no recorded answer of 2.51.0, left out (first: infer/adds)" in done.output
    done = invoke(
        "run", "--target", "triton", "--cases", cases, "--recordings", tmp_path, "--only", "infer/adds"
    )
    assert "1 case has no recorded answer of 2.51.0, left out (first: infer/adds)" in done.output


@pytest.mark.parametrize("topic", ["metrics/model-*", "statistics/ensemble/*"])
def test_the_emulator_equals_recordings_made_elsewhere(topic: str) -> None:
    """The recorded answers name files (`/models/plain/1/model.py`) that have other paths here."""
    done = invoke("run", "--target", "emulator", "--only", topic)
    assert done.exit_code == 0, done.output


def test_the_real_server_agrees_with_itself_and_is_restarted_after_a_crash(
    cases: Path, tmp_path: Path
) -> None:
    require_reference()
    results = tmp_path / "results.json"
    done = invoke("diff", "--target", "triton", "--target", "triton", "--cases", cases, "--json", results)
    assert done.exit_code == 0, done.output
    found = {each["case"]: each["outcome"] for each in json.loads(results.read_text())["cases"]}
    assert found == {
        "infer/adds": "equal",
        "infer/nothing": "equal",
        "infer/crash": "unproven",
        "health/after-the-crash": "equal",
    }
    page = tmp_path / "FIDELITY.md"
    assert invoke("report", results, "--out", page).exit_code == 0
    assert "| 2.51.0 | `infer/crash` | killed by SIGFPE |" in page.read_text()


def test_serve_runs_until_it_is_told_to_stop() -> None:
    require_reference()
    words = [
        "-m",
        "triton_contract",
        "serve",
        "--target",
        "triton",
        "--",
        f"--model-repository={MODELS / 'small'}",
    ]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        assert line.startswith("triton is ready: http 127.0.0.1:")
        address = line.split("http ")[1].split(",")[0]
        with urllib.request.urlopen(f"http://{address}/v2/models/two/ready", timeout=10) as answer:
            assert answer.status == 200
        os.kill(serving.pid, signal.SIGTERM)
        assert serving.wait(timeout=30) == 0


#: a signal every 200 us, while the main thread waits for one
SIGNALS_AT_EVERY_MOMENT = """
import signal
from triton_contract.reference.frontends import ended, queue_of_ends
ends = queue_of_ends()
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
came = sum(ended(ends, within=0.0001) for _ in range(3000))
signal.setitimer(signal.ITIMER_REAL, 0)
print("some came" if came else "none came")
"""


def test_a_signal_may_come_at_every_moment_of_the_wait_for_one() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SIGNALS_AT_EVERY_MOMENT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "some came\n", "")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("from triton_contract.cli import main", "triton-contract"),
        ("from triton_contract import run_cases", "triton_contract.extras.MissingExtra: triton_contract"),
    ],
    ids=["the command", "the API"],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(code: str, told: str) -> None:
    program = f"import sys; sys.modules['pydantic'] = None; {code}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    advice = "needs pydantic, which is not installed: pip install 'triton-emulator[contract]'"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, f"{told} {advice}")


OWN = """
repository: {repository}
cases:
  - {{id: own/is-ready, path: /v2/models/two/ready}}
"""


def test_own_cases_name_a_repository_beside_their_file(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "small", tmp_path / "my_models")
    (tmp_path / "own.yaml").write_text(OWN.format(repository="my_models"))
    json_file = tmp_path / "results.json"
    names = ("--target", "emulator", "--target", "emulator")
    result = invoke("diff", *names, "--cases", tmp_path / "own.yaml", "--json", json_file)
    assert result.exit_code == 0, result.output
    (outcome,) = load([json_file])
    (found,) = outcome.cases
    assert (found.case, found.outcome.value) == ("own/is-ready", "equal")


def test_own_cases_over_a_repository_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.format(repository="my_models"))
    result = invoke("diff", "--target", "emulator", "--cases", tmp_path / "own.yaml")
    told = (
        "triton-contract: own.yaml:4: case own/is-ready: repository my_models: there is no folder "
        f"{tmp_path}/my_models, and the contract's repositories are "
    )
    assert (result.exit_code, result.output[: len(told)]) == (2, told)


def test_a_server_without_the_models_of_the_cases_is_asked_no_case(tmp_path: Path) -> None:
    index = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n[{"name":"two"}]'
    with literal_server(index + CLOSE) as address:
        result = invoke("run", "--target", address.url, "--repository", "http", "--only", "health/*")
    told = (
        f"triton-contract: target {address.url}: it has not all models of the cases; "
        "counted, dec, echo, err, fixed and "
    )
    assert result.exit_code == 3
    assert told in result.output
    assert f"are missing: start it with --model-repository={MODELS / 'http'}" in result.output
