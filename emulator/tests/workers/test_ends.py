"""How several workers end: one alone, all by a signal, all with their parent."""

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from emulator.tests.workers.serving import ASK, Serving, add_model, command, ended, process_of, serving
from triton_emulator.server import State
from triton_emulator.settings import Settings
from triton_emulator.workers import workers
from triton_emulator.workers.workers import PAUSES, Workers, pause_before

#: tokens that come so far apart that no test waits for the last one
SLOW = "models:\n  llm: {behaviour: text, length: 3, time_to_first_token_ms: 100, time_per_token_ms: %d}\n"

#: a worker tells that it has begun, and then waits until nobody holds the lock
HOLD = """
import fcntl, sys
if sys.argv[0].endswith("start.py"):
    with open({begun!r}, "wb", buffering=0) as pipe:
        pipe.write(b"x")
    with open({held!r}) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
"""


def executions(server: Serving, client: httpx.Client | None = None) -> int:
    (found,) = (client or httpx).get(f"{server.http}/v2/models/double/stats").json()["model_stats"]
    count: int = found["execution_count"]
    return count


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def takes_connections(server: Serving) -> bool:
    try:
        httpx.get(f"{server.http}/v2/health/ready")
    except httpx.TransportError:
        return False
    return True


@contextmanager
def stream(server: Serving) -> Iterator[socket.socket]:
    """A connection on which a stream has begun."""
    host, _, port = server.http.removeprefix("http://").partition(":")
    body = b'{"text_input": "hi", "stream": true}'
    head = b"POST /v2/models/llm/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head + body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        yield connection


def is_whole(connection: socket.socket) -> bool:
    """Whether the answer comes to its end, before the connection does."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts).endswith(b"\r\n0\r\n\r\n")


def test_a_worker_that_is_killed_is_started_again_and_no_sum_goes_down(repository: Path) -> None:
    with serving(repository, "--workers=2", "--log-verbose=1") as server:
        for _ in range(6):  # three to each worker: one connection after the other
            httpx.post(f"{server.http}/v2/models/double/infer", json=ASK).raise_for_status()
        assert executions(server) == 6
        os.kill(server.workers[0], signal.SIGKILL)
        line = server.wait_for("worker 1 ", when=lambda line: "SIGKILL" in line)
        assert (
            f"worker 1 (process {server.workers[0]}) was ended by SIGKILL: its connections are closed" in line
        )
        assert process_of(line) == server.process.pid
        assert executions(server) == 6
        line = server.wait_for("serves in its place")
        assert executions(server) == 6
        httpx.post(f"{server.http}/v2/models/double/infer", json=ASK).raise_for_status()
        assert executions(server) == 7
        assert 'nv_inference_count{model="double",version="1"} 7' in httpx.get(server.metrics).text
        again = int(line.partition("(process ")[2].partition(")")[0])
        found: set[int] = set()
        with ExitStack() as stack:
            while found < {server.workers[1], again}:  # until both have a connection
                client = stack.enter_context(httpx.Client())
                client.get(f"{server.http}/v2/health/ready").raise_for_status()
                found.add(process_of(server.wait_for("HTTP request: 0 /v2/health/ready")))
        assert found == {server.workers[1], again}


def test_the_others_serve_on_while_a_worker_is_started_again(repository: Path) -> None:
    with serving(repository, "--workers=2", "--log-verbose=1") as server:
        clients = [httpx.Client(), httpx.Client()]
        by_process = {}
        for client in clients:
            client.get(f"{server.http}/v2/health/live").raise_for_status()
            by_process[process_of(server.wait_for("HTTP request: 0 /v2/health/live"))] = client
        killed, kept = server.workers
        os.kill(killed, signal.SIGKILL)
        server.wait_for("was ended by SIGKILL")
        by_process[kept].post(f"{server.http}/v2/models/double/infer", json=ASK).raise_for_status()
        assert executions(server, by_process[kept]) == 1
        for client in clients:
            client.close()


def test_the_pauses_before_a_start_grow_and_have_an_end() -> None:
    assert [pause_before(ends) for ends in range(1, 10)] == [0, 1, 2, 5, 10, 30, 60, 60, 60]
    assert list(PAUSES) == sorted(PAUSES)


def test_a_server_may_end_while_a_worker_is_started_again(repository: Path) -> None:
    with serving(repository, "--workers=2") as server:
        os.kill(server.workers[0], signal.SIGKILL)
        server.wait_for("worker 1 is started again")
        server.process.send_signal(signal.SIGTERM)
        printed = server.rest()
        assert server.process.wait() == 0
    assert printed.count("successfully unloaded 'double' version 1") == 1


def test_a_worker_that_finds_other_models_does_not_serve(repository: Path) -> None:
    with serving(repository, "--workers=2") as server:
        config = repository / "double" / "config.pbtxt"
        config.write_text(config.read_text().replace("dims: [ 1 ]", "dims: [ 3 ]"))
        os.kill(server.workers[1], signal.SIGKILL)
        line = server.wait_for("worker 2 ", when=lambda line: "cannot serve" in line)
        assert (
            "the models in the repository are not those of the start any more; start the server again" in line
        )
        outputs = httpx.post(f"{server.http}/v2/models/double/infer", json=ASK).json()["outputs"]
        assert outputs[0]["shape"] == [1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("version", ["2.44.0", "2.51.0"])
def test_a_signal_ends_all_after_the_last_request(
    repository: Path, number: signal.Signals, version: str
) -> None:
    (repository / "emulator.yaml").write_text(SLOW % 300)
    with serving(repository, "--workers=2", f"--triton-version={version}") as server:
        with stream(server) as one, stream(server) as other:
            server.process.send_signal(number)
            assert is_whole(one)
            assert is_whole(other)
        printed = server.rest()
        assert server.process.wait() == 0
    assert printed.startswith(f"Signal ({number.value}) received.\n")
    assert printed.count("Waiting for in-flight requests to complete.") == 1
    assert printed.count("successfully unloaded 'double' version 1") == 1
    assert not any(map(is_there, server.workers))


def test_an_idle_worker_serves_open_connections_until_the_other_one_has_done(repository: Path) -> None:
    (repository / "emulator.yaml").write_text(SLOW % 3_600_000)
    with serving(repository, "--workers=2", "--exit-timeout-secs=3600") as server, httpx.Client() as idle:
        with stream(server):  # on one worker; on the other one:
            idle.get(f"{server.http}/v2/health/ready").raise_for_status()
            server.process.send_signal(signal.SIGTERM)
            while takes_connections(server):  # until the signal has arrived
                pass
            assert idle.get(f"{server.http}/v2/models/double/ready").status_code == 200
        # the client of the stream has gone
        assert server.process.wait() == 0


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_not_done_at_the_exit_timeout_is_cut_off_as_by_one_process(
    repository: Path, count: int
) -> None:
    (repository / "emulator.yaml").write_text(SLOW % 3_600_000)
    with serving(repository, f"--workers={count}", "--exit-timeout-secs=0") as server:
        with stream(server) as one, stream(server) as other:
            server.process.send_signal(signal.SIGTERM)
            assert not is_whole(one)
            assert not is_whole(other)
        printed = server.rest()
        assert server.process.wait() == 0
    assert printed.count("successfully unloaded 'llm' version 1") == 1


def test_workers_end_with_their_parent(repository: Path) -> None:
    (repository / "emulator.yaml").write_text(SLOW % 3_600_000)
    with serving(repository, "--workers=3") as server, stream(server) as connection:
        server.process.kill()
        assert server.rest() == ""  # the log ends when the last process that can write it has ended
        assert not is_whole(connection)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_leaves_the_signals_of_an_end_to_its_parent(
    repository: Path, number: signal.Signals
) -> None:
    with serving(repository, "--workers=2", "--log-verbose=1") as server:
        for worker in server.workers:
            os.kill(worker, number)
        with httpx.Client() as one, httpx.Client() as other:
            for client in (one, other):
                client.get(f"{server.http}/v2/health/ready").raise_for_status()
            found = {process_of(server.wait_for("HTTP request: 0 /v2/health/ready")) for _ in range(2)}
        assert found == set(server.workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_during_the_start_ends_all_at_once(
    repository: Path, tmp_path: Path, number: signal.Signals
) -> None:
    begun, held = tmp_path / "begun", tmp_path / "held"
    os.mkfifo(begun)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sitecustomize.py").write_text(HOLD.format(begun=str(begun), held=str(held)))
    path = os.pathsep.join([str(tmp_path / "code"), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = command(repository, "--workers=2", "--exit-timeout-secs=3600")
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=environment, text=True) as process:
        try:
            with begun.open(
                "r+b", buffering=0
            ) as pipe:  # open at both ends, so that no worker waits for a reader
                with held.open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    assert pipe.read(1) == b"x"
                    process.send_signal(number)
                    assert process.wait() == -number
                assert process.stderr is not None
                assert "Started" not in process.stderr.read()  # which ends when all workers have ended
        finally:
            process.kill()


def test_a_model_that_no_worker_can_load_ends_the_start_once(repository: Path) -> None:
    add_model(repository, "broken", 'backend: "onnxruntime"\nmax_batch_size: many\n')
    words = command(repository, "--workers=3")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("broken/config.pbtxt:2:17") == 1
    assert done.stderr.count("error: creating server: Internal - failed to load all models\n") == 1
    assert "Started" not in done.stderr


def test_a_certificate_that_is_not_there_ends_the_start_as_with_one_process(repository: Path) -> None:
    flags = ("--grpc-use-ssl=true", "--grpc-server-key=missing.key")
    ends = []
    for count in (1, 2):
        code, printed = ended(repository, f"--workers={count}", *flags)
        ends.append((code, [line for line in printed.splitlines() if line.startswith("error:")]))
    said = "error: creating server: [Errno 2] No such file or directory: 'missing.key'"
    assert ends == [(1, [said]), (1, [said])]


async def test_a_sum_without_an_answer_of_a_worker_is_an_error(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_COUNT_SECONDS", 0.2)
    settings = Settings(
        model_repositories=(str(repository),),
        workers=2,
        exit_timeout_secs=0,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
    )
    server = Workers(settings)
    await server.start()
    assert server.state is State.SERVING
    assert repr(server) == "<Workers serving, serving: 2 of 2>"
    assert server.metrics_address is not None
    assert server.http_address is not None
    _, stopped = server.pids
    async with httpx.AsyncClient(timeout=60) as client:
        os.kill(stopped, signal.SIGSTOP)
        answer = await client.get("http://{}:{}/metrics".format(*server.metrics_address))
        assert answer.status_code == 503
        said = f"worker 2 (process {stopped}) has not said for 0.2 s what it has counted, so there is no sum"
        assert answer.json() == {"error": said}
        # the first connection is that of the first worker
        answer = await client.get("http://{}:{}/v2/models/double/stats".format(*server.http_address))
        assert (answer.status_code, answer.json()) == (503, {"error": said})
        os.kill(stopped, signal.SIGCONT)
    assert await server.close()
