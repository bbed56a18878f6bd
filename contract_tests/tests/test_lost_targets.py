"""Targets that are not there, are something else, or die in the middle, and runs that are interrupted."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapter.tests.gateway import TlsGateway
from triton_contract import EmulatorTarget, TargetUnavailable, run_cases
from triton_contract.cases.load import MODELS
from triton_contract.cli import main
from triton_contract.comparing import results

from .dying_relay import dying_relay
from .literal_server import CLOSE, RESET, SILENCE, literal_server


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def run(url: str, *words: str | Path) -> Result:
    return invoke("run", "--target", url, "--repository", "http", "--only", "health/*", *words)


def answer(head: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode() + CLOSE


TLS = "it speaks TLS, and the cases are sent over plain HTTP: give the server's plain HTTP port (8000 by default)"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(
            answer("302 Found\r\nLocation: http://other:8000/v2/health/live"),
            "it redirects (302 Found) to http://other:8000/v2/health/live, and no redirect is followed: "
            "give the server's own address",
            id="it redirects",
        ),
        pytest.param(
            answer("401 Unauthorized"),
            "it wants a key (401 Unauthorized), and the cases send none: "
            "give the address of the server behind the gateway",
            id="it wants a key",
        ),
        pytest.param(
            answer("404 Not Found"),
            "it answers GET /v2/health/live with 404 Not Found, so it is no Triton server: "
            "give its HTTP port, and the path before /v2 where there is one",
            id="it is another HTTP server",
        ),
        pytest.param(
            answer("502 Bad Gateway"),
            "it answers GET /v2/health/live with 502 Bad Gateway: "
            "wait until the server, or the one behind it, is ready",
            id="nothing is behind the gateway",
        ),
        pytest.param(
            answer("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n"),
            TLS,
            id="a TLS port that says so over HTTP",
        ),
        pytest.param(
            b"\x15\x03\x01\x00\x02\x02\x16" + CLOSE, TLS, id="a TLS port that answers with an alert"
        ),
        pytest.param(
            b"SSH-2.0-OpenSSH_9.2\r\n" + CLOSE,
            r"it does not speak HTTP (its first bytes: b'SSH-2.0-OpenSSH_9.2\r\n'): give a Triton server's HTTP port",
            id="it speaks SSH",
        ),
        pytest.param(
            b"220 mail\r\n\r\n" + CLOSE,
            "it does not speak HTTP (its first bytes: b'220'): give a Triton server's HTTP port",
            id="it speaks something with blank lines",
        ),
        pytest.param(
            RESET,
            "the connection was reset without an answer: "
            "give the server's plain HTTP port (8000 by default), not that of TLS or gRPC",
            id="it resets the connection",
        ),
    ],
)
def test_a_server_that_cannot_be_asked_is_told_in_one_line(said: bytes, told: str) -> None:
    with literal_server(said) as address:
        result = run(address.url)
    assert result.exit_code == 3
    last = result.stderr.splitlines()[-1]
    assert last == f"triton-contract: target {address.url}: {told}; no case was asked"


def test_a_server_that_accepts_and_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton_contract.targets.url.ANSWER_SECONDS", 0.1)
    with literal_server(SILENCE) as address:
        result = run(address.url)
    told = (
        "it accepts connections and does not answer: wait until GET /v2/health/live answers, or start it anew"
    )
    assert (result.exit_code, told in result.stderr) == (3, True)


def test_a_port_on_which_nothing_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = run(f"http://user:secret@127.0.0.1:{port}")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        f"triton-contract: target http://127.0.0.1:{port}: connection refused: start the server, or give the port that "
        "it listens on; no case was asked"
    )


def test_a_host_that_does_not_exist_is_told() -> None:
    result = run("http://no-such-host.invalid:8000")
    assert result.exit_code == 3
    assert re.search(
        r"no-such-host\.invalid:8000: .+: check the host's name; no case was asked\n$", result.stderr
    )


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("https://user:secret@127.0.0.1:8000", 3, f"target https://127.0.0.1:8000: {TLS}; no case was asked"),
        ("ftp://127.0.0.1", 2, "'ftp://127.0.0.1' is no address of a server: write http://host:port"),
        ("http://", 2, "'http://' is no address of a server: write http://host:port"),
        ("http://host:port", 2, "'http://host:port' is no address of a server: write http://host:port"),
    ],
)
def test_an_address_that_is_none_is_told(name: str, code: int, told: str) -> None:
    result = run(name)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (code, f"triton-contract: {told}")


@pytest.fixture
def emulator() -> Iterator[EmulatorTarget]:
    target = EmulatorTarget()
    target.start(MODELS / "http", ())
    try:
        yield target
    finally:
        target.stop()


def test_the_grpc_port_of_a_server_is_recognised(emulator: EmulatorTarget) -> None:
    result = run(f"http://{emulator.grpc_url}")
    assert result.exit_code == 3
    assert "it is a gRPC port: give the server's HTTP port (8000 by default)" in result.stderr


def test_a_tls_port_is_recognised(emulator: EmulatorTarget) -> None:
    with TlsGateway(emulator.http_url) as gateway:
        result = run(gateway.url.replace("https", "http"))
    assert result.exit_code == 3
    assert "give the server's plain HTTP port (8000 by default), not that of TLS or gRPC" in result.stderr


def test_the_other_targets_of_a_run_are_asked_and_reported_all_the_same(
    emulator: EmulatorTarget, tmp_path: Path
) -> None:
    saved = tmp_path / "results.json"
    names = ("--target", "http://127.0.0.1:1", "--target", emulator.http_url)
    result = invoke("run", *names, "--repository", "http", "--only", "health/*", "--report", f"json={saved}")
    assert result.exit_code == 3
    down, up = results.load([saved])
    assert (down.cases, down.not_asked, up.stopped) == ((), len(up.cases), "")
    assert "target http://127.0.0.1:1: connection refused" in result.stderr
    assert f"actual: the server at {emulator.http_url}" in result.stdout


def kill(emulator: EmulatorTarget) -> None:
    running = emulator.process._process
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    running.wait(60)


def test_what_was_found_before_the_server_died_is_kept(emulator: EmulatorTarget, tmp_path: Path) -> None:
    saved = tmp_path / "results.json"
    with dying_relay(emulator.http, 100, lambda: kill(emulator)) as address:
        result = invoke(
            "run",
            "--target",
            address.url,
            "--repository",
            "http",
            "--only",
            "infer/versions/*",
            "--json",
            saved,
        )
    assert result.exit_code == 3
    assert "Traceback" not in result.output
    [outcome] = results.load([saved])
    *before, last = outcome.cases
    assert before
    assert [each.case for each in before if each.failed] == []
    assert last.differences() == {"status": "the target died: it no longer accepts connections"}
    told = (
        f"target {address.url} was lost at {last.case}: "
        "connection refused: start the server, or give the port that it listens on"
    )
    assert outcome.stopped == told
    assert outcome.not_asked > 0
    total = len(outcome.cases) + outcome.not_asked
    assert result.stderr.splitlines()[-1] == (
        f"triton-contract: {told}; {outcome.not_asked} of {total} cases were not asked"
    )
    assert f"all {len(outcome.cases)}" in result.stdout


def test_a_reference_that_dies_ends_the_run_and_its_case_has_no_result(
    emulator: EmulatorTarget, tmp_path: Path
) -> None:
    saved = tmp_path / "results.json"
    with dying_relay(emulator.http, 100, lambda: kill(emulator)) as address:
        words = ("diff", "--target", address.url, "--target", "emulator", "--repository", "http")
        result = invoke(*words, "--only", "infer/versions/*", "--json", saved)
    assert result.exit_code == 3
    [outcome] = results.load([saved])
    assert outcome.cases
    assert [each.differences() for each in outcome.cases if each.failed] == []
    assert f"target {address.url} was lost at infer/" in outcome.stopped


def test_a_program_that_runs_cases_gets_what_was_found(emulator: EmulatorTarget) -> None:
    with dying_relay(emulator.http, 100, lambda: kill(emulator)) as address:
        outcome = run_cases(address.url, repository="http")
        assert outcome.failed
        assert outcome.cases
        assert outcome.stopped.startswith(f"target {address.url} was lost at ")
        with pytest.raises(TargetUnavailable, match="connection refused"):
            run_cases(address.url, repository="http")


CONFIG = """
backend: "python"
input [{name: "IN", data_type: TYPE_FP32, dims: [1]}]
output [{name: "OUT", data_type: TYPE_FP32, dims: [1]}]
"""
#: A model that says which process it is in, and then never answers.
MODEL = """
import os, threading

class TritonPythonModel:
    def execute(self, requests):
        with open({fifo!r}, "w") as told:
            told.write(f"{{os.getpid()}}\\n")
        threading.Event().wait()
"""
CASES = """
repository: waiting
cases:
  - {id: health/first, path: /v2/health/ready}
  - {id: infer/never-ends, path: /v2/models/waits/infer, json: {inputs: [
      {name: IN, datatype: FP32, shape: [1], data: [1]}]}}
  - {id: health/last, path: /v2/health/ready}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_reports_what_it_has_and_leaves_no_server(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    folder = tmp_path / "waiting/waits"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (folder / "1/model.py").write_text(MODEL.format(fifo=str(tmp_path / "fifo")))
    (tmp_path / "own.yaml").write_text(CASES)
    os.mkfifo(tmp_path / "fifo")
    saved = tmp_path / "results.json"
    words = ["diff", "--target", "emulator", "--target", "emulator", "--cases", "own.yaml", "--json", saved]
    with subprocess.Popen(
        [sys.executable, "-m", "triton_contract", *map(str, words)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        # open for writing too, so that the file has no end before both have told
        with os.fdopen(os.open(tmp_path / "fifo", os.O_RDWR)) as told_by_models:
            servers = {int(told_by_models.readline()) for _ in range(2)}
        running.send_signal(number)
        told = running.stderr.read()
        assert running.wait(timeout=120) == code
    assert told == f"triton-contract: interrupted ({number.name}); 2 of 3 cases were not asked\n"
    [outcome] = results.load([saved])
    assert [(each.case, each.outcome.value) for each in outcome.cases] == [("health/first", "equal")]
    assert [pid for pid in servers if is_running(pid)] == []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_server_that_left_one_answer_out_is_asked_the_other_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triton_contract.cases.case.PATIENCE", 0.1)
    ask = {"path": "/v2/health/live"}
    cases = [{"id": "health/silent", "steps": [ask, ask]}, {"id": "health/answered", "steps": [ask]}]
    (tmp_path / "own.yaml").write_text(json.dumps({"repository": "small", "cases": cases}))
    alive = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with literal_server(alive, alive, SILENCE) as address:
        names = ("--target", address.url, "--target", address.url)
        result = invoke("diff", *names, "--cases", tmp_path / "own.yaml", "--repository", "small")
    assert (result.exit_code, "all 2" in result.stdout) == (0, True)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the reference is lost", "the target is lost"])
def test_what_was_found_over_own_models_is_kept(order: tuple[int, int], emulator: EmulatorTarget) -> None:
    with dying_relay(emulator.http, 40, lambda: kill(emulator)) as address:
        names = [(address.url, "emulator")[each] for each in order]
        words = [word for name in names for word in ("--target", name)]
        result = invoke("diff", *words, "--repository", MODELS / "http")
    assert result.exit_code == 3
    assert re.match(r"From 2.51.0 to 2.51.0: \d+ models .*, \d+ requests\.\n", result.stdout)
    assert f"triton-contract: target {address.url} was lost at " in result.stderr
