"""A request that is refused is forgotten at once: no reference cycle keeps its body until the collector comes by.

An exception refers to the frames that it went through, and a frame to what is in its variables. A server whose oldest
generation is collected rarely keeps gigabytes that way.
"""

import gc
import gzip
import json
from collections.abc import Callable, Iterator
from types import FrameType

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb

from triton_emulator import Emulator

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        error = pb_utils.TritonError("no")
        return [pb_utils.InferenceResponse(error=error) for _ in requests]
"""
CONFIG = """
backend: "python"
input [{name: "IN" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "OUT" data_type: TYPE_FP32 dims: [-1]}]
"""
LARGE = 100_000


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "failing" / "1").mkdir(parents=True)
    (folder / "failing" / "config.pbtxt").write_text(CONFIG)
    (folder / "failing" / "1" / "model.py").write_text(MODEL)
    with Emulator(folder, http_max_input_size=1 << 20) as triton:
        yield triton


def tensor(count: int, shape: int | None = None) -> bytes:
    data = {"name": "IN", "datatype": "FP32", "shape": [shape or count], "data": [0.5] * count}
    return json.dumps({"inputs": [data]}).encode()


def http(path: str, body: bytes, **headers: str) -> Callable[[Emulator], None]:
    def ask(triton: Emulator) -> None:
        answer = httpx.post(f"{triton.http_url}/v2/models/{path}", content=body, headers=headers)
        assert answer.status_code >= 400

    return ask


def message(count: int, wanted: int) -> bytes:
    asked = pb.ModelInferRequest(model_name="failing")
    asked.inputs.add(name="IN", datatype="FP32", shape=[wanted])
    asked.raw_input_contents.append(bytes(4 * count))
    encoded: bytes = asked.SerializeToString()
    return encoded


def call(sent: bytes) -> Callable[[Emulator], None]:
    def ask(triton: Emulator) -> None:
        with grpc.insecure_channel(triton.grpc_url) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(sent)

    return ask


def stream(sent: bytes) -> Callable[[Emulator], None]:
    def ask(triton: Emulator) -> None:
        with grpc.insecure_channel(triton.grpc_url) as channel:
            method = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            [answer] = method(iter([sent]))
        assert pb.ModelStreamInferResponse.FromString(answer).error_message

    return ask


REFUSED = {
    "HTTP, a wrong shape": http("failing/infer", tensor(2, 3)),
    "HTTP, a wrong shape of a large request": http("failing/infer", tensor(LARGE, 3)),
    "HTTP, the model fails": http("failing/infer", tensor(2)),
    "HTTP, the model fails with a large request": http("failing/infer", tensor(LARGE)),
    "HTTP, the model fails in generate": http("failing/generate", json.dumps({"IN": [0.5] * 9}).encode()),
    "HTTP, the model fails in generate_stream": http("failing/generate_stream", b'{"IN": [0.5]}'),
    "HTTP, a bomb": http("failing/infer", gzip.compress(bytes(4 << 20)), **{"Content-Encoding": "gzip"}),
    "HTTP, large broken JSON": http("failing/infer", tensor(LARGE)[:-1]),
    "gRPC, a wrong shape": call(message(2, 3)),
    "gRPC, a wrong shape of a large request": call(message(LARGE, 3)),
    "gRPC, the model fails": call(message(2, 2)),
    "gRPC, the model fails with a large request": call(message(LARGE, LARGE)),
    "gRPC, a stream with a wrong shape": stream(message(LARGE, 3)),
    "gRPC, a stream in which the model fails": stream(message(LARGE, LARGE)),
}


def origin(thing: object) -> str:
    """Where a value comes from: a frame's function with its file, the class of any other with its module."""
    if isinstance(thing, FrameType):
        if thing.f_code.co_filename.endswith("grpc/service.py"):
            return "grpc.aio"  # it keeps the exception that ends a call; these frames have nothing of the request
        return f"{thing.f_code.co_filename}: {thing.f_code.co_name}"
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("ask", REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_request_leaves_no_reference_cycle(
    triton: Emulator, ask: Callable[[Emulator], None]
) -> None:
    ask(triton)  # what is made once and kept exists after this
    gc.collect()
    for _ in range(3):  # an answer arrives before the server has left the functions that sent it
        ask(triton)
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    left = [name for each in gc.garbage if "triton_emulator" in (name := origin(each))]
    gc.garbage.clear()
    assert left == []
