"""Clients that send requests before they have the answers to those before: in order, one at a time, within bounds."""

import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from adapter.tests.proxy.serving import HELLO, MASTER, entry, serve
from adapter.tests.upstream import Answer, Upstream, chunked, event
from triton_adapter.proxy import ProxyServer
from triton_adapter.proxy.protocol import AHEAD, Protocol

STREAM = json.dumps({"model": "m", "messages": HELLO, "stream": True}).encode()
ASK = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
    % (MASTER.encode(), len(STREAM), STREAM)
)
ALIVE = b"GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = ALIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class Held:
    """A connection to a proxy, on which a stream has begun that goes on when it is told to."""

    def __init__(self, proxy: ProxyServer, upstream: Upstream) -> None:
        self.proxy = proxy
        self.go_on = threading.Event()
        upstream.answers.append(Answer(self._parts()))
        host, port = proxy.url.removeprefix("http://").split(":")
        self.client = socket.create_connection((host, int(port)), timeout=60)
        self.client.sendall(ASK)
        self.reply = b""
        while b'"content":"a"' not in self.reply:
            self.reply += self.client.recv(65536)

    def _parts(self) -> Iterator[bytes]:
        begin, first, second, end = chunked(event(text_output="a"), event(text_output="b"))
        yield from (begin, first)
        self.go_on.wait(60)
        yield from (second, end)

    def wait(self, condition: Callable[[Protocol], bool]) -> None:
        """Wait until the server's end of the connection is so."""
        deadline = time.monotonic() + 60
        while not all(map(condition, list(self.proxy._server.server_state.connections))):  # type: ignore[arg-type]
            assert time.monotonic() < deadline

    def wait_for(self, described: str) -> None:
        self.wait(lambda one: repr(one) == described)

    def answers(self) -> list[bytes]:
        """Let the stream end, and return the answers until the connection is closed."""
        self.go_on.set()
        while part := self.client.recv(65536):
            self.reply += part
        return self.reply.split(b"HTTP/1.1 ")[1:]


@pytest.fixture
def held(upstream: Upstream) -> Iterator[Held]:
    with serve(entry("m", upstream.url)) as proxy:
        made = Held(proxy, upstream)
        with made.client:
            yield made
        made.go_on.set()


def is_whole(answer: bytes) -> bool:
    """Whether this is the stream from its beginning to its end, and nothing else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return (
        head.startswith(b"200 OK\r\n")
        and b'"content":"b"' in body
        and body.endswith(b"\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    )


def cycles() -> int:
    """The number of requests that uvicorn keeps."""
    gc.collect()
    return sum(isinstance(one, RequestResponseCycle) for one in gc.get_objects())


def test_requests_that_come_during_a_stream_are_answered_after_it_in_order(held: Held) -> None:
    held.client.sendall(ALIVE + ALIVE.replace(b"liveliness", b"nothing") + LAST)
    stream, first, second, third = held.answers()
    assert is_whole(stream)
    assert first.startswith(b"200 OK\r\n")
    assert second.startswith(b"404 Not Found\r\n")
    assert third.startswith(b"200 OK\r\n")


def test_requests_that_come_during_an_answer_are_not_read_before_it_is_complete(held: Held) -> None:
    before = cycles()
    held.client.sendall(1000 * ALIVE + LAST)
    ahead = len(1000 * ALIVE + LAST)
    held.wait_for(f"<Protocol [waiting for NOTHING, 0 bytes of it, {ahead} bytes ahead]>")
    assert cycles() == before
    assert len(held.answers()) == 1 + 1000 + 1


def test_nothing_is_kept_of_requests_that_are_answered(held: Held) -> None:
    before = cycles()
    held.go_on.set()
    held.client.sendall(100 * ALIVE)
    while held.reply.count(b"I'm alive!") < 100:
        held.reply += held.client.recv(65536)
    held.wait(lambda _: cycles() == before)


@pytest.mark.parametrize(
    "before", [pytest.param(b"", id="at once"), pytest.param(ALIVE, id="after another request")]
)
def test_what_is_no_request_is_refused_after_the_stream_during_which_it_came(
    held: Held, before: bytes
) -> None:
    held.client.sendall(before + b"this is not HTTP\r\n\r\n")
    stream, *others, refusal = held.answers()
    assert is_whole(stream)
    assert [one[:8] for one in others] == [b"200 OK\r\n"] * bool(before)
    assert refusal.startswith(b"400 Bad Request\r\n")
    assert b'"code":"invalid_http"' in refusal


def test_a_head_that_comes_slowly_during_a_stream_does_not_end_it(held: Held) -> None:
    held.client.sendall(LAST[:20])
    held.wait_for("<Protocol [waiting for NOTHING, 0 bytes of it, 20 bytes ahead]>")
    held.wait(lambda one: one._timer is None)
    held.client.sendall(LAST[20:])
    stream, other = held.answers()
    assert is_whole(stream)
    assert other.startswith(b"200 OK\r\n")


def test_more_than_is_kept_of_requests_during_an_answer_makes_it_the_last(held: Held) -> None:
    held.client.sendall((ALIVE * (AHEAD // len(ALIVE) + 1))[: AHEAD + 1])
    held.wait(lambda one: not one.cycle.keep_alive)
    held.wait_for("<Protocol [waiting for NOTHING, 0 bytes of it]>")
    (stream,) = held.answers()
    assert is_whole(stream)


def test_a_client_that_leaves_after_any_number_of_requests_ends_its_stream(upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output="a"), end=False), then="hang")
    with serve(entry("m", upstream.url)) as proxy:
        host, port = proxy.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(ASK)
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
            client.sendall(ALIVE * (40 * AHEAD // len(ALIVE)))
        assert upstream.left.wait(60)


@contextmanager
def connected(upstream: Upstream) -> Iterator[socket.socket]:
    with serve(entry("m", upstream.url)) as proxy:
        host, port = proxy.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client:
            yield client


def post(body: bytes, *headers: bytes) -> bytes:
    """A request that makes a key, with its body in chunks if a header says so."""
    lines = [
        b"POST /key/generate HTTP/1.1",
        b"Host: x",
        b"Authorization: Bearer " + MASTER.encode(),
        *headers,
    ]
    if b"Transfer-Encoding: chunked" in headers:
        body = b"%x\r\n%b\r\n0\r\nX-Trailer: y\r\n\r\n" % (len(body), body)
    else:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAA")
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("first", [(), (CHUNKED,), UPGRADE, (CHUNKED, *UPGRADE)], ids=repr)
def test_two_requests_that_are_cut_anywhere_keep_their_bodies(
    upstream: Upstream, first: tuple[bytes, ...]
) -> None:
    sent = post(b'{"key_alias": 1}', *first) + post(b'{\r\n\r\n"models": 2}', *UPGRADE)
    with connected(upstream) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(sent)):
            client.sendall(sent[:cut])
            client.sendall(sent[cut:])
            reply = b""
            while reply.count(b'"error"') < 2:
                reply += client.recv(65536)
            assert reply.count(b'"param":"key_alias"') == 1, (cut, reply)
            assert reply.count(b'"param":"models"') == 1, (cut, reply)
