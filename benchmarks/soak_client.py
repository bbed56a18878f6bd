"""The requests of a soak test: all kinds that a server gets, also malformed and abandoned ones."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from triton_contract.targets import Target

#: the sequence model's configuration: many sequences at a time, each dropped after a tenth of a second of idling
SEQUENCES = "oldest"
IDLE_SEQUENCES = {"max_sequence_idle_microseconds": 100_000, "oldest": {"max_candidate_sequences": 1024}}
_SERVICE = "/inference.GRPCInferenceService"
_FLOATS = [0.5] * 16
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_STREAM = json.dumps({"text_input": " ".join(_WORDS), "stream": True}).encode()


class Unexpected(Exception):
    """A wrong answer; the text names the request and the answer."""


def infer_body(name: str, datatype: str, data: list[Any], **more: Any) -> bytes:
    tensor = {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )


class Client:
    """A client of the soak: an HTTP connection of its own and a gRPC channel that all clients share."""

    def __init__(self, target: Target, channel: grpc.aio.Channel) -> None:
        self._address = target.http.host, target.http.port
        metrics = target.metrics
        assert metrics is not None  # the soak has started it with metrics
        self._metrics = metrics.host, metrics.port
        self._channel = channel
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: bytes, expected: int, what: str) -> bytes:
        """Send a request on the client's connection; returns the body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        return await _exchange(*self._streams, sent, expected, what)

    async def abandon(self, sent: bytes, until: bytes) -> None:
        """Send a request on a new connection and close it when this part of the answer has arrived."""
        reader, writer = await asyncio.open_connection(*self._address)
        writer.write(sent)
        await writer.drain()
        if until:
            await reader.readuntil(until)
        writer.close()
        await writer.wait_closed()

    async def scrape(self) -> None:
        reader, writer = await asyncio.open_connection(*self._metrics)
        await _exchange(reader, writer, request("GET", "/metrics"), 200, "metrics")
        writer.close()
        await writer.wait_closed()

    async def call(self, method: str, message: bytes, expected: grpc.StatusCode) -> None:
        try:
            await self._channel.unary_unary(f"{_SERVICE}/{method}")(message)
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
        if code is not expected:
            raise Unexpected(f"gRPC {method}: {code}, not {expected}")

    async def stream(self, message: bytes, *, whole: bool) -> None:
        async def requests() -> AsyncIterator[bytes]:
            yield message
            if not whole:
                await asyncio.Event().wait()

        call = self._channel.stream_stream(f"{_SERVICE}/ModelStreamInfer")(requests())
        if not whole:
            await call.read()
            call.cancel()
            return
        answers = [answer async for answer in call]
        if len(answers) != len(_WORDS):
            raise Unexpected(f"gRPC ModelStreamInfer: {len(answers)} responses")

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes, expected: int, what: str
) -> bytes:
    writer.write(sent)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    body = await reader.readexactly(int(length)) if length else await _chunks(reader)
    if int(head.split(b" ", 2)[1]) != expected:
        raise Unexpected(f"{what}: {head.splitlines()[0].decode()}, not {expected}: {body[:200]!r}")
    return body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


def _message(name: str, tensor: str, datatype: str, *contents: Any, shape: tuple[int, ...]) -> Any:
    message = pb.ModelInferRequest(model_name=name)
    entry = message.inputs.add(name=tensor, datatype=datatype, shape=shape)
    if datatype == "FP32":
        entry.contents.fp32_contents.extend(contents)
    elif datatype == "BOOL":
        entry.contents.bool_contents.extend(contents)
    else:
        entry.contents.bytes_contents.extend(contents)
    return message


def _stream_message() -> bytes:
    message = _message("llm", "text_input", "BYTES", " ".join(_WORDS).encode(), shape=(1, 1))
    message.inputs.add(name="stream", datatype="BOOL", shape=(1, 1)).contents.bool_contents.append(True)
    serialized: bytes = message.SerializeToString()
    return serialized


_IDENTITY = request("POST", "/v2/models/id_fp32/infer", infer_body("INPUT0", "FP32", _FLOATS))
_WRONG = request("POST", "/v2/models/id_fp32/infer", infer_body("INPUT0", "INT32", [1, 2]))
_ENSEMBLE = request("POST", "/v2/models/chain/infer", infer_body("X", "INT32", [1, 2, 3]))
_GENERATE = request("POST", "/v2/models/llm/generate", b'{"text_input":"one two"}')
_EVENTS = request("POST", "/v2/models/llm/generate_stream", _STREAM)
_BROKEN = request("POST", "/v2/models/id_fp32/infer", b'{"inputs":[{"name":')
_UNKNOWN = request("POST", "/v2/models/nobody/infer", b"{}")
_RAISES = request("POST", "/v2/models/dec/generate", b'{"PLAN":"raise:no"}')
_HALF = _IDENTITY[:-20]
_GRPC_IDENTITY = _message("id_fp32", "INPUT0", "FP32", *_FLOATS, shape=(16,)).SerializeToString()
_GRPC_WRONG = _message("id_fp32", "INPUT0", "FP32", *_FLOATS, shape=(7,)).SerializeToString()
_GRPC_BROKEN = _GRPC_IDENTITY[:-3]
_GRPC_STREAM = _stream_message()
_numbers = count(1)


async def _never_ended(client: Client) -> None:
    number = next(_numbers)
    tensor = {"name": "X", "datatype": "INT32", "shape": [1, 1], "data": [1]}
    document = {"parameters": {"sequence_id": number, "sequence_start": True}, "inputs": [tensor]}
    sent = request("POST", f"/v2/models/{SEQUENCES}/infer", json.dumps(document).encode())
    await client.ask(sent, 200, "sequence that is never ended")


async def _load_and_unload(client: Client) -> None:
    await client.ask(request("POST", "/v2/repository/models/labels/load"), 200, "load")
    await client.ask(request("POST", "/v2/repository/models/labels/unload"), 200, "unload")


Send = Callable[[Client], Awaitable[object]]
OK, INVALID, INTERNAL = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL
#: the kinds of requests, and how many of a hundred are of each kind
KINDS: dict[str, tuple[int, Send]] = {
    "infer": (20, lambda c: c.ask(_IDENTITY, 200, "infer")),
    "infer, an ensemble": (10, lambda c: c.ask(_ENSEMBLE, 200, "ensemble")),
    "infer, a sequence that is never ended": (4, _never_ended),
    "infer, a wrong datatype": (3, lambda c: c.ask(_WRONG, 400, "wrong datatype")),
    "infer, broken JSON": (4, lambda c: c.ask(_BROKEN, 500, "broken JSON")),
    "infer, an unknown model": (3, lambda c: c.ask(_UNKNOWN, 404, "unknown model")),
    "infer, half a request and away": (4, lambda c: c.abandon(_HALF, b"")),
    "generate": (10, lambda c: c.ask(_GENERATE, 200, "generate")),
    "generate, a model that raises": (2, lambda c: c.ask(_RAISES, 400, "a model that raises")),
    "generate_stream": (6, lambda c: c.ask(_EVENTS, 200, "generate_stream")),
    "generate_stream, dropped half way": (5, lambda c: c.abandon(_EVENTS, b"data: ")),
    "load and unload": (1, _load_and_unload),
    "metrics": (1, lambda c: c.scrape()),
    "gRPC infer": (12, lambda c: c.call("ModelInfer", _GRPC_IDENTITY, OK)),
    "gRPC infer, a wrong shape": (3, lambda c: c.call("ModelInfer", _GRPC_WRONG, INVALID)),
    "gRPC infer, a broken message": (3, lambda c: c.call("ModelInfer", _GRPC_BROKEN, INTERNAL)),
    "gRPC stream": (5, lambda c: c.stream(_GRPC_STREAM, whole=True)),
    "gRPC stream, dropped half way": (4, lambda c: c.stream(_GRPC_STREAM, whole=False)),
}
