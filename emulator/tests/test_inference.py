"""An exchange: one request to a model and its answer. Its end counts it and releases its resources."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from multiprocessing import shared_memory
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.inference import (
    GRPC_INFER,
    GRPC_STREAM_INFER,
    HTTP_GENERATE,
    HTTP_GENERATE_STREAM,
    HTTP_INFER,
    Exchange,
    Operation,
)
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest, InferResponse, SharedMemoryRef
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings

TENSORS = """
input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] }]
"""
#: reports through one pipe that it has begun, waits for the other, then records whether it was cancelled
WAITING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        open(BEGUN, "w").close()
        open(GO).close()
        with open(SEEN, "w") as seen:
            seen.write(str([request.is_cancelled() for request in requests]))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())])
                for request in requests]
"""
OPERATIONS = [HTTP_INFER, HTTP_GENERATE, HTTP_GENERATE_STREAM, GRPC_INFER, GRPC_STREAM_INFER]


def label(operation: Operation) -> str:
    return f"{operation.protocol} {operation.name}"


def add(repository: Path, name: str, config: str, model: str = "") -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config + TENSORS)
    if model:
        (repository / name / "1" / "model.py").write_text(model)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`echo` is answered at once, `decoupled` too, `waiting` when its pipe is opened."""
    pipes = {name: str(tmp_path / name) for name in ("BEGUN", "GO", "SEEN")}
    os.mkfifo(pipes["BEGUN"])
    os.mkfifo(pipes["GO"])
    names = "".join(f"{name} = {path!r}\n" for name, path in pipes.items())
    folder = tmp_path / "models"
    add(folder, "waiting", 'backend: "python"', names + WAITING)
    add(folder, "echo", 'backend: "onnxruntime"')
    add(folder, "decoupled", 'backend: "onnxruntime" model_transaction_policy { decoupled: true }')
    return folder


@asynccontextmanager
async def session_of(repository: Path) -> AsyncIterator[SessionState]:
    settings = Settings(model_repositories=(str(repository),))
    session = SessionState(settings, asyncio.get_running_loop())
    await asyncio.to_thread(session.start)
    try:
        yield session
    finally:
        await asyncio.to_thread(session.close)


def ask(name: str) -> InferRequest:
    return InferRequest(name, id="7", inputs=[Tensor("IN", "INT32", [1], data=bytes(4))])


def successes(session: SessionState, name: str) -> int:
    return session.repository.get(name).statistics.success.count


def touch(pipe: Path, mode: str) -> None:
    pipe.open(mode).close()


@pytest.fixture
def region() -> Iterator[str]:
    memory = shared_memory.SharedMemory(create=True, size=4096)
    yield memory.name
    memory.close()
    memory.unlink()


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS, ids=label)
def test_a_request_whose_client_goes_ends_when_its_model_is_done(
    operation: Operation, repository: Path, region: str
) -> None:
    async def go_in_the_middle() -> None:
        async with session_of(repository) as session:
            memory = session.system_shared_memory
            memory.register("region", region, 0, 4096)
            waits = asyncio.Event()

            async def serve() -> None:
                with Exchange(operation, session, "waiting", "") as exchange:
                    exchange.find()
                    exchange.lease().check(SharedMemoryRef("region", 0, 4))
                    exchange.submit(ask("waiting"))
                    waits.set()
                    await exchange.next()

            task = asyncio.create_task(serve())
            await waits.wait()
            await asyncio.to_thread(touch, repository.parent / "BEGUN", "r")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TritonError, match="currently in use"):
                memory.unregister("region")
            assert successes(session, "waiting") == 0
            await asyncio.to_thread(touch, repository.parent / "GO", "w")
            await asyncio.to_thread(session.close)  # waits for the model's last request
            await asyncio.sleep(0)
            memory.unregister("region")

    asyncio.run(go_in_the_middle())
    assert (repository.parent / "SEEN").read_text() == "[True]"


def test_a_request_whose_client_goes_is_counted_once(repository: Path) -> None:
    async def count() -> tuple[int, int]:
        async with session_of(repository) as session:
            with Exchange(HTTP_INFER, session, "waiting", "") as exchange:
                exchange.find()
                exchange.submit(ask("waiting"))
                await asyncio.to_thread(touch, repository.parent / "BEGUN", "r")
            before = successes(session, "waiting")
            statistics = exchange.model.statistics
            await asyncio.to_thread(touch, repository.parent / "GO", "w")
            await asyncio.to_thread(session.close)
            await asyncio.sleep(0)
            exchange.end()
            return before, statistics.success.count

    assert asyncio.run(count()) == (0, 1)


@pytest.mark.parametrize("operation", OPERATIONS, ids=label)
def test_a_request_that_is_answered_is_counted_once(operation: Operation, repository: Path) -> None:
    async def count() -> list[int]:
        async with session_of(repository) as session:
            with Exchange(operation, session, "echo", "") as exchange:
                exchange.find()
                exchange.submit(ask("echo"))
                counts = [successes(session, "echo")]
            counts.append(successes(session, "echo"))
            exchange.end()
            return [*counts, successes(session, "echo")]

    assert asyncio.run(count()) == [0, 1, 1]


@pytest.mark.parametrize("protocol", ["http", "metrics"])
def test_a_request_is_counted_before_its_client_has_the_answer(repository: Path, protocol: str) -> None:
    body = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}

    def from_statistics(triton: Emulator) -> int:
        entry = httpx.get(f"{triton.url}/v2/models/echo/stats").json()["model_stats"][0]
        return int(entry["inference_stats"]["success"]["count"])

    def from_metrics(triton: Emulator) -> int:
        lines = httpx.get(triton.metrics_url).text.splitlines()
        line = next(
            line
            for line in lines
            if line.startswith("nv_inference_request_success") and 'model="echo"' in line
        )
        return int(line.split()[-1])

    counted: Callable[[Emulator], int] = from_metrics if protocol == "metrics" else from_statistics
    with Emulator(repository, allow_grpc=False) as triton:
        seen = []
        for _ in range(20):
            assert httpx.post(f"{triton.url}/v2/models/echo/infer", json=body).status_code == 200
            seen.append(counted(triton))
    assert seen == list(range(1, 21))


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "refusal"),
    [
        (HTTP_INFER, "HTTP end point doesn't support models with decoupled transaction policy"),
        (GRPC_INFER, "ModelInfer RPC doesn't support models with decoupled transaction policy"),
        (HTTP_GENERATE, ""),
        (HTTP_GENERATE_STREAM, ""),
        (GRPC_STREAM_INFER, ""),
    ],
    ids=lambda value: label(value) if isinstance(value, Operation) else "",
)
def test_a_decoupled_model_is_refused_where_one_answer_is_expected(
    operation: Operation, refusal: str, repository: Path
) -> None:
    async def find() -> str:
        async with session_of(repository) as session:
            try:
                Exchange(operation, session, "decoupled", "").find()
            except TritonError as error:
                return error.message
            return ""

    assert asyncio.run(find()) == refusal


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        (HTTP_INFER, 5),
        (GRPC_INFER, 5),
        (GRPC_STREAM_INFER, 5),
        (HTTP_GENERATE, 4),
        (HTTP_GENERATE_STREAM, 4),
    ],
    ids=lambda value: label(value) if isinstance(value, Operation) else "",
)
def test_a_request_for_an_unknown_model_is_traced_by_generate_alone(
    operation: Operation, left: int, repository: Path
) -> None:
    async def find() -> object:
        async with session_of(repository) as session:
            session.trace.file = "trace.json"
            session.trace.update({"level": frozenset({"TIMESTAMPS"}), "rate": 1, "count": 5})
            with pytest.raises(TritonError, match="unknown model: 'absent' is not found"):
                Exchange(operation, session, "absent", "").find()
            return session.trace.show()["trace_count"]

    assert asyncio.run(find()) == str(left)


def test_a_request_that_validation_refuses_is_not_counted(repository: Path) -> None:
    async def refused() -> tuple[object, int]:
        async with session_of(repository) as session:
            with Exchange(HTTP_INFER, session, "echo", "") as exchange:
                exchange.find()
                with pytest.raises(TritonError, match="expected 1 inputs but got 0"):
                    exchange.submit(InferRequest("echo"))
            statistics = session.repository.get("echo").statistics
            return exchange.call, statistics.success.count + statistics.fail.count

    assert asyncio.run(refused()) == (None, 0)


# --- in a debugger -------------------------------------------------------------------------------------------------


def test_exchanges_calls_models_and_sessions_say_what_they_are(repository: Path) -> None:
    async def shown() -> list[str]:
        lines = []
        async with session_of(repository) as session:
            lines.append(repr(session))
            with Exchange(HTTP_INFER, session, "waiting", "1") as exchange:
                lines.append(repr(exchange))
                model = exchange.find()
                exchange.submit(ask("waiting"))
                await asyncio.to_thread(touch, repository.parent / "BEGUN", "r")
                lines += [repr(exchange), repr(model)]
            lines.append(repr(exchange))
            await asyncio.to_thread(touch, repository.parent / "GO", "w")
            await asyncio.to_thread(session.close)
            await asyncio.sleep(0)
            lines += [repr(exchange), repr(model), repr(session)]
        return lines

    assert asyncio.run(shown()) == [
        "<SessionState ready, 3 models>",
        "<Exchange http infer 'waiting' open, not submitted>",
        "<Exchange http infer 'waiting' open, <Call waiting:1 id='7' running>>",
        "<LoadedModel waiting:1 PythonExecutor 1 in flight, 0 pending>",
        "<Exchange http infer 'waiting' abandoned, <Call waiting:1 id='7' running cancelled>>",
        "<Exchange http infer 'waiting' ended, <Call waiting:1 id='7' answered cancelled>>",
        "<LoadedModel waiting:1 PythonExecutor 0 in flight, 0 pending>",
        "<SessionState ready, 0 models>",
    ]


def test_each_client_gets_its_own_responses(repository: Path) -> None:
    async def delivered() -> list[tuple[bool, bool]]:
        seen: list[tuple[bool, bool]] = []

        def deliver(response: InferResponse | None, final: bool) -> None:
            seen.append((response is not None, final))

        async with session_of(repository) as session:
            with Exchange(GRPC_STREAM_INFER, session, "echo", "") as exchange:
                exchange.find()
                exchange.submit(ask("echo"), deliver)
        return seen

    assert asyncio.run(delivered()) == [(True, True)]
