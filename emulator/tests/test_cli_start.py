"""The command in the foreground: what it prints, how it ends, with which exit code."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError
"""
BROKEN_MODEL = MODEL.replace(
    "    def execute", "    def initialize(self, args):\n        1 / 0\n\n    def execute"
)
#: reports through a pipe that it has begun, and never ends
STUCK_MODEL = MODEL.replace("import triton", "import threading\n\nimport triton").replace(
    "raise NotImplementedError", "open({begun!r}, 'w').close()\n        threading.Event().wait()"
)
CONFIG = """
backend: "python"
input [{name: "I" data_type: TYPE_FP32 dims: [1]}]
output [{name: "O" data_type: TYPE_FP32 dims: [1]}]
"""
FREE_PORTS = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")
STARTED = re.compile(r'"Started HTTPService at (127\.0\.0\.1:\d+)"')


def add_model(repository: Path, name: str, *, model: str = MODEL, config: str = CONFIG) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(model)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    add_model(folder, "good")
    return folder


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "triton_emulator.cli", *flags]


def run(*flags: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and the text on its standard error."""
    ended = subprocess.run(command(*flags), capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


class Running:
    """A server that listens. `log` is what it has printed so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        self.process = process
        self._errors = process.stderr
        printed = []
        found = None
        for line in self._errors:
            printed.append(line)
            found = found or STARTED.search(line)
            if found and "Metrics Service" in line:
                break
        self.log = "".join(printed)
        assert found, self.log
        self.url = f"http://{found[1]}"

    def get(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=10) as answer:
            content: bytes = answer.read()
            return content

    def wait_for(self, text: str) -> None:
        """Read on until the log holds this text."""
        assert any(text in line for line in self._errors)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        rest = self._errors.read()
        return self.process.wait(timeout=30), rest


@contextmanager
def running(*flags: str) -> Iterator[Running]:
    with subprocess.Popen(command(*FREE_PORTS, *flags), stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def test_a_start_prints_the_models_the_options_and_where_it_listens(repository: Path) -> None:
    add_model(repository, "bad", model=BROKEN_MODEL)
    with running(f"--model-repository={repository}", "--exit-on-error=false", "--id=here") as server:
        table = server.log.partition("+-------+---------+")[2]
        assert "| Model | Version | Status" in table
        assert "| bad   | 1       | UNAVAILABLE: Internal: ZeroDivisionError: division by zero " in table
        assert "| good  | 1       | READY " in table
        assert re.search(r"\| server_id +\| here +\|", server.log)
        assert f"| {repository} " in server.log
        assert '"Internal: failed to load all models"' in server.log
        assert b'"name":"here"' in server.get("/v2")


def test_a_recording_says_what_it_stands_in_front_of_and_at_its_end_what_it_has_written(
    repository: Path, tmp_path: Path
) -> None:
    cassette = tmp_path / "cassette"
    with running(f"--model-repository={repository}") as real:
        with running(f"--upstream={real.url}", f"--record={cassette}") as front:
            assert "| Model" not in front.log
            assert "server_id" not in front.log
            assert re.search(rf"\| upstream +\| {real.url} +\|", front.log)
            assert re.search(rf"\| record +\| {cassette} +\|", front.log)
            assert (
                f'"stands in front of {real.url}, which answers every request; no model is loaded; '
                f'what {real.url} answers is recorded into {cassette}"'
            ) in front.log
            for path in ("/v2", "/v2/models/good", "/v2/models/good"):
                front.get(path)
            _, printed = front.end(signal.SIGTERM)
            said = (
                f"recorded 3 exchanges (2 http model_metadata good, 1 http server_metadata) into {cassette}"
            )
            assert f'"{said}"' in printed
        with running(f"--upstream={real.url}", f"--record={cassette}") as front:
            _, printed = front.end(signal.SIGTERM)
            assert f'"recorded no exchange into {cassette}"' in printed
    with running(f"--replay={cassette}") as replay:
        assert re.findall(r"\| ((?:http|grpc) .*) \|\n", replay.log) == [
            "http     | model_metadata  | good  | 2         ",
            "http     | server_metadata |       | 1         ",
        ]
        assert (
            f'"replays 3 recordings of {cassette}; a request that none of them answers is refused '
            '(--on-miss=error)"'
        ) in replay.log
    with running(f"--replay={cassette}", "--on-miss=emulate", f"--model-repository={repository}") as both:
        assert "| good  | 1       | READY " in both.log
        assert "| http     | model_metadata  | good  | 2          |" in both.log
        assert "; the models answer a request that none of them answers (--on-miss=emulate)" in both.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(repository: Path, number: signal.Signals) -> None:
    with running(f"--model-repository={repository}") as server:
        code, printed = server.end(number)
    assert code == 0
    assert printed.startswith(f"Signal ({number.value}) received.\n")
    assert "successfully unloaded 'good' version 1" in printed


def test_the_log_follows_what_a_client_sets(repository: Path) -> None:
    with running(f"--model-repository={repository}") as server:
        server.get("/v2/logging", b'{"log_format":"ISO8601"}')
        _, printed = server.end(signal.SIGTERM)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ I \d+ .*", printed.splitlines()[1])


def test_a_flag_without_effect_is_warned_of_once_and_a_deprecated_one_is_named(repository: Path) -> None:
    flags = (
        "--pinned-memory-pool-byte-size=1",
        "--pinned-memory-pool-byte-size=2",
        "--strict-model-config=false",
    )
    with running(f"--model-repository={repository}", *flags) as server:
        assert server.log.count("--pinned-memory-pool-byte-size has no effect") == 1
        assert server.log.startswith("Warning: '--strict-model-config' has been deprecated!")


def test_a_model_that_fails_ends_the_start_after_the_table(repository: Path) -> None:
    add_model(repository, "bad", model=BROKEN_MODEL)
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}")
    assert code == 1
    table, _, behind = printed.partition("| good  | 1       | READY ")
    assert "| bad   | 1       | UNAVAILABLE" in table
    assert "error: creating server: Internal - failed to load all models\n" in behind
    assert "Started" not in printed


def test_a_broken_configuration_is_named_with_file_line_and_fault(repository: Path) -> None:
    add_model(repository, "broken", config='backend: "python"\nmax_batch_size: many\n')
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}")
    assert code == 1
    assert f"{repository}/broken/config.pbtxt:2:17" in printed
    assert "many" in printed


def test_a_repository_that_is_not_there_is_named() -> None:
    code, printed = run(*FREE_PORTS, "--model-repository=/nonexistent/models")
    assert code == 1
    assert printed.splitlines()[-1].startswith("error: creating server: ")
    assert "/nonexistent/models" in printed.splitlines()[-1]


@pytest.mark.parametrize(
    "service, flag", [("HTTP", "--http-port"), ("Metrics", "--metrics-port")], ids=["for HTTP", "for metrics"]
)
def test_a_port_that_is_taken_is_named_with_its_flag(repository: Path, service: str, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, printed = run(*FREE_PORTS, f"--model-repository={repository}", f"{flag}={port}")
    assert code == 1
    said = f"failed to start {service} service: Unavailable - Socket '127.0.0.1:{port}' already in use"
    assert printed.splitlines()[-1].endswith(f'"{said}; choose another with {flag}"')


@pytest.mark.parametrize("port", ["-5", "70000"])
def test_a_number_that_is_no_port_is_refused(repository: Path, port: str) -> None:
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}", f"--http-port={port}")
    assert code == 1
    assert f"{port} is not a port: 0 to 65535; choose another with --http-port" in printed


@pytest.mark.parametrize(
    "service,flag",
    [("GRPC", "grpc"), ("HTTP", "http"), ("Metrics", "metrics")],
    ids=["gRPC", "HTTP", "metrics"],
)
@pytest.mark.parametrize(
    "address",
    [pytest.param("192.0.2.1", id="another machine's"), pytest.param("no address", id="no address")],
)
def test_an_address_that_cannot_be_had_is_named_with_its_flag(
    repository: Path, service: str, flag: str, address: str
) -> None:
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}", f"--{flag}-address={address}")
    assert code == 1
    said = printed.splitlines()[-1]
    assert f"failed to start {service} service: Unavailable - Socket '{address}:0' " in said
    assert said.endswith(f'; choose another with --{flag}-address"')


def test_an_address_of_the_metrics_that_is_that_of_http_is_named_with_the_flag_of_http(
    repository: Path,
) -> None:
    flags = ["--allow-http=false", "--http-address=192.0.2.1"]
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}", *flags)
    assert code == 1
    assert "failed to start Metrics service: " in printed
    assert printed.splitlines()[-1].endswith('choose another with --http-address"')


def test_the_log_goes_to_a_file(repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    add_model(repository, "bad", model=BROKEN_MODEL)
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}", f"--log-file={log}")
    assert (code, printed) == (1, "error: creating server: Internal - failed to load all models\n")
    assert "| bad   | 1       | UNAVAILABLE" in log.read_text()


def test_in_mode_poll_a_model_is_served_once_it_is_there_and_no_longer_once_it_is_gone(
    repository: Path, tmp_path: Path
) -> None:
    flags = ("--model-control-mode=poll", "--repository-poll-secs=1")
    with running(f"--model-repository={repository}", *flags) as server:
        add_model(tmp_path / "elsewhere", "late")
        (tmp_path / "elsewhere" / "late").rename(repository / "late")
        server.wait_for("successfully loaded 'late'")
        assert b'"name":"late"' in server.get("/v2/models/late")
        (repository / "good").rename(tmp_path / "good")
        server.wait_for("successfully unloaded 'good' version 1")
        assert b'{"name":"late","version":"1","state":"READY"}' in server.get("/v2/repository/index", b"")


FAILS_ONCE = """
    def initialize(self, args):
        tried = pathlib.Path(args["model_repository"], "tried")
        if not tried.exists():
            tried.touch()
            raise RuntimeError("not yet")

    def execute"""


def test_a_model_that_fails_is_tried_again_as_often_as_asked(repository: Path) -> None:
    add_model(repository, "shy", model="import pathlib\n" + MODEL.replace("    def execute", FAILS_ONCE))
    with running(f"--model-repository={repository}", "--model-load-retry-count=1") as server:
        assert "| shy   | 1       | READY " in server.log


@pytest.mark.parametrize(
    "flag, complaint",
    [
        (
            "--http-header-forward-pattern=(",
            "--http-header-forward-pattern is no regular expression: missing )",
        ),
        (
            "--grpc-header-forward-pattern=(",
            "--grpc-header-forward-pattern is no regular expression: missing )",
        ),
        (
            "--emulator-config=/nonexistent.yaml",
            "/nonexistent.yaml: there is no such file; --emulator-config (emulator_config) names it",
        ),
    ],
    ids=["a pattern for HTTP", "a pattern for gRPC", "a file of settings"],
)
def test_what_cannot_be_used_is_named_in_one_line(repository: Path, flag: str, complaint: str) -> None:
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}", flag)
    assert code == 1
    (line,) = printed.splitlines()
    assert line.startswith("error: creating server: ")
    assert complaint in line


def test_settings_of_models_that_cannot_be_read_are_named_with_file_and_line(repository: Path) -> None:
    (repository / "emulator.yaml").write_text("models: [")
    code, printed = run(*FREE_PORTS, f"--model-repository={repository}")
    assert code == 1
    assert printed.startswith(f"error: creating server: {repository}/emulator.yaml:1: not YAML")


def test_requests_that_outlast_the_exit_timeout_make_the_end_a_failure(
    repository: Path, tmp_path: Path
) -> None:
    """2.51 prints these words and exits with 1."""
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    add_model(repository, "stuck", model=STUCK_MODEL.format(begun=str(begun)))
    with running(f"--model-repository={repository}", "--exit-timeout-secs=0") as server:
        port = int(server.url.rpartition(":")[2])
        body = b'{"inputs":[{"name":"I","datatype":"FP32","shape":[1],"data":[1]}]}'
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"POST /v2/models/stuck/infer HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            begun.open().close()
            code, printed = server.end(signal.SIGTERM)
    assert code == 1
    assert "the end does not wait any longer for model 'stuck' version 1: requests in flight: 1" in printed
    assert '"failed to stop server: Internal - Exit timeout expired. Exiting immediately."' in printed


SWITCHING_MODEL = MODEL.replace(
    "    def execute", "    def initialize(self, args):\n        {body}\n\n    def execute"
)


def test_threads_take_turns_each_millisecond(repository: Path, tmp_path: Path) -> None:
    """With Python's 5 ms, gRPC waits that long for each message beside a model that computes."""
    seen = tmp_path / "seen"
    body = f"import sys; open({str(seen)!r}, 'w').write(str(sys.getswitchinterval()))"
    add_model(repository, "switching", model=SWITCHING_MODEL.format(body=body))
    with running(f"--model-repository={repository}"):
        assert seen.read_text() == "0.001"
