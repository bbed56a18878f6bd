"""Clients leave in every phase of a request: the request to Triton is cancelled, and the proxy keeps nothing of it."""

import asyncio
import gc
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from adapter.tests.proxy.serving import HELLO, MASTER, entry, post, serve
from adapter.tests.upstream import Answer, Upstream, chunked, endless, event, http
from triton_adapter.proxy import ProxyServer
from triton_adapter.proxy.keys.key import Key

TIMES = 3
PATIENCE = 60


@dataclass
class Scene:
    """A proxy, its Triton, an address where connections are accepted and nothing is answered, and a key."""

    proxy: ProxyServer
    upstream: Upstream
    silent: socket.socket
    key: Key
    secret: str

    def connect(self) -> socket.socket:
        host, port = self.proxy.http_url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)

    def request(self, path: str = "/v1/chat/completions", **body: Any) -> bytes:
        text = json.dumps({"model": "m", "messages": HELLO, **body})
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.secret}\r\n"
        return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()

    def asked(self, **body: Any) -> socket.socket:
        """A connection whose request has reached Triton."""
        before = len(self.upstream.posts)
        connection = self.connect()
        connection.sendall(self.request(**body))
        self.wait(lambda: len(self.upstream.posts) > before)
        return connection

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.held()
            urlopen(f"{self.proxy.http_url}/health/liveliness").close()

    def held(self) -> dict[str, int]:
        """What the proxy holds now of requests, apart from idle connections."""
        inference = self.proxy.proxy.inference
        assert inference is not None
        pool = inference.client._transport._pool
        idle = sum(map(len, pool._idle.values()))
        deployments = list(self.proxy.proxy.catalog.entries())
        return {
            "requests in flight": inference.running,
            "connections to Triton": len(pool._all) - idle,
            "requests at deployments": sum(one.meter.running for one in deployments),
            "requests of the key": self.key.meter.running,
        }

    @staticmethod
    def tasks() -> int:
        """The number of tasks that run."""
        return sum(isinstance(one, asyncio.Task) and not one.done() for one in gc.get_objects())

    @staticmethod
    def descriptors() -> int:
        """The number of open files and connections."""
        return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One scene for all phases: what one phase left behind would be seen by the next."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = silent.getsockname()[1]
        proxy = stack.enter_context(
            serve(
                entry("m", upstream.url),
                entry("silent", f"http://127.0.0.1:{port}"),
                entry("secure", f"https://127.0.0.1:{port}"),
            )
        )
        made = post(proxy, "/key/generate", {"request_budget": 1000}).json()
        key = proxy.proxy.store.keys[made["token_id"]]
        yield Scene(proxy, upstream, silent, key, made["key"])


ONE = chunked(event(text_output="a"), end=False)


def reset(connection: socket.socket) -> None:
    """Leave with a reset, as a client does that has not read all."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send_and_leave(scene: Scene, sent: bytes) -> None:
    """Send and leave; then wait until the proxy has noticed both."""
    with scene.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def wait_for_silence(scene: Scene, model: str) -> None:
    """Leave while Triton has accepted a connection and says nothing; then its side must see the end."""
    scene.silent.setblocking(False)
    with suppress(BlockingIOError):
        while True:  # connections of requests whose clients did not wait for them
            scene.silent.accept()[0].close()
    scene.silent.setblocking(True)
    with scene.connect() as connection:
        connection.sendall(scene.request(model=model))
        there, _ = scene.silent.accept()
        there.settimeout(PATIENCE)
        with there:
            assert there.recv(65536)
            connection.close()
            while there.recv(65536):
                pass


def leave_triton(scene: Scene, *parts: bytes, streams: int = 1, read: bytes = b"", **body: Any) -> None:
    """Leave while Triton has sent these parts and goes on."""
    for _ in range(streams):
        scene.upstream.answers.append(Answer(parts, "hang"))
    connection = scene.asked(**body)
    seen = b""
    while read not in seen:
        seen += connection.recv(65536)
    connection.close()
    for _ in range(streams):
        assert scene.upstream.leavers.acquire(timeout=PATIENCE)


def leave_without_reading(scene: Scene) -> None:
    """Leave a stream that goes on for ever, and so fills every buffer on the way."""
    scene.upstream.answers.append(Answer(endless(event(text_output="x" * 65536))))
    connection = scene.asked(stream=True)
    reset(connection)
    assert scene.upstream.leavers.acquire(timeout=PATIENCE)


def leave_a_whole_answer(scene: Scene) -> None:
    """Leave an answer that is larger than every buffer on the way."""
    scene.upstream.answers.append(Answer(chunked(event(text_output="x" * 8_000_000)), "keep"))
    connection = scene.asked()
    assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    reset(connection)


def leave_a_pipelined_stream(scene: Scene) -> None:
    """Leave a stream after another request was sent on the same connection."""
    scene.upstream.answers.append(Answer(ONE, "hang"))
    connection = scene.asked(stream=True)
    connection.sendall(scene.request(stream=True))
    connection.close()
    assert scene.upstream.leavers.acquire(timeout=PATIENCE)


def leave_between_attempts(scene: Scene) -> None:
    """Leave while the proxy waits before it tries again."""
    busy = http(b'{"error":"busy"}', status="503 Busy", extra="Retry-After: 50\r\n")
    scene.upstream.answers.append(Answer([busy], "close"))
    scene.asked().close()


PHASES: dict[str, Callable[[Scene], None]] = {
    "before a word": lambda s: s.connect().close(),
    "in the request line": lambda s: send_and_leave(s, b"POST /v1/cha"),
    "in the headers": lambda s: send_and_leave(s, s.request()[:60]),
    "before the body": lambda s: send_and_leave(s, s.request().partition(b"{")[0]),
    "in the body": lambda s: send_and_leave(s, s.request()[:-5]),
    "in the body of a control route": lambda s: send_and_leave(
        s,
        f"POST /key/generate HTTP/1.1\r\nAuthorization: Bearer {MASTER}\r\nContent-Length: 9\r\n\r\n{{".encode(),
    ),
    "right after the request": lambda s: send_and_leave(s, s.request(model="silent")),
    "after several requests at once": lambda s: send_and_leave(s, 50 * s.request(model="silent")),
    "after several requests that are many bytes": lambda s: send_and_leave(
        s, 2 * s.request(model="silent") + 3 * s.request(model="silent", user="x" * 70_000)
    ),
    "in a stream with another request behind it": leave_a_pipelined_stream,
    "while the model's description is waited for": lambda s: wait_for_silence(s, "silent"),
    "during the TLS handshake with Triton": lambda s: wait_for_silence(s, "secure"),
    "while the answer is waited for": leave_triton,
    "while a stream's head is waited for": lambda s: leave_triton(s, stream=True),
    "while a stream's first text is waited for": lambda s: leave_triton(s, ONE[0], stream=True),
    "in a stream": lambda s: leave_triton(s, *ONE, read=b'"content":"a"', stream=True),
    "in a stream of a text completion": lambda s: leave_triton(
        s, *ONE, read=b'"text":"a"', stream=True, path="/v1/completions", messages=None, prompt="x"
    ),
    "in several streams": lambda s: leave_triton(s, *ONE, read=b'"content":"a"', streams=3, stream=True, n=3),
    "while several answers are waited for": lambda s: leave_triton(s, streams=3, n=3),
    "in a stream that it does not read": leave_without_reading,
    "in an answer that it does not read": leave_a_whole_answer,
    "between two attempts": leave_between_attempts,
}


# The phases in which Triton was asked: only these count against the key's budget.
COUNTED = {
    "while the answer is waited for",
    "while a stream's head is waited for",
    "while a stream's first text is waited for",
    "while several answers are waited for",
    "between two attempts",
    "in a stream",
    "in a stream with another request behind it",
    "in a stream of a text completion",
    "in several streams",
    "in a stream that it does not read",
    "in an answer that it does not read",
}


@pytest.mark.parametrize("phase", PHASES)
def test_nothing_is_kept_of_a_client_that_leaves(scene: Scene, phase: str) -> None:
    leave = PHASES[phase]
    leave(scene)  # what is made once and kept: threads of the test's own servers, a connection
    scene.wait(lambda: not any(scene.held().values()))
    tasks, descriptors, used = scene.tasks(), scene.descriptors(), scene.key.requests_used
    for _ in range(TIMES):
        leave(scene)
    scene.wait(lambda: not any(scene.held().values()))
    scene.wait(lambda: scene.tasks() <= tasks and scene.descriptors() <= descriptors)
    assert scene.key.requests_used - used == (TIMES if phase in COUNTED else 0)
