"""Emulators and sessions of a test end at once: they cut off the requests that the test has left open."""

import asyncio
import os
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc

from triton_emulator import Emulator

TEXT = """
backend: "vllm"
model_transaction_policy { decoupled: true }
"""
#: the first token comes after a day
SLEEPY = """
models:
  sleepy:
    behaviour: text
    time_to_first_token_ms: 86400000
"""
STUCK = """
import threading

class TritonPythonModel:
    def execute(self, requests):
        open({begun!r}, "w").close()
        threading.Event().wait()
"""
SLOW = """
class TritonPythonModel:
    def initialize(self, args):
        open({begun!r}, "w").close()
        open({go!r}).close()

    def execute(self, requests):
        raise NotImplementedError
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }]
"""


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A pipe that the model `stuck` opens when it has a request, which it never answers."""
    os.mkfifo(tmp_path / "begun")
    return tmp_path / "begun"


@pytest.fixture
def repository(tmp_path: Path, begun: Path) -> Path:
    models = tmp_path / "models"
    for name, config in (("sleepy", TEXT), ("stuck", CONFIG)):
        (models / name / "1").mkdir(parents=True)
        (models / name / "config.pbtxt").write_text(config)
    (models / "stuck" / "1" / "model.py").write_text(STUCK.format(begun=str(begun)))
    (models / "emulator.yaml").write_text(SLEEPY)
    return models


@pytest.fixture
def emulator(repository: Path) -> Iterator[Emulator]:
    with Emulator(repository) as triton:
        yield triton


def post(url: str, path: str, body: bytes) -> socket.socket:
    """Send a request and return its connection when the server has read it."""
    at = httpx.URL(url + path)
    head = f"POST {at.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client = socket.create_connection((at.host, at.port))
    client.sendall(head.encode() + body)
    assert httpx.get(f"{url}/v2/health/live").status_code == 200  # comes after what was sent before
    return client


def rest(client: socket.socket) -> bytes:
    """What the server still sends before it closes the connection."""
    with client:
        try:
            return b"".join(iter(lambda: client.recv(1000), b""))
        except ConnectionResetError:
            return b""


INFER = b'{"inputs":[{"name":"IN","datatype":"INT32","shape":[1],"data":[1]}]}'
PROMPT = b'{"text_input":"hi"}'
REQUESTS = {
    "an infer of a model that never answers": ("/v2/models/stuck/infer", INFER),
    "a generate of a stand-in that waits": ("/v2/models/sleepy/generate", PROMPT),
    "a stream of a stand-in that waits": ("/v2/models/sleepy/generate_stream", PROMPT),
}


@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_session_that_closes_cuts_off_its_request(emulator: Emulator, path: str, body: bytes) -> None:
    with emulator.session() as session:
        client = post(session.http_url, path, body)
        other = post(emulator.http_url, "/v2/models/sleepy/generate", PROMPT)
    assert rest(client) == b""
    other.setblocking(False)
    with pytest.raises(BlockingIOError):  # the emulator's own requests go on
        other.recv(1)
    emulator.stop()
    other.setblocking(True)
    assert rest(other) == b""


@pytest.mark.parametrize("own_port", [True, False], ids=["at its own address", "named by metadata"])
def test_a_session_that_closes_cuts_off_its_grpc_call(
    emulator: Emulator, begun: Path, own_port: bool
) -> None:
    tensor = tritonclient.grpc.InferInput("IN", [1], "INT32")
    tensor.set_data_from_numpy(np.array([1], np.int32))
    answers: queue.Queue[Any] = queue.Queue()
    session = emulator.session()
    url, headers = (session.grpc_url, {}) if own_port else (emulator.grpc_url, session.grpc_headers)
    with tritonclient.grpc.InferenceServerClient(url) as client:
        client.async_infer(
            "stuck", [tensor], lambda result, error: answers.put(error or result), headers=headers
        )
        begun.open().close()
        session.close()
        assert answers.get(timeout=60).status() in {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}


def test_a_session_that_closes_ends_a_grpc_stream_to_it(emulator: Emulator, begun: Path) -> None:
    tensor = tritonclient.grpc.InferInput("IN", [1], "INT32")
    tensor.set_data_from_numpy(np.array([1], np.int32))
    answers: queue.Queue[Any] = queue.Queue()
    session = emulator.session()
    with tritonclient.grpc.InferenceServerClient(emulator.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put(error or result), headers=session.grpc_headers)
        client.async_stream_infer("stuck", [tensor])
        begun.open().close()
        session.close()
        assert "has stopped accepting new requests" in str(answers.get(timeout=60))


def test_a_model_that_finalizes_has_the_time_for_it(repository: Path, tmp_path: Path) -> None:
    """It waits for a pipe, which is opened only after `stop` has begun to wait for it."""
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    model = repository / "stuck" / "1" / "model.py"
    model.write_text(
        "class TritonPythonModel:\n"
        "    def execute(self, requests):\n        return []\n"
        f"    def finalize(self):\n        open({str(go)!r}).close()\n        open({str(done)!r}, 'w').close()\n"
    )
    emulator = Emulator(repository).start()
    stopper = threading.Thread(target=emulator.stop)
    stopper.start()
    go.open("w").close()
    stopper.join()
    assert done.exists()


def test_an_emulator_in_a_coroutine_is_started_and_stopped_by_with(repository: Path) -> None:
    async def program() -> int:
        with Emulator(repository) as triton, triton.session() as session:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{session.http_url}/v2/health/ready")).status_code

    assert asyncio.run(program()) == 200


def test_an_emulator_in_a_coroutine_is_started_and_stopped_by_async_with(repository: Path) -> None:
    async def program() -> int:
        async with Emulator(repository) as triton, triton.session() as session, httpx.AsyncClient() as client:
            status = (await client.get(f"{session.http_url}/v2/health/ready")).status_code
        assert repr(triton) == "<Emulator stopped>"
        return status

    assert asyncio.run(program()) == 200


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_a_start_that_is_cancelled_leaves_a_stopped_emulator(
    repository: Path, begun: Path, times: int
) -> None:
    go = repository.parent / "go"
    os.mkfifo(go)
    model = repository / "stuck" / "1" / "model.py"
    model.write_text(SLOW.format(begun=str(begun), go=str(go)))
    triton = Emulator(repository)

    async def program() -> None:
        starting = asyncio.create_task(triton.__aenter__())
        await asyncio.to_thread(lambda: begun.open().close())
        for _ in range(times):
            starting.cancel()
            await asyncio.sleep(0)  # the next one meets what waits after this one
        await asyncio.to_thread(lambda: go.open("w").close())
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(program())
    assert repr(triton) == "<Emulator stopped>"


def test_an_emulator_is_started_on_one_thread_and_stopped_on_another(repository: Path) -> None:
    triton = Emulator(repository)
    for work in (triton.start, triton.stop):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert repr(triton) == "<Emulator stopped>"
