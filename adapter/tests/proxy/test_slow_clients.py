"""Slow clients: every wait for a client has a limit, after which the connection is closed."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapter.tests.proxy.serving import HELLO, MASTER, entry, get, serve
from adapter.tests.upstream import Answer, Upstream, endless, event
from triton_adapter.proxy import ProxyServer
from triton_adapter.proxy.protocol import Protocol, Waiting

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-request-id: mine\r\n"
BEARER = b"Authorization: Bearer " + MASTER.encode() + b"\r\n"


@contextmanager
def hasty(upstream: Upstream, limit: str, seconds: float) -> Iterator[ProxyServer]:
    """A proxy with one short time limit, whose upstream is a model that streams."""
    with serve(entry("m", upstream.url), general_settings={"master_key": MASTER, limit: seconds}) as server:
        yield server


@pytest.fixture
def hasty_for_heads(upstream: Upstream) -> Iterator[ProxyServer]:
    """Not so hasty that a test on a busy machine could be late itself."""
    with hasty(upstream, "client_header_timeout", 3) as server:
        yield server


@pytest.fixture
def hasty_for_bodies(upstream: Upstream) -> Iterator[ProxyServer]:
    with hasty(upstream, "client_body_timeout", 0.4) as server:
        yield server


@pytest.fixture
def hasty_for_answers(upstream: Upstream) -> Iterator[ProxyServer]:
    with hasty(upstream, "send_timeout", 0.4) as server:
        yield server


@pytest.fixture
def patient(upstream: Upstream) -> Iterator[ProxyServer]:
    """The same with the limits that a proxy has by itself: only what a client sends ends a connection."""
    with serve(entry("m", upstream.url)) as server:
        yield server


def connect(proxy: ProxyServer) -> socket.socket:
    host, port = proxy.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def until_closed(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def told(reply: bytes) -> tuple[bytes, object]:
    """The status line, and the code of the error."""
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert b"\r\nx-request-id: " in head
    return head.partition(b"\r\n")[0], json.loads(body)["error"]["code"]


def test_a_connection_that_asks_nothing_is_closed_without_a_word(hasty_for_heads: ProxyServer) -> None:
    with connect(hasty_for_heads) as connection:
        assert until_closed(connection) == b""


def test_a_head_that_does_not_end_is_408(hasty_for_heads: ProxyServer) -> None:
    with connect(hasty_for_heads) as connection:
        connection.sendall(HEAD)
        assert told(until_closed(connection)) == (b"HTTP/1.1 408 Request Timeout", "request_timeout")


def test_a_head_of_a_second_request_that_does_not_end_is_408(hasty_for_heads: ProxyServer) -> None:
    with connect(hasty_for_heads) as connection:
        connection.sendall(b"GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"alive" in connection.recv(4096)
        connection.sendall(HEAD)
        assert told(until_closed(connection)) == (b"HTTP/1.1 408 Request Timeout", "request_timeout")


def test_a_head_without_end_is_cut_off(patient: ProxyServer) -> None:
    def send_for_ever(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"y" * 65536)

    with connect(patient) as connection:
        connection.sendall(HEAD + b"x: ")
        with pytest.raises(OSError, match=r"[Bb]roken|[Rr]eset"):
            send_for_ever(connection)


def test_trailers_without_end_are_cut_off(patient: ProxyServer) -> None:
    def send_for_ever(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"y" * 65536)

    with connect(patient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ")
        with pytest.raises(OSError, match=r"[Bb]roken|[Rr]eset"):
            send_for_ever(connection)


def test_trailers_are_no_headers(patient: ProxyServer) -> None:
    with connect(patient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + BEARER + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 Unauthorized\r\n")


def test_a_broken_body_of_a_request_that_is_answered_gets_no_second_answer(patient: ProxyServer) -> None:
    with connect(patient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        connection.sendall(b"this is no chunk\r\n")
        assert until_closed(connection) == b""


def test_a_request_that_is_answered_before_its_body_comes_leaves_a_connection_that_is_closed_when_idle(
    patient: ProxyServer,
) -> None:
    with connect(patient) as connection:
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        connection.sendall(b"{}")
        (one,) = patient._server.server_state.connections
        assert isinstance(one, Protocol)
        deadline = time.monotonic() + 60
        while one._waiting is not Waiting.NOTHING or one.timeout_keep_alive_task is None:
            assert time.monotonic() < deadline


def test_headers_that_are_too_large_are_431(patient: ProxyServer) -> None:
    with connect(patient) as connection:
        connection.sendall(HEAD)
        line = b"x: " + b"y" * 8000 + b"\r\n"
        # The smallest head that is too large, so that no byte is unread when the connection is closed.
        for _ in range(9):
            connection.sendall(line)
        reply = until_closed(connection)
    assert told(reply) == (b"HTTP/1.1 431 Request Header Fields Too Large", "headers_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"Content-Length: 99\r\n\r\n", id="none of it comes"),
        pytest.param(b'Content-Length: 99\r\n\r\n{"model":', id="the rest does not come"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", id="its last chunk does not come"),
    ],
)
def test_a_body_that_does_not_come_is_408(hasty_for_bodies: ProxyServer, sent: bytes) -> None:
    with connect(hasty_for_bodies) as connection:
        connection.sendall(HEAD + BEARER + sent)
        reply = until_closed(connection)
    assert told(reply) == (b"HTTP/1.1 408 Request Timeout", "request_timeout")
    assert b"\r\nx-request-id: mine\r\n" in reply
    assert 'route="chat/completions",model="",status="408"} 1' in get(hasty_for_bodies, "/metrics").text


def test_the_body_of_a_control_route_is_waited_for_no_longer(hasty_for_bodies: ProxyServer) -> None:
    with connect(hasty_for_bodies) as connection:
        connection.sendall(
            b"POST /key/generate HTTP/1.1\r\nHost: x\r\n" + BEARER + b"Content-Length: 9\r\n\r\n{"
        )
        assert told(until_closed(connection)) == (b"HTTP/1.1 408 Request Timeout", "request_timeout")


def test_a_client_that_does_not_read_its_stream_is_disconnected(
    hasty_for_answers: ProxyServer, upstream: Upstream
) -> None:
    upstream.answers.append(Answer(endless(event(text_output="x" * 65536))))
    body = json.dumps({"model": "m", "messages": HELLO, "stream": True}).encode()
    with connect(hasty_for_answers) as connection:
        connection.sendall(HEAD + BEARER + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert upstream.left.wait(60)


def test_a_connection_says_what_it_waits_for(upstream: Upstream) -> None:
    with serve(entry("m", upstream.url)) as proxy, connect(proxy) as connection:

        def becomes(described: str) -> bool:
            """Wait until the `repr` of the server's connection is this text."""
            deadline = time.monotonic() + 60
            while [repr(one) for one in list(proxy._server.server_state.connections)] != [described]:
                if time.monotonic() > deadline:
                    return False
            return True

        assert becomes("<Protocol [waiting for FIRST REQUEST, 0 bytes of it]>")
        connection.sendall(HEAD)
        assert becomes(f"<Protocol [waiting for HEAD, {len(HEAD)} bytes of it]>")
        connection.sendall(BEARER + b"Content-Length: 9\r\n\r\n")
        assert becomes("<Protocol [waiting for BODY, 0 bytes of it]>")
        connection.sendall(b"[1, ")
        assert becomes("<Protocol [waiting for BODY, 4 bytes of it]>")
        connection.sendall(b"2, 3]")
        assert becomes("<Protocol [waiting for NOTHING, 0 bytes of it]>")
        assert b"400 Bad Request" in connection.recv(4096)
    assert repr(proxy) == f"<ProxyServer {proxy.http_url} [STOPPED]>"
