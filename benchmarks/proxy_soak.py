"""A soak test of the proxy: hostile upstreams and clients that leave, whose memory must not grow.

Memory, descriptors and threads of the proxy are read while all clients pause. The first tenth of the requests warms up.
The upstream is part of this program: the name of a model says how it answers.
"""

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from benchmarks.load import Unmeasured
from benchmarks.proxy import KEY
from benchmarks.proxy_keys import PAGE, proxy
from benchmarks.proxy_upstream import CONFIG, METADATA
from benchmarks.report import conditions, write
from benchmarks.soak import Reading, _reading, check_flat

REQUESTS = 10_000
CLIENTS = 16
STEPS = 10
_SETTLE_SECONDS = 20.0
_PATIENCE = 60.0

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(text: str) -> bytes:
    return _chunk(b"data: " + json.dumps({"text_output": text}).encode() + b"\n\n")


GENERAL = '{{master_key: {key}, database_url: "sqlite:///{file}"}}'
STREAM = (HEAD, *map(_event, [" word"] * 20), END)
#: the name of a model: the parts in which it is answered
MODELS: dict[str, Callable[[], Iterable[bytes]]] = {
    "good": lambda: STREAM,
    "bytewise": lambda: (bytes([byte]) for byte in b"".join(STREAM)),
    "endless": lambda: chain([HEAD], repeat(_event("x" * 500))),
    "hints": lambda: repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 20),
    "cut": lambda: (*STREAM[:3], b"50\r\ndata: {"),
    "latin": lambda: (HEAD, _chunk(b'data: {"text_output":"\xff\xfe"}\n\n'), END),
    "redirect": lambda: [b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"],
    "markers": lambda: (HEAD, *map(_event, ["<tool_call>{"] * 50 + ["}"] * 50), END),
    "silent": lambda: [b""],  # nothing, until the proxy leaves
}
ALMOST = "word " * 2000 + "."
TOOLS = [
    {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
]
DONE, FAILED = b"data: [DONE]", b'{"error":'

#: what is sent: its share in percent, the model, more of the body, what the answer must hold (None: the client leaves)
KINDS: dict[str, tuple[int, str, dict[str, Any], bytes | None]] = {
    "a stream": (25, "good", {}, DONE),
    "a stream with a stop sequence that it almost holds": (5, "good", {"stop": ALMOST}, DONE),
    "a stream in pieces of one byte": (3, "bytewise", {}, DONE),
    "a stream of markers of tool calls": (3, "markers", {"tools": TOOLS}, DONE),
    "a stream that is not UTF-8": (5, "latin", {}, DONE),
    "a stream that is cut off in a chunk": (10, "cut", {}, FAILED),
    "a head without end": (4, "hints", {}, FAILED),
    "a redirect": (5, "redirect", {}, FAILED),
    "a model that is not there": (5, "nobody", {}, FAILED),
    "a stream without end, left": (10, "endless", {}, None),
    "a stream without end with a second request, left": (5, "endless", {}, None),
    "no answer, left": (10, "silent", {}, None),
    "half a body, left": (5, "good", {}, None),
    "half a head, left": (5, "good", {}, None),
}


async def _answer(
    kept: set[asyncio.StreamWriter], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of one connection of the proxy. `kept` has the connections that are open."""
    kept.add(writer)
    with suppress(OSError, EOFError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            path = head.split(b" ", 2)[1].decode().split("/")
            if head.startswith(b"GET"):
                document = CONFIG | {"model_transaction_policy": {"decoupled": True}}
                body = json.dumps(document if path[-1] == "config" else METADATA).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                continue
            name = path[3]
            for part in MODELS[name]():
                writer.write(part)
                await writer.drain()
            if name == "silent":
                await reader.read()
            if name in ("silent", "cut"):
                break
    kept.discard(writer)
    writer.close()


class Client:
    """One client: it sends a request of a kind on a connection of its own."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key

    async def send(self, kind: str) -> None:
        """Send a request. Unmeasured if the answer is not what it must be."""
        _, model, more, expected = KINDS[kind]
        body = json.dumps(
            {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True, **more}
        )
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n"
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(_PATIENCE):
                if kind.startswith("half"):
                    writer.write(sent[:60] if "head" in kind else sent[:-9])
                    await writer.drain()
                    return
                writer.write(2 * sent if "second" in kind else sent)
                if expected is None:
                    await asyncio.sleep(0.1) if model == "silent" else await reader.readuntil(b"xxxx")
                    return
                seen = b""
                while expected not in seen:
                    data = await reader.read(1 << 16)
                    if not data:
                        raise Unmeasured(f"{kind}: the answer ended after {seen[-300:]!r}")
                    seen += data
        except TimeoutError:
            raise Unmeasured(f"{kind}: there was no answer in {_PATIENCE:.0f} s") from None
        finally:
            writer.close()


def run(requests: int = REQUESTS) -> list[Reading]:
    """Return the readings: one at the start, and one after every tenth of the requests. Raises Grown."""
    readings = asyncio.run(_soak(requests))
    check_flat(readings)
    return readings


async def _soak(requests: int) -> list[Reading]:
    order = [kind for kind, (share, *_) in KINDS.items() for _ in range(share)]
    random.Random(0).shuffle(order)  # the same order every time
    kept: set[asyncio.StreamWriter] = set()
    server = await asyncio.start_server(partial(_answer, kept), "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    began = time.perf_counter()
    readings = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with proxy(folder / "proxy", upstream, folder / "keys.db", config=_config()) as running:
            key = await asyncio.to_thread(running.made)

            def read(done: int) -> None:
                readings.append(_reading(running.process.pid, done, time.perf_counter() - began))
                print(readings[-1].line(), flush=True)

            read(0)
            for step in range(1, STEPS + 1):
                work = iter([order[at % len(order)] for at in range(requests // STEPS)])
                await asyncio.gather(*(_work(Client(running.port, key["key"]), work) for _ in range(CLIENTS)))
                for writer in kept:  # how many connections the proxy keeps depends on what came together
                    writer.close()
                await _settled(running.process.pid, readings[0])
                read(step * (requests // STEPS))
            await _nothing_runs(running.port)
    server.close()
    return readings


def _config() -> str:
    entries = "".join(
        f"  - model_name: {name}\n    litellm_params: {{{{model: triton/{name}, api_base: '{{upstream}}',"
        f" chat_template: hermes}}}}\n"
        for name in MODELS
    )
    # No deployment is left out because it fails, as that is its task here.
    router = "router_settings: {{num_retries: 0, allowed_fails: 1000000000}}\n"
    return f"model_list:\n{entries}{router}general_settings: {GENERAL}\n"


async def _work(client: Client, work: Iterator[str]) -> None:
    for kind in work:
        await client.send(kind)


async def _settled(pid: int, start: Reading) -> None:
    """Wait until the connections of clients that left are closed: until there are as few as at the start."""
    end = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < end:
        now = _reading(pid, 0, 0)
        if now.descriptors <= start.descriptors and now.threads <= start.threads:
            return
        await asyncio.sleep(0.1)


async def _nothing_runs(port: int) -> None:
    """Unmeasured unless the proxy counts no running request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /metrics HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    text = await reader.read()
    writer.close()
    if b"\ntriton_proxy_requests_in_flight 0\n" not in text:
        raise Unmeasured("the proxy counts requests that are over")


def report(readings: list[Reading], load: float) -> None:
    """Write the tables of docs/soak_proxy.md; `load` is the machine's load average before the run."""
    kinds = [f"| {kind} | {share}% |" for kind, (share, *_) in KINDS.items()]
    rows = [
        f"| {now.requests:,} | {now.seconds:.0f} s | {now.resident_mib:.1f} MiB | {now.descriptors} | {now.threads} |"
        for now in readings
    ]
    head = ["| requests | after | resident | descriptors | threads |", "|--:|--:|--:|--:|--:|"]
    write("proxy soak", [conditions(load), "", *head, *rows], PAGE)
    write("proxy kinds", ["| what | share |", "|---|--:|", *kinds], PAGE)
