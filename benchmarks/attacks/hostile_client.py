"""Hostile requests of all kinds over both protocols, made from valid ones by seeded chance, so a run can be repeated.

Each must be answered, or its connection closed. Some are valid and must be answered with success.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc

from benchmarks.attacks.connections import Streams, reset
from benchmarks.attacks.streams import SERVICE, message
from benchmarks.attacks.watched import Watched

#: seconds after which a request counts as unanswered
_PATIENCE = 60
_INFER = "/v2/models/identity/infer"
_VALID = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [4], "data": [0.5, 1, 2, 3]}]}
_VALID_TEXT = json.dumps(_VALID).encode()
#: what may stand where something else is expected
_JUNK: tuple[object, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        2**31,
        2**32,
        2**63,
        2**64,
        -(2**63),
        1e308,
        0.1,
        "",
        "x",
        "\0",
        "INPUT0",
        "FP32",
    ),
    *([], {}, [[]], [None], {"a": 1}, [0] * 50, ["x"] * 3, "é" * 300, [[[[1]]]], {"binary_data_size": -1}),
    *({"shared_memory_region": "none", "shared_memory_byte_size": 8}, {"classification": 2**62}),
)
_PIECES = (
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\\u0000",
        b"\\ud800",
        b"1e999",
    ),
    *(b"-", b"99999999999999999999", b"\r\n", b"NaN", b"//", b"[" * 200, b'{"a":' * 100, b" " * 1000),
)
_PATHS = (
    *(
        "",
        "/ready",
        "/config",
        "/stats",
        "/infer",
        "/generate",
        "/generate_stream",
        "/versions/1/infer",
        "/versions/x",
    ),
    *(
        "/versions/99999999999999999999",
        "/trace/setting",
        "/load",
        "/unload",
        "/nope",
        "//",
        "/%00",
        "/..",
        "/" + "a" * 9000,
    ),
)
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW", "get")
_CALLS = (
    *(
        "ModelInfer",
        "ModelReady",
        "ModelConfig",
        "ModelMetadata",
        "ModelStatistics",
        "RepositoryIndex",
        "ServerLive",
    ),
    *(
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryStatus",
    ),
    *("CudaSharedMemoryRegister", "TraceSetting", "ServerMetadata", "Nope"),
)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Unanswered(Exception):
    """A request was neither answered nor its connection closed, or a valid one failed."""


def mutated(chance: random.Random, text: bytes) -> bytes:
    """The text after one to three changes: cut, a byte, a piece more, a piece less, a part twice."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.randint(1, 8))
        text = chance.choice(
            (
                text[:at],
                text[:at] + bytes((chance.randrange(256),)) + text[at + 1 :],
                text[:at] + chance.choice(_PIECES) + text[at:],
                text[:at] + text[end:],
                text[:end] + text[at:],
            )
        )
    return text


def wrong_type(chance: random.Random) -> bytes:
    """The valid request with junk in one of its members, or with one more member."""
    document = json.loads(_VALID_TEXT)
    entry = document["inputs"][0]
    key = chance.choice(("name", "datatype", "shape", "data", "parameters", "id", "outputs", "inputs"))
    (document if key in ("id", "outputs", "inputs") else entry)[key] = chance.choice(_JUNK)
    return json.dumps(document).encode()


def head(method: str, path: str, body: bytes, headers: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )


class Client:
    """A client with a connection that it keeps while the server does, and a gRPC channel that it shares."""

    def __init__(self, server: Watched, channel: grpc.aio.Channel, seed: int, found: Counter[str]) -> None:
        self._address = server.address
        self._grpc = server.address[0], int(server.grpc.rpartition(":")[2])
        self._channel = channel
        self._chance = random.Random(seed)
        self._found = found
        self._kept: Streams | None = None
        kinds: tuple[tuple[int, str, Callable[[], Awaitable[str]]], ...] = (
            (10, "HTTP, valid", self._valid),
            (
                14,
                "HTTP, mutated JSON",
                lambda: self._ask(head("POST", _INFER, mutated(self._chance, _VALID_TEXT))),
            ),
            (10, "HTTP, wrong types", lambda: self._ask(head("POST", _INFER, wrong_type(self._chance)))),
            (6, "HTTP, lying lengths", self._lying),
            (6, "HTTP, compressed nonsense", self._compressed),
            (8, "HTTP, routes and methods", self._routes),
            (5, "HTTP, generate with nonsense", self._generate),
            (6, "HTTP, wrong framing", self._framing),
            (3, "HTTP, pipelined", self._pipelined),
            (4, "HTTP, cut off", self._cut),
            (1, "HTTP, huge", self._huge),
            (8, "gRPC, valid", self._grpc_valid),
            (10, "gRPC, mutated message", self._grpc_mutated),
            (4, "gRPC, nonsense in a stream", self._grpc_stream),
            (3, "gRPC, cancelled", self._grpc_cancelled),
            (2, "gRPC, no HTTP/2", self._grpc_garbage),
        )
        self._kinds = [(name, send) for share, name, send in kinds for _ in range(share)]

    async def run(self, work: Iterator[int], times: list[float]) -> None:
        """Send a request for each number of `work`, which others take numbers from too. Raises Unanswered."""
        for _ in work:
            await self._send(times)
        self._close()

    async def _send(self, times: list[float]) -> None:
        """Send one request of a kind that chance chooses. Raises Unanswered."""
        name, send = self._chance.choice(self._kinds)
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE):
                outcome = await send()
        except TimeoutError:
            raise Unanswered(f"{name}: no answer in {_PATIENCE} s") from None
        times.append(time.perf_counter() - begin)
        self._found[f"{name}: {outcome}"] += 1

    def _close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    # --- HTTP ---

    async def _ask(self, sent: bytes) -> str:
        """Send a request whose framing is right; its status. "closed" is a closed connection without an answer."""
        if self._kept is None:
            self._kept = await asyncio.open_connection(*self._address)
        reader, writer = self._kept
        try:
            writer.write(sent)
            answered = await reader.readuntil(b"\r\n\r\n")
            lower = answered.lower()
            _, found, length = lower.partition(b"\r\ncontent-length: ")
            if found:
                await reader.readexactly(int(length.partition(b"\r\n")[0]))
            elif b"transfer-encoding: chunked" in lower:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            if b"connection: close" in lower:
                self._close()
        except (OSError, EOFError):
            self._close()
            return "closed"
        return answered[9:12].decode()

    async def _to_the_end(self, address: tuple[str, int], sent: bytes) -> bytes:
        """Send bytes and the end of all bytes on a connection; what comes back until the server closes it."""
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(sent)
            writer.write_eof()
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()

    async def _valid(self) -> str:
        status = await self._ask(head("POST", _INFER, _VALID_TEXT))
        if status != "200":
            raise Unanswered(f"HTTP, valid: {status}")
        return status

    async def _lying(self) -> str:
        length = self._chance.choice(
            ("-1", "0", "5", "9999999", "99999999999999999999", "x", str(len(_VALID_TEXT) - 1))
        )
        binary = {
            **_VALID["inputs"][0],
            "parameters": {"binary_data_size": self._chance.choice((-1, 0, 3, 16, 2**31, 2**63))},
        }
        del binary["data"]
        body = json.dumps({"inputs": [binary]}).encode()
        if self._chance.random() < 0.5:
            length = str(len(body))
        headers = f"Inference-Header-Content-Length: {length}\r\n"
        return await self._ask(head("POST", _INFER, body + bytes(self._chance.randrange(40)), headers))

    async def _compressed(self) -> str:
        coding = self._chance.choice(("gzip", "deflate", "br", "GZIP", "gzip, gzip", "\xff", "x" * 200))
        body = self._chance.randbytes(self._chance.randrange(60))
        return await self._ask(head("POST", _INFER, body, f"Content-Encoding: {coding}\r\n"))

    async def _routes(self) -> str:
        prefix = self._chance.choice(
            ("/v2/models/identity", "/v2/models/nobody", "/v2/repository/models/identity_2", "/v2")
        )
        path = prefix + self._chance.choice(_PATHS)
        method = self._chance.choice(_METHODS)
        return await self._ask(head(method, path, json.dumps(self._chance.choice(_JUNK)).encode()))

    async def _generate(self) -> str:
        path = self._chance.choice(("generate", "generate_stream"))
        body = mutated(self._chance, b'{"INPUT0": [0.5], "parameters": {"a": 1}}')
        return await self._ask(head("POST", f"/v2/models/identity/{path}", body))

    async def _framing(self) -> str:
        chunked = f"POST {_INFER} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        sent = self._chance.choice(
            (
                chunked
                + self._chance.choice(
                    (b"zz\r\n", b"-1\r\n{}\r\n", b"f" * 30 + b"\r\n", b"2\r\n{}XX0\r\n\r\n")
                ),
                f"POST {_INFER} HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}".encode(),
                f"POST {_INFER} HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}".encode(),
                f"POST {_INFER} HTTP/1.1\r\nContent-Length: x\r\n\r\n{{}}".encode(),
                mutated(self._chance, head("POST", _INFER, _VALID_TEXT)),
                self._chance.randbytes(200),
                b"\r\n" * 20,
                b"GET /v2\r\n\r\n",
                b"GET /v2 HTTP/9.9\r\n: x\r\n\r\n",
            )
        )
        return (await self._to_the_end(self._address, sent))[9:12].decode("latin-1") or "closed"

    async def _pipelined(self) -> str:
        # Triton answers the first and none of the others.
        status = await self._ask(head("POST", _INFER, _VALID_TEXT) * self._chance.randint(2, 5))
        self._close()
        if status != "200":
            raise Unanswered(f"HTTP, pipelined: {status}")
        return status

    async def _cut(self) -> str:
        whole = head("POST", _INFER, _VALID_TEXT)
        _, writer = await asyncio.open_connection(*self._address)
        writer.write(whole[: self._chance.randrange(1, len(whole))])
        if self._chance.random() < 0.5:
            reset(writer)
        else:
            writer.close()
        return "left"

    async def _huge(self) -> str:
        body = self._chance.choice(
            (
                b"[" * 300_000,
                b'{"inputs":"' + b"x" * 1_000_000 + b'"}',
                json.dumps({"inputs": [{**_VALID["inputs"][0], "shape": list(range(50_000))}]}).encode(),
                bytes(500_000),
            )
        )
        if self._chance.random() < 0.9:
            body = _VALID_TEXT  # a huge body costs as much as a hundred other requests
        headers = self._chance.choice(("", "X: " + "y" * 7000 + "\r\n", "A: b\r\n" * 500))
        return await self._ask(head("POST", _INFER, body, headers))

    # --- gRPC ---

    async def _call(self, method: str, sent: bytes) -> str:
        try:
            await self._channel.unary_unary(f"{SERVICE}/{method}")(sent)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"

    async def _grpc_valid(self) -> str:
        code = await self._call("ModelInfer", message("identity"))
        if code != "OK":
            raise Unanswered(f"gRPC, valid: {code}")
        return code

    async def _grpc_mutated(self) -> str:
        return await self._call(self._chance.choice(_CALLS), mutated(self._chance, message("identity")))

    async def _grpc_stream(self) -> str:
        async def requests() -> AsyncIterator[bytes]:
            for _ in range(self._chance.randrange(4)):
                yield mutated(self._chance, message("identity"))

        call = self._channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(requests())
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"

    async def _grpc_cancelled(self) -> str:
        async def requests() -> AsyncIterator[bytes]:
            yield message("streaming")

        call = self._channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(requests())
        if self._chance.random() < 0.5:
            await call.read()
        call.cancel()
        return "left"

    async def _grpc_garbage(self) -> str:
        sent = self._chance.choice((_PREFACE, b"")) + self._chance.randbytes(self._chance.randrange(100))
        await self._to_the_end(self._grpc, sent)
        return "closed"
