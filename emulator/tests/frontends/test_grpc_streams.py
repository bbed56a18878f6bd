"""Streams that the client or the server ends before all responses are sent: they leave no task, thread or stream."""

import asyncio
import gc
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from triton_emulator.emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.frontends.grpc.stream import Stream as ServedStream

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
#: sends one response, and a last one when it is cancelled or the file "go" exists
MODEL = """
import pathlib
import threading
import triton_python_backend_utils as pb_utils
GO = pathlib.Path(__file__).with_name("go")
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()
    def answer(self, request, sender):
        output = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", output)]))
        while not request.is_cancelled() and not GO.exists():
            threading.Event().wait(0.02)
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", output * 0)]), flags=1)
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }]
model_transaction_policy { decoupled: true }
"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The model's folder, in a repository of its own."""
    folder = tmp_path / "dec" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "dec" / "config.pbtxt").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    return folder


@pytest.fixture
def emulator(version: Path) -> Iterator[Emulator]:
    with Emulator(version.parents[1], exit_timeout_secs=60) as running:
        yield running


def request(value: int = 7) -> bytes:
    message = message_class("ModelInferRequest")(model_name="dec", id=str(value))
    message.inputs.add(name="IN", datatype="INT32", shape=[1]).contents.int_contents.append(value)
    data: bytes = message.SerializeToString()
    return data


class Stream:
    """A stream that stays open until it is ended or cancelled."""

    def __init__(
        self, channel: grpc.Channel, *requests: bytes, timeout: float = 20, metadata: Any = None
    ) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for each in requests:
            self.send(each)
        self.call: Any = channel.stream_stream(METHOD)(
            iter(self._requests.get, None), timeout=timeout, metadata=metadata
        )

    def read(self) -> Any:
        return message_class("ModelStreamInferResponse").FromString(next(self.call))

    def send(self, data: bytes) -> None:
        self._requests.put(data)

    def end(self) -> None:
        self._requests.put(None)

    def status(self) -> tuple[grpc.StatusCode, str]:
        with suppress(grpc.RpcError):
            for _ in self.call:
                pass
        self.end()
        return self.call.code(), self.call.details()


def output(response: Any) -> int:
    return int.from_bytes(response.infer_response.raw_output_contents[0], "little")


# --- the server's end ----------------------------------------------------------------------------------------------

SHUTTING_DOWN = "GRPC server is shutting down and has stopped accepting new requests."


def test_a_stop_ends_an_idle_stream(emulator: Emulator, version: Path) -> None:
    (version / "go").touch()
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        stream = Stream(channel, request())
        assert [output(stream.read()) for _ in range(2)] == [7, 0]
        emulator.stop()
        assert stream.status() == (grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)


def test_a_stop_lets_a_stream_finish_what_is_in_flight(emulator: Emulator, version: Path) -> None:
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        stream = Stream(channel, request())
        assert output(stream.read()) == 7
        stopping = threading.Thread(target=emulator.stop)
        stopping.start()
        (version / "go").touch()
        assert output(stream.read()) == 0
        assert stream.status() == (grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)
        stopping.join()


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
def test_a_call_whose_message_never_comes_does_not_delay_the_stop(version: Path, method: str) -> None:
    """2.51 waits for the message without limit, whatever its exit timeout."""
    with Emulator(version.parents[1], exit_timeout_secs=3600) as emulator:
        before = left(emulator)
        messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with grpc.insecure_channel(emulator.grpc_url) as channel:
            call = channel.stream_unary(METHOD.replace("ModelStreamInfer", method)).future(
                iter(messages.get, None)
            )
            until(lambda: left(emulator).tasks > before.tasks)
            emulator.stop()
            assert (call.code(), call.details()) == (grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)
            messages.put(None)


# --- the client's end ----------------------------------------------------------------------------------------------


def until(holds: Any) -> None:
    while not holds():  # the test's timeout ends it
        threading.Event().wait(0.005)


class Left(NamedTuple):
    """Counts of what a running stream holds."""

    tasks: int
    threads: int
    streams: int


def left(emulator: Emulator) -> Left:

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    counted = asyncio.run_coroutine_threadsafe(tasks(), emulator._loop).result()
    gc.collect()
    streams = sum(isinstance(each, ServedStream) for each in gc.get_objects())
    return Left(counted, threading.active_count(), streams)


def nothing_is_left(emulator: Emulator, before: Left) -> bool:
    now = left(emulator)
    # a model's worker refers to its last stream
    return now.tasks <= before.tasks and now.threads <= before.threads and now.streams <= before.streams + 1


def successes(channel: grpc.Channel) -> int:
    ask = channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")
    answer = message_class("ModelStatisticsResponse").FromString(ask(b"", timeout=10))
    return int(answer.model_stats[0].inference_stats.success.count)


def cancel(streams: list[Stream], channel: grpc.Channel) -> None:
    for stream in streams:
        stream.call.cancel()


def close_the_channel(streams: list[Stream], channel: grpc.Channel) -> None:
    channel.close()


def let_the_deadline_pass(streams: list[Stream], channel: grpc.Channel) -> None:
    for stream in streams:
        stream.status()


@pytest.mark.parametrize("give_up", [cancel, close_the_channel, let_the_deadline_pass])
def test_abandoned_streams_leave_no_task_thread_or_stream(emulator: Emulator, give_up: Any) -> None:
    timeout = 15 if give_up is let_the_deadline_pass else 60
    with grpc.insecure_channel(emulator.grpc_url) as other:
        assert successes(other) == 0
        before = left(emulator)
        with grpc.insecure_channel(emulator.grpc_url) as channel:
            streams = [Stream(channel, request(), request(), timeout=timeout) for _ in range(10)]
            for stream in streams:
                assert [output(stream.read()) for _ in range(2)] == [7, 7]
            assert left(emulator).streams == before.streams + 10
            give_up(streams, channel)
            for stream in streams:
                stream.end()
        until(lambda: successes(other) == 20)
        until(lambda: nothing_is_left(emulator, before))


def test_broken_connections_leave_no_task_thread_or_stream(emulator: Emulator) -> None:
    with grpc.insecure_channel(emulator.grpc_url) as other:
        assert successes(other) == 0
        before = left(emulator)
        sockets = [half_a_request(emulator) for _ in range(10)]
        until(lambda: left(emulator).streams == before.streams + 10)
        for each in sockets:
            each.close()
        until(lambda: nothing_is_left(emulator, before))
        assert successes(other) == 0


def frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: str, value: str) -> bytes:
    """A header in HPACK without the table and without Huffman codes."""
    return b"\0" + b"".join(bytes((len(each),)) + each.encode() for each in (name, value))


def half_a_request(emulator: Emulator) -> socket.socket:
    """A connection on which a stream and half of its first message have been sent."""
    host, _, port = emulator.grpc_url.partition(":")
    headers = b"".join(
        literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", METHOD),
            (":authority", "triton"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
    )
    message = b"\0" + len(request()).to_bytes(4, "big") + request()
    connection = socket.create_connection((host, int(port)))
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, b"", stream=0)
        + frame(1, 4, headers)
        + frame(0, 0, message[: len(message) // 2])
    )
    return connection


def test_a_stream_says_what_it_waits_for(emulator: Emulator, version: Path) -> None:
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        stream = Stream(channel, request())
        assert output(stream.read()) == 7
        shown = [repr(each) for each in gc.get_objects() if isinstance(each, ServedStream)]
        (version / "go").touch()
        stream.end()
        stream.status()
    assert "<Stream open, 1 in flight, 0 to write>" in shown


# --- sessions ------------------------------------------------------------------------------------------------------


def test_a_stream_ends_with_its_session(emulator: Emulator, version: Path) -> None:
    (version / "go").touch()
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        with emulator.session() as session:
            stream = Stream(channel, request(), metadata=tuple(session.grpc_headers.items()))
            assert [output(stream.read()) for _ in range(2)] == [7, 0]
        text = "GRPC server is shutting down and has stopped accepting new requests."
        assert stream.status() == (grpc.StatusCode.UNAVAILABLE, text)
        assert successes(channel) == 0
