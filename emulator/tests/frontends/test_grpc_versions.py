"""gRPC in versions after 2.51, where no reference shows it. Each test names the source that it was read in."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from triton_emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.settings import TritonVersion

SERVICE = "/inference.GRPCInferenceService"
SHUTTING_DOWN = "GRPC server is shutting down and has stopped accepting new requests."
#: makes the file "begun", and answers when the file "go" is there
WAITING = """
import pathlib
import threading
import triton_python_backend_utils as pb_utils
GO = pathlib.Path(__file__).with_name("go")
class TritonPythonModel:
    def execute(self, requests):
        GO.with_name("begun").touch()
        while not GO.exists():
            threading.Event().wait(0.002)
        tensors = [pb_utils.get_input_tensor_by_name(request, "INPUT0") for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", each.as_numpy())]) for each in tensors]
"""
CONFIG = """
backend: "python"
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]
"""


def infer_request(model: str = "identity_fp32", outputs: tuple[str, ...] = (), raw: bool = True) -> Any:
    message = message_class("ModelInferRequest")(model_name=model, id="7")
    message.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
    if raw:
        message.raw_input_contents.append(bytes(4))
    for name in outputs:
        message.outputs.add(name=name)
    return message


def infer(emulator: Emulator, message: Any, metadata: Any = None) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        call = channel.unary_unary(f"{SERVICE}/ModelInfer").future(
            message.SerializeToString(), timeout=60, metadata=metadata
        )
        return call.code(), call.details()


class Stream:
    """A stream that stays open until it is ended."""

    def __init__(self, channel: grpc.Channel, metadata: Any = None) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call: Any = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(
            iter(self._requests.get, None), timeout=60, metadata=metadata
        )

    def send(self, message: Any) -> None:
        self._requests.put(message.SerializeToString())

    def read(self) -> Any:
        return message_class("ModelStreamInferResponse").FromString(next(self.call))

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.read()

    def end(self) -> tuple[grpc.StatusCode, str]:
        self._requests.put(None)
        assert list(self.call) == []
        return self.call.code(), self.call.details()


# --- outputs that are asked for twice: core r26.05, src/infer_request.cc ---


@pytest.fixture(scope="module")
def newest() -> Iterator[Emulator]:
    with Emulator(triton_version="2.72.0", grpc_header_forward_pattern="^(priority|triton_|x-)") as running:
        yield running


def test_from_2_69_an_output_may_be_asked_for_once(newest: Emulator) -> None:
    refused = (grpc.StatusCode.INVALID_ARGUMENT, "[request id: 7] output 'OUTPUT0' already exists in request")
    assert infer(newest, infer_request(outputs=("OUTPUT0", "OUTPUT0"))) == refused
    assert infer(newest, infer_request(outputs=("OUTPUT0",))) == (grpc.StatusCode.OK, "")


def test_an_output_is_refused_before_the_data_of_the_inputs(newest: Emulator) -> None:
    _, text = infer(newest, infer_request(outputs=("OUTPUT0", "OUTPUT0"), raw=False))
    assert text == "[request id: 7] output 'OUTPUT0' already exists in request"


@pytest.mark.parametrize("version", ["2.51.0", "2.68.0"])
def test_before_2_69_an_output_may_be_asked_for_twice(version: TritonVersion) -> None:
    with Emulator(triton_version=version, allow_http=False) as emulator:
        assert infer(emulator, infer_request(outputs=("OUTPUT0", "OUTPUT0"))) == (grpc.StatusCode.OK, "")


# --- metadata: server r26.05, src/grpc/infer_handler.h ---


def test_reserved_metadata_are_refused_before_the_data_and_after_the_names(newest: Emulator) -> None:
    metadata = (("x-one", "1"), ("triton_two", "1"), ("priority", "1"))
    text = "Header 'priority' is reserved for Triton usage and cannot be forwarded."
    refused = (grpc.StatusCode.INVALID_ARGUMENT, text)
    assert infer(newest, infer_request(raw=False), metadata) == refused
    twice = infer_request(outputs=("OUTPUT0", "OUTPUT0"))
    assert infer(newest, twice, metadata)[1] == "[request id: 7] output 'OUTPUT0' already exists in request"


def test_each_request_of_a_stream_with_reserved_metadata_is_refused(newest: Emulator) -> None:
    with grpc.insecure_channel(newest.grpc_url) as channel:
        stream = Stream(channel, metadata=(("triton_grpc_error", "true"),))
        for _ in range(2):
            answer = stream.ask(infer_request())
            assert answer.error_message == (
                "Header 'triton_grpc_error' is reserved for Triton usage and cannot be forwarded."
            )
        assert stream.end() == (grpc.StatusCode.OK, "")


# --- the end: server r25.05, src/grpc/stream_infer_handler.cc and src/grpc/grpc_server.cc ---


@contextmanager
def stopping(emulator: Emulator) -> Iterator[None]:
    thread = threading.Thread(target=emulator.stop)
    thread.start()
    yield
    thread.join()


def until(holds: Callable[[], bool]) -> None:
    while not holds():  # the test's timeout ends it
        threading.Event().wait(0.005)


def refuses(channel: grpc.Channel) -> bool:
    """Whether a new call is refused, which it is from the moment on that the server stops."""
    live = channel.unary_unary(f"{SERVICE}/ServerLive").future(b"", timeout=60)
    return live.code() is grpc.StatusCode.UNAVAILABLE


def test_from_2_58_a_stopping_server_refuses_what_comes_and_ends_what_it_has(tmp_path: Path) -> None:
    version = tmp_path / "waits" / "1"
    version.mkdir(parents=True)
    (tmp_path / "waits" / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(WAITING)
    with (
        Emulator(tmp_path, triton_version="2.58.0", exit_timeout_secs=3600) as emulator,
        grpc.insecure_channel(emulator.grpc_url) as channel,
        grpc.insecure_channel(emulator.grpc_url) as other,
    ):
        stream = Stream(channel)
        assert stream.ask(infer_request("nope")).error_message.endswith("is not found")
        stream.send(infer_request("waits"))
        until((version / "begun").exists)
        with stopping(emulator):
            until(lambda: refuses(other))
            stream.send(infer_request("waits"))
            (version / "go").touch()
            assert stream.read().infer_response.raw_output_contents == [bytes(4)]
            answer = stream.read()
            assert (answer.error_message, answer.infer_response.id) == (SHUTTING_DOWN, "7")
            assert stream.ask(infer_request("nope")).error_message == SHUTTING_DOWN
            assert stream.end() == (grpc.StatusCode.OK, "")


def test_from_2_58_a_stream_that_stays_open_ends_with_the_exit_timeout() -> None:
    with (
        Emulator(triton_version="2.58.0", exit_timeout_secs=1) as emulator,
        grpc.insecure_channel(emulator.grpc_url) as channel,
    ):
        stream = Stream(channel)
        stream.ask(infer_request())
        emulator.stop()
        with pytest.raises(grpc.RpcError):
            next(stream.call)
