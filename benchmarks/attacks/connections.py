"""Attacks by HTTP connections: slow clients, clients that leave, request timeouts of a microsecond."""

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.attacks.watched import Did, Watched, add_model, under, watched

_PATH = "/v2/models/identity/infer"
_BODY = json.dumps(
    {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [16], "data": [0.5] * 16}]}
).encode()
_HEAD = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode()
_CHUNKED = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
#: seconds between two bytes of a slow client, and how many it sends
_BETWEEN, _BYTES = 1.0, 20


def request(path: str, document: object) -> bytes:
    """A POST of a JSON document."""
    body = json.dumps(document).encode()
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of an answer that has a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with an RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def gather(works: Iterable[Awaitable[str]], at_a_time: int) -> Counter[str]:
    """Run all, so many at a time; how often each result came. A fault counts by its type."""
    free = asyncio.Semaphore(at_a_time)

    async def one(work: Awaitable[str]) -> str:
        async with free:
            try:
                return await work
            except Exception as fault:  # noqa: BLE001  (what went wrong is the result)
                return f"{type(fault).__name__}: {fault}"[:120]

    return Counter(await asyncio.gather(*(one(work) for work in works)))


def slowloris(repository: Path, count: int) -> Did:
    """Connections that send a head, a body or a chunk byte by byte, and never end it; then all leave at once."""

    async def attack(server: Watched) -> Did:
        async def slow(sent: bytes, drip: bytes) -> str:
            reader, writer = await asyncio.open_connection(*server.address)
            opened.append((reader, writer))
            writer.write(sent)
            for _, byte in zip(range(_BYTES), cycle(drip), strict=False):
                await asyncio.sleep(_BETWEEN)
                writer.write(bytes((byte,)))
                await writer.drain()
            return "open" if not reader.at_eof() else "closed by the server"

        opened: list[Streams] = []
        kinds = ((b"", _HEAD), (_HEAD, b" "), (_CHUNKED, b"1\r\na\r\n"))
        held = Counter(
            await asyncio.gather(*(slow(*kind) for _, kind in zip(range(count), cycle(kinds), strict=False)))
        )
        most = server.held
        for _, writer in opened:
            writer.close()
        return {
            "connections": count,
            **held,
            "descriptors then": most.descriptors,
            "MiB then": most.resident_mib,
        }

    return under(repository, attack)


def half_open_at_the_end(repository: Path, count: int) -> Did:
    """The same connections while the server gets SIGTERM: it must end as if they were not there."""

    async def attack(server: Watched) -> Did:
        for _, kind in zip(range(count), cycle((_HEAD[:30], _HEAD, _CHUNKED + b"ff\r\nx")), strict=False):
            _, writer = await asyncio.open_connection(*server.address)
            writer.write(kind)
            await writer.drain()
            opened.append(writer)
        return {"connections": count, "ended": server.end()}

    opened: list[asyncio.StreamWriter] = []
    return ending(repository, attack)


def ending(repository: Path, attack: Callable[[Watched], Coroutine[Any, Any, Did]]) -> Did:
    """Run an attack that ends the server by itself."""
    with watched(repository, ()) as server:
        did: Did = asyncio.run(attack(server))
        return did


STREAMING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for at in range(1000):
                if request.is_cancelled():
                    break
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.array([at], np.float32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
IO = """
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [-1] }]
"""
DECOUPLED = 'backend: "python"\nmodel_transaction_policy { decoupled: true }\n' + IO


def leavers(repository: Path, count: int) -> Did:
    """Clients that leave in a head, in a body, before the answer and in a stream; half of them with an RST."""
    add_model(repository, "streaming", STREAMING, DECOUPLED)
    whole = _HEAD + _BODY
    events = request("/v2/models/streaming/generate_stream", {"INPUT0": 1.0})

    async def attack(server: Watched) -> Did:
        async def leave(sent: bytes, until: bytes, how: Callable[[asyncio.StreamWriter], None]) -> str:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(sent)
            await writer.drain()
            if until:
                await reader.readuntil(until)
            how(writer)
            return "left"

        phases = [(whole[:20], b""), (whole[:-20], b""), (whole, b""), (events, b""), (events, b"data: ")]
        ways = [(*phase, how) for phase in phases for how in (reset, asyncio.StreamWriter.close)]
        works = [leave(*way) for _, way in zip(range(count), cycle(ways), strict=False)]
        return {"clients": count, **await gather(works, 100)}

    return under(repository, attack)


_BATCHED = """
backend: "python"
max_batch_size: 8
dynamic_batching { default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 1 } }
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [-1] }]
"""


def request_timeouts(repository: Path, count: int) -> Did:
    """HTTP requests to a dynamic batcher whose requests have a timeout of 1 us in its queue."""
    add_model(repository, "batched", config=_BATCHED)
    asked = request(
        "/v2/models/batched/infer",
        {
            "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
        },
    )

    async def attack(server: Watched) -> Did:
        async def client(share: int) -> Counter[str]:
            reader, writer = await asyncio.open_connection(*server.address)
            found: Counter[str] = Counter()
            for _ in range(share):
                writer.write(asked)
                status, body = await read_answer(reader)
                found[f"{status} {'' if status == 200 else body.decode()}"] += 1
            writer.close()
            return found

        parts = await asyncio.gather(*(client(count // 100) for _ in range(100)))
        return {"requests": count, **sum(parts, Counter[str]())}

    return under(repository, attack)
