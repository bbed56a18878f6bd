"""Models that start processes: these are no servers. They keep no port, and a signal to them is for them alone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from emulator.tests.test_stopping import command, pipe, port

CONFIG = """
backend: "python"
input [{name: "CODE" data_type: TYPE_STRING dims: [1]}]
output [{name: "SAID" data_type: TYPE_STRING dims: [1]}]
"""
#: runs the code in its request
MODEL = """
import os
import sys
import numpy as np
import triton_python_backend_utils as pb_utils
import word

def told():
    return word.WORD

class TritonPythonModel:
    def execute(self, requests):
        code = pb_utils.get_input_tensor_by_name(requests[0], "CODE").as_numpy().item().decode()
        exec(code, names := {**globals(), "model": self})
        said = np.array([repr(names["run"]())], "O")
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SAID", said)])]
"""
#: makes a process that sleeps until it is killed, and holds the pipe that it is told of open meanwhile
SLEEPS = """
import multiprocessing, threading

def sleep(pipe):
    held = open(pipe, "w")
    threading.Event().wait()

def run():
    model.child = multiprocessing.Process(target=sleep, args=({pipe!r},))
    model.child.start()
    return model.child.pid
"""
#: what `way` does in a forked child; run returns how the child ended
FORKS = """
def run():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    {way}
"""
#: calls a function of the model and one of the backend's module in another process
CALLS = """
import concurrent.futures, multiprocessing

def run():
    context = multiprocessing.get_context({method!r})
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        model_s = sys.modules["1.model"].told
        return pool.submit(model_s).result(), pool.submit(pb_utils.triton_string_to_numpy, "TYPE_BOOL").result()
"""
#: each worker of this pool ends after one call, and another is started on a thread of the pool
POOL = """
import multiprocessing

def begin():
    model.pool = multiprocessing.get_context({method!r}).Pool(1, maxtasksperchild=1)

def run():
    begin() if not hasattr(model, "pool") else None
    return model.pool.apply(sys.modules["1.model"].told)
"""
#: the ports of the sockets that a child has
SOCKETS = """
import socket, stat

def ports():
    for name in os.listdir("/dev/fd"):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(int(name)).st_mode)
        except OSError:
            continue
        sock = socket.socket(fileno=int(name)) if is_socket else None
        if sock is not None and sock.family == socket.AF_INET:
            yield sock.getsockname()[1]

def run():
    read, write = os.pipe()
    if not os.fork():
        os.write(write, repr(sorted(ports())).encode())
        os._exit(0)
    os.close(write)
    return os.read(read, 1000).decode()
"""
#: the sockets that a program has which is started with all descriptors that can be inherited
STARTS = """
import subprocess

def run():
    words = ["sh", "-c", "ls -l /proc/self/fd | grep -c socket:"]
    return subprocess.run(words, close_fds=False, capture_output=True, text=True).stdout
"""


def add_model(repository: Path, name: str, model: str = MODEL) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG)
    (repository / name / "1" / "model.py").write_text(model)
    (repository / name / "1" / "word.py").write_text(f"WORD = {name!r}")


def said(url: str, code: str, model: str = "one") -> str:
    body = {"inputs": [{"name": "CODE", "datatype": "BYTES", "shape": [1], "data": [code]}]}
    answer = httpx.post(f"{url}/v2/models/{model}/infer", json=body, timeout=60).json()
    return str(answer["outputs"][0]["data"][0]) if "outputs" in answer else str(answer["error"])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    add_model(folder, "one")
    add_model(folder, "two")
    return folder


@pytest.fixture(scope="module")
def url(repository: Path) -> Iterator[str]:
    with command(repository) as process:
        yield f"http://127.0.0.1:{port(process)}"
        process.terminate()
        process.communicate()
        assert process.returncode == 0


def test_a_child_that_is_terminated_ends_and_the_server_goes_on(url: str) -> None:
    code = """
import multiprocessing, threading

def run():
    child = multiprocessing.Process(target=threading.Event().wait)
    child.start()
    child.terminate()  # at once: the child may not have begun
    child.join()
    return child.exitcode
"""
    assert {said(url, code) for _ in range(20)} == {"-15"}
    assert said(url, "run = os.getpid") == said(url, "run = os.getpid")


def test_a_child_that_is_interrupted_ends_and_the_server_goes_on(url: str) -> None:
    assert said(url, FORKS.format(way="import signal; signal.raise_signal(signal.SIGINT)")) == "-2"
    assert said(url, "run = int") == "0"


@pytest.mark.parametrize(
    "way, code",
    [
        pytest.param("return", 0, id="returns"),
        pytest.param("raise ValueError", 1, id="raises"),
        pytest.param("sys.exit()", 0, id="exits"),
        pytest.param("sys.exit(3)", 3, id="exits with a code"),
        pytest.param("sys.exit('why')", 1, id="exits with a text"),
    ],
)
def test_a_child_ends_when_the_models_code(url: str, way: str, code: int) -> None:
    """2.51: such a child takes messages that are for its parent."""
    assert said(url, FORKS.format(way=way)) == str(code)
    assert said(url, "run = int") == "0"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_function_of_a_model_runs_in_a_process_made_by(url: str, method: str) -> None:
    assert said(url, CALLS.format(method=method), "one") == "('one', <class 'bool'>)"
    assert said(url, CALLS.format(method=method), "two") == "('two', <class 'bool'>)"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_later_workers_of_a_pool_belong_to_its_model(url: str, method: str) -> None:
    code = POOL.format(method=method)
    asked = [said(url, code, model) for model in ("one", "two", "one", "two")]
    assert asked == ["'one'", "'two'", "'one'", "'two'"]
    for model in ("one", "two"):
        said(url, "def run():\n    model.pool.terminate()\n    del model.pool", model)


def test_a_process_of_a_model_has_no_socket_of_the_server(url: str) -> None:
    metadata = httpx.get(f"{url}/metrics")  # an open connection while the child is made
    assert metadata.status_code in {200, 400, 404}
    assert said(url, SOCKETS) == "'[]'"
    assert said(url, STARTS) == r"'0\n'"


def test_an_orphan_keeps_no_port_and_no_connection_and_ends_at_a_signal(
    repository: Path, tmp_path: Path
) -> None:
    with command(repository) as process:
        assert process.stderr is not None
        ports = started(process)
        http, rpc = ports["HTTPService"], ports["GRPCInferenceService"]
        with (
            grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel,
            socket.create_connection(("127.0.0.1", http)) as client,
        ):
            grpc.channel_ready_future(channel).result(60)
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
            sleeping = pipe(tmp_path, "sleeping")
            child = int(said(f"http://127.0.0.1:{http}", SLEEPS.format(pipe=sleeping)))
            with Path(sleeping).open() as held:
                process.terminate()
                assert client.recv(1000) == b""
                process.stderr.close()  # the orphan has a copy of the other end
                assert process.wait() == 0
                for taken in ports.values():
                    with socket.socket() as sock:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        sock.bind(("127.0.0.1", taken))
                        sock.listen()
                os.kill(child, signal.SIGTERM)
                assert held.read() == ""  # the end of the child


def started(process: "subprocess.Popen[str]") -> dict[str, int]:
    """The ports of a server's listeners, by their names in its log."""
    assert process.stderr is not None
    ports = {}
    for line in process.stderr:
        if '"Started ' in line:
            ports[line.split('"Started ')[1].split(" at ")[0]] = int(line.rpartition(":")[2].rstrip('"\n'))
        if "Started Metrics Service" in line:
            break
    return ports


PROGRAM = """
import socket, sys, warnings
sys.path.insert(0, {root!r})
warnings.simplefilter("ignore")
from triton_emulator import Emulator
from emulator.tests.test_forks import SLEEPS, SOCKETS, said

own = socket.create_server(("127.0.0.1", 0))
with Emulator({repository!r}) as triton:
    inherited = eval(eval(said(triton.http_url, SOCKETS)))
    ours = [triton.http_url, triton.grpc_url, triton.metrics_url.removesuffix("/metrics")]
    print([int(url.rpartition(":")[2]) in inherited for url in ours], own.getsockname()[1] in inherited)
    said(triton.http_url, SLEEPS.format(pipe={pipe!r}))
    with open({pipe!r}) as held:
        said(triton.http_url, "def run():\\n    model.child.terminate()\\n    model.child.join()")
        print(repr(held.read()))
    print(said(triton.http_url, "run = int"))
"""


def test_inside_a_program_a_child_keeps_what_is_the_programs_own(repository: Path, tmp_path: Path) -> None:
    program = PROGRAM.format(
        root=str(Path(__file__).parents[2]), repository=str(repository), pipe=pipe(tmp_path, "sleeping")
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[False, False, False] True\n''\n0\n"
