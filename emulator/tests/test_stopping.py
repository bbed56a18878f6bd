"""Stopping a busy server: while its models load, or after a client has sent half a request."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator, EmulatorOptions

CONFIG = """
backend: "python"
input [{name: "I" data_type: TYPE_FP32 dims: [1]}]
output [{name: "O" data_type: TYPE_FP32 dims: [1]}]
"""
GOOD = """
class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError
"""
#: reports through a pipe that its load has begun, and never finishes it
ENDLESS = (
    GOOD
    + """
    def initialize(self, args):
        import threading
        open({begun!r}, "w").close()
        threading.Event().wait()
"""
)
#: like ENDLESS, but its load ends when a second pipe is opened; it reports through a third that it is finalised
SLOW = (
    GOOD
    + """
    def initialize(self, args):
        open({begun!r}, "w").close()
        open({go!r}).close()

    def finalize(self):
        open({gone!r}, "w").close()
"""
)
NEVER_FINALISED = (
    GOOD
    + """
    def finalize(self):
        import threading
        threading.Event().wait()
"""
)
#: starts a thread that never ends and that its process would wait for
BUSY = (
    GOOD
    + """
    def initialize(self, args):
        import threading
        threading.Thread(target=threading.Event().wait).start()
"""
)
#: calls a model that never answers, from a thread of a pool
ASKS = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    async def execute(self, requests):
        tensor = pb_utils.get_input_tensor_by_name(requests[0], "I")
        await pb_utils.InferenceRequest(
            model_name="stuck", inputs=[tensor], requested_output_names=["O"]
        ).async_exec()
"""
STUCK = (
    GOOD
    + """
    def execute(self, requests):
        import threading
        open({begun!r}, "w").close()
        threading.Event().wait()
"""
)
HALF_REQUESTS = {
    "a head": b"POST /v2/models/good/infer HTTP/1.1\r\nHost: x\r\nContent-Le",
    "a body": b"POST /v2/models/good/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789",
    "a chunk": b"POST /v2/models/good/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0123",
    "nothing": b"",
}


def add_model(repository: Path, name: str, model: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG)
    (repository / name / "1" / "model.py").write_text(model)


def pipe(folder: Path, name: str) -> str:
    os.mkfifo(folder / name)
    return str(folder / name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    add_model(tmp_path / "models", "good", GOOD)
    return tmp_path / "models"


@pytest.fixture
def begun(repository: Path, tmp_path: Path) -> Path:
    """A pipe that is opened for reading when the load of the model `endless` has begun."""
    begun = pipe(tmp_path, "begun")
    add_model(repository, "endless", ENDLESS.format(begun=begun))
    return Path(begun)


@contextmanager
def command(repository: Path, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, "-m", "triton_emulator.cli", f"--model-repository={repository}", *flags]
    words += ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def port(process: "subprocess.Popen[str]") -> int:
    """Read a server's log up to the end of its start; return its HTTP port."""
    assert process.stderr is not None
    found = 0
    for line in process.stderr:
        if "Started HTTPService" in line:
            found = int(line.rpartition(":")[2].rstrip('"\n'))
        if "Started Metrics Service" in line:
            break
    return found


def ask_in_vain(url: str) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.post(url, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_the_process_at_once(
    repository: Path, begun: Path, number: signal.Signals
) -> None:
    """2.51 dies as a process without a signal handler does, whatever the exit timeout."""
    with command(repository, "--exit-timeout-secs=3600") as process:
        begun.open().close()
        process.send_signal(number)
        assert process.wait() == -number


def test_a_load_under_way_is_cut_off_at_the_exit_timeout_and_makes_the_end_a_failure(
    repository: Path, begun: Path
) -> None:
    """2.51 ends as a failure too, but waits until the model is loaded, however long that takes."""
    flags = ("--model-control-mode=explicit", "--load-model=good", "--exit-timeout-secs=0")
    with command(repository, *flags) as process:
        address = ("127.0.0.1", port(process))
        with socket.create_connection(address) as client:
            client.sendall(b"POST /v2/repository/models/endless/load HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            begun.open().close()
            process.send_signal(signal.SIGTERM)
            _, printed = process.communicate()
    assert process.returncode == 1
    assert "successfully unloaded 'good' version 1" in printed
    assert "the end does not wait any longer for model 'endless' version 1: it is still loading" in printed
    assert '"failed to stop server: Internal - Exit timeout expired. Exiting immediately."' in printed


def test_a_model_whose_finalize_never_returns_is_named_at_the_end(repository: Path) -> None:
    add_model(repository, "endless", NEVER_FINALISED)
    with command(repository, "--exit-timeout-secs=0") as process:
        port(process)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate()
    assert process.returncode == 1
    held = "the end does not wait any longer for model 'endless' version 1: its finalize has not returned"
    assert held in printed


@pytest.mark.parametrize("sent", HALF_REQUESTS.values(), ids=HALF_REQUESTS.keys())
def test_a_client_that_has_sent_half_a_request_does_not_delay_the_stop(repository: Path, sent: bytes) -> None:
    with command(repository, "--exit-timeout-secs=3600") as process:
        address = ("127.0.0.1", port(process))
        with socket.create_connection(address) as client:
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
            client.sendall(sent)
            with socket.create_connection(address) as other:  # its answer comes after what was sent before
                other.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert other.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
                process.send_signal(signal.SIGTERM)
                assert client.recv(1000) == b""
        process.communicate()
    assert process.returncode == 0


PROGRAM = """
import signal
from triton_emulator import Emulator
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
try:
    Emulator({repository!r}, exit_timeout_secs=3600).start()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_control_c_ends_a_test_whose_models_never_load(repository: Path, begun: Path) -> None:
    words = [sys.executable, "-W", "error", "-c", PROGRAM.format(repository=str(repository))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            begun.open().close()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate()
        finally:
            process.kill()
    assert out == "interrupted\n", errors
    assert "pending" not in errors


def test_a_model_that_is_loaded_after_the_end_is_finalised_all_the_same(
    repository: Path, tmp_path: Path
) -> None:
    begun, go, gone = (pipe(tmp_path, name) for name in ("begun", "go", "gone"))
    add_model(repository, "slow", SLOW.format(begun=begun, go=go, gone=gone))
    options: EmulatorOptions = {"model_control_mode": "explicit", "exit_timeout_secs": 0}
    with Emulator(repository, **options) as triton:
        url = f"{triton.url}/v2/repository/models/slow/load"
        client = threading.Thread(target=ask_in_vain, args=(url,))
        client.start()
        Path(begun).open().close()
    client.join()
    with Path(go).open("w"):
        Path(gone).open().close()


def test_a_thread_that_a_model_left_running_does_not_keep_the_process_alive(repository: Path) -> None:
    add_model(repository, "busy", BUSY)
    with command(repository) as process:
        port(process)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate()
    assert process.returncode == 0
    assert "successfully unloaded 'busy' version 1" in printed


def test_a_model_that_waits_for_another_without_end_does_not_keep_the_process_alive(
    repository: Path, tmp_path: Path
) -> None:
    begun = pipe(tmp_path, "begun")
    add_model(repository, "asks", ASKS)
    add_model(repository, "stuck", STUCK.format(begun=begun))
    with command(repository, "--exit-timeout-secs=0") as process:
        address = ("127.0.0.1", port(process))
        body = b'{"inputs":[{"name":"I","datatype":"FP32","shape":[1],"data":[1]}]}'
        with socket.create_connection(address) as client:
            client.sendall(
                b"POST /v2/models/asks/infer HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            Path(begun).open().close()
            process.send_signal(signal.SIGTERM)
            _, printed = process.communicate()
    assert process.returncode == 1
    assert "Exit timeout expired. Exiting immediately." in printed


#: answers when a pipe is opened; opens another one when it has the request
ANSWERS_LATE = (
    GOOD
    + """
    def execute(self, requests):
        open({begun!r}, "w").close()
        open({go!r}).close()
        raise RuntimeError("late")
"""
)


@contextmanager
def stopping(
    repository: Path, folder: Path, version: str
) -> Iterator[tuple[tuple[str, int], socket.socket, socket.socket]]:
    """A server that has got SIGTERM while a request is at work: its address, an idle connection, and the busy one.

    At the end the request is answered, and the server ends.
    """
    begun, go = (pipe(folder, name) for name in ("begun", "go"))
    add_model(repository, "late", ANSWERS_LATE.format(begun=begun, go=go))
    body = b'{"inputs":[{"name":"I","datatype":"FP32","shape":[1],"data":[1]}]}'
    head = f"POST /v2/models/late/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with command(repository, "--exit-timeout-secs=3600", f"--triton-version={version}") as process:
        address = ("127.0.0.1", port(process))
        with socket.create_connection(address) as busy, socket.create_connection(address) as idle:
            assert ask(idle, "health/ready").startswith(b"HTTP/1.1 200 OK\r\n")
            busy.sendall(head + body)
            Path(begun).open().close()
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            while "Waiting for in-flight requests" not in process.stderr.readline():
                pass
            yield address, idle, busy
            Path(go).open("w").close()
            assert busy.recv(1000).startswith(b"HTTP/1.1 500 ")
            assert idle.recv(1000) == b""
        process.communicate()
    assert process.returncode == 0


def ask(client: socket.socket, path: str) -> bytes:
    client.sendall(f"GET /v2/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client.recv(1000)


# The tests below: server r24.03 and r24.04, src/main.cc and src/http_server.cc. Real servers of 2.44 and 2.51 agree.


def test_from_2_45_open_connections_are_served_on_and_new_ones_are_reset(
    repository: Path, tmp_path: Path
) -> None:
    with stopping(repository, tmp_path, "2.45.0") as (address, idle, _):
        for path in ("health/live", "health/ready", "models/good/ready", "models/good/stats"):
            assert ask(idle, path).startswith(b"HTTP/1.1 200 OK\r\n")
        with socket.create_connection(address) as new, pytest.raises(ConnectionResetError):
            new.recv(1000)


def test_until_2_44_a_stopping_server_says_that_it_exits(repository: Path, tmp_path: Path) -> None:
    with (
        stopping(repository, tmp_path, "2.44.0") as (address, idle, _),
        socket.create_connection(address) as new,
    ):
        for client in (idle, new):
            for path, text in (
                ("health/live", "Server exiting"),
                ("health/ready", "Server exiting"),
                ("models/good/ready", "Server not ready"),
                ("models/good/stats", "Server not ready"),
            ):
                answer = ask(client, path)
                assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                assert answer.endswith(f'{{"error":"{text}"}}'.encode())
