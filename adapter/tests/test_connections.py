"""Connections to Triton: which are kept, which are closed, and how answers are read. The servers are bare sockets."""

import asyncio
import gc
import socket
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from triton_adapter import errors
from triton_adapter.errors import AdapterError
from triton_adapter.steps import HttpReply, HttpRequest, Steps
from triton_adapter.transport.address import address_of
from triton_adapter.transport.connection import HIGH_WATER, KEPT, State
from triton_adapter.transport.forward import ProxySettings
from triton_adapter.transport.pool import Pool
from triton_adapter.transport.threads import ThreadTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Served:
    """A server that sends one answer for each request of a connection, and closes it after the last one."""

    def __init__(self, *connections: list[bytes]) -> None:
        self.requests: list[bytes] = []
        self.accepted = 0
        self._connections = list(connections)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            connection, _ = self._socket.accept()
            self.accepted += 1
            with connection:
                for answer in answers:
                    request = connection.recv(65536)
                    if not request:
                        break
                    self.requests.append(request)
                    connection.sendall(answer)
        self._socket.close()


@contextmanager
def served(*connections: list[bytes]) -> Iterator[Served]:
    server = Served(*connections)
    yield server
    server.thread.join(60)


def run(work: Callable[[Pool], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        pool = Pool()
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(main())


def get(url: str, **options: Any) -> HttpRequest:
    return HttpRequest("GET", url, timeout=options.pop("timeout", 10), **options)


def test_a_request_is_sent_as_it_is_meant() -> None:
    with served([OK]) as server:
        wire = HttpRequest(
            "POST", f"{server.url}/a%2Fb?x=1", b"{}", {"Content-Type": "application/json"}, timeout=10
        )
        reply: HttpReply = run(lambda pool: pool.send(wire))
    host = server.url.removeprefix("http://")
    assert server.requests == [
        f"POST /a%2Fb?x=1 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: triton-adapter\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode()
    ]
    assert (reply.status, reply.body, reply.headers.get("CONTENT-LENGTH")) == (200, b"ok", "2")


def test_a_callers_own_host_and_agent_are_sent_in_the_place_of_ours() -> None:
    own = {"Host": "models.example", "User-Agent": "mine"}
    with served([OK]) as server:
        run(lambda pool: pool.send(get(server.url, headers=own)))
    assert server.requests == [b"GET / HTTP/1.1\r\nHost: models.example\r\nUser-Agent: mine\r\n\r\n"]


def test_a_connection_is_kept_for_the_next_request() -> None:
    async def twice(pool: Pool) -> list[bytes]:
        return [(await pool.send(get(server.url))).body for _ in range(2)]

    with served([OK, OK]) as server:
        assert run(twice) == [b"ok", b"ok"]
    assert server.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), id="that it will close"),
        pytest.param(OK + b"HTTP/1.1 200 OK\r\n", id="more than was asked for"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="HTTP/1.0"),
    ],
)
def test_a_connection_is_not_kept_if_the_server_says(answer: bytes) -> None:
    async def twice(pool: Pool) -> list[bytes]:
        return [(await pool.send(get(server.url))).body for _ in range(2)]

    with served([answer], [OK]) as server:
        assert run(twice) == [b"ok", b"ok"]
    assert server.accepted == 2


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", id="until the connection ends"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            b"abcd",
            id="in chunks",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok", id="after a 100"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="without a body"),
    ],
)
def test_a_body_is_read_to_its_end(answer: bytes, body: bytes) -> None:
    with served([answer]) as server:
        assert run(lambda pool: pool.send(get(server.url))).body == body


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(b"", errors.APIConnectionError, id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", errors.APIConnectionError, id="half a head"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", errors.APIConnectionError, id="half a body"
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n", errors.BadGatewayError, id="another protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            errors.APIConnectionError,
            id="no chunk",
        ),
    ],
)
def test_what_is_no_whole_answer_is_an_error(answer: bytes, kind: type[AdapterError]) -> None:
    with served([answer]) as server, pytest.raises(kind) as caught:
        run(lambda pool: pool.send(get(server.url)))
    # Only a request whose answer had not begun may be sent again.
    assert caught.value.retryable == (answer == b"")


def test_a_head_that_does_not_end_is_a_bad_gateway() -> None:
    with (
        served([b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70000]) as server,
        pytest.raises(errors.BadGatewayError) as caught,
    ):
        run(lambda pool: pool.send(get(server.url)))
    assert caught.value.message == "the upstream's answer begins with headers that do not end"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"0\r\n", b"x: yyyyyy\r\n" * 1000, id="many trailers"),
        pytest.param(b"0\r\nx: ", b"y" * 10000, id="one long trailer"),
        pytest.param(b"5;x=", b"y" * 10000, id="one long chunk line"),
    ],
)
def test_what_does_not_end_after_a_body_is_a_bad_gateway(begin: bytes, more: bytes, stream: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"3\r\nabc\r\n" + begin)
        with suppress(ConnectionError):
            while True:
                writer.write(more)
                await writer.drain()

    async def read(pool: Pool) -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            reply = await pool.send(get(url, stream=stream, silence=60, timeout=60))
            while await reply.source.read():
                pass

    with pytest.raises(errors.BadGatewayError) as caught:
        run(read)
    assert caught.value.message == "the upstream's answer has chunk lines or trailers that do not end"


def test_trailers_are_read_over_and_are_no_headers() -> None:
    async def twice(pool: Pool) -> list[HttpReply]:
        return [await pool.send(get(server.url)) for _ in range(2)]

    with served([CHUNKED + b"3\r\nabc\r\n0\r\nX-Late: y\r\nConnection: x\r\n\r\n", OK]) as server:
        first, second = run(twice)
    assert (first.body, first.headers, second.body) == (b"abc", {"transfer-encoding": "chunked"}, b"ok")
    assert server.accepted == 1


def test_a_body_that_does_not_end_is_a_bad_gateway() -> None:
    async def main() -> None:
        pool = Pool(longest=1000)
        try:
            assert len((await pool.send(get(server.url))).body) == 1000
            with pytest.raises(errors.BadGatewayError, match="too long"):
                await pool.send(get(server.url))
        finally:
            await pool.close()

    fits = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(1000)
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e9\r\n" + bytes(1001) + b"\r\n"
    with served([fits, endless]) as server:
        asyncio.run(main())


@pytest.mark.parametrize("body", [b"", bytes(1 << 20) + b"!"], ids=["before it comes", "when it has come"])
def test_the_body_of_an_error_may_not_be_longer_than_a_mebibyte(body: bytes) -> None:
    length = b"" if body else b"Content-Length: 1048577\r\n"
    with (
        served([b"HTTP/1.1 500 Internal Server Error\r\n" + length + b"\r\n" + body]) as server,
        pytest.raises(errors.BadGatewayError, match="too long"),
    ):
        run(lambda pool: pool.send(get(server.url)))


def test_a_body_whose_length_is_too_long_is_refused_before_it_comes() -> None:
    async def main() -> None:
        pool = Pool(longest=1000)
        try:
            with pytest.raises(errors.BadGatewayError, match="too long"):
                await pool.send(get(server.url))
        finally:
            await pool.close()

    # The server waits for a second request, and closes when the connection is.
    with served([b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", b""]) as server:
        asyncio.run(main())


def test_a_body_in_chunks_of_one_byte_takes_no_more_memory_than_its_size() -> None:
    size = 100_000
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * size + b"0\r\n\r\n"

    async def main() -> int:
        pool = Pool()
        try:
            tracemalloc.start()
            assert (await pool.send(get(server.url))).body == b"x" * size
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await pool.close()

    with served([chunks]) as server:
        assert asyncio.run(main()) < 20 * size


@pytest.mark.parametrize("stream", [False, True], ids=["read", "a stream that is left unread"])
def test_an_idle_connection_keeps_nothing_of_its_last_answer(stream: bool) -> None:
    size = HIGH_WATER // 2
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))

    async def ask(pool: Pool) -> None:
        reply = await pool.send(get(server.url, stream=stream, silence=10))
        if stream:
            connection = reply.source._connection
            while connection.state is not State.DONE:  # noqa: ASYNC110
                await asyncio.sleep(0)
            reply.source.close()

    async def kept(pool: Pool) -> int:
        await pool.send(get(server.url))
        tracemalloc.start()
        try:
            await ask(pool)
            await asyncio.sleep(0)
            gc.collect()
            assert [connection.state for connection in pool._all] == [State.IDLE]
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    with served([OK, answer]) as server:
        assert run(kept) < size / 2


def test_a_body_is_not_copied_when_it_is_complete() -> None:
    size = 8_000_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))

    async def most(pool: Pool) -> int:
        tracemalloc.start()
        try:
            assert len((await pool.send(get(server.url))).body) == size
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with served([answer]) as server:
        assert run(most) < 1.5 * size


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {"x\n": "a"}, {"x": "\0"}], ids=repr)
def test_a_header_that_holds_a_line_break_is_not_sent(headers: dict[str, str]) -> None:
    with pytest.raises(errors.BadRequestError) as caught:
        run(lambda pool: pool.send(get("http://127.0.0.1:9/", headers=headers)))
    assert caught.value.param == "api_base"


def test_a_host_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(errors.ServiceUnavailableError):
        run(lambda pool: pool.send(get("http://127.0.0.1:9/")))
    with pytest.raises(errors.ServiceUnavailableError):
        run(lambda pool: pool.send(get("http://no-such-host.invalid/")))


def test_a_stream_is_read_as_it_comes_and_its_connection_kept() -> None:
    async def read(pool: Pool) -> bytes:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        parts = []
        while part := await reply.source.read():
            parts.append(part)
        reply.source.close()  # closing a stream that has ended changes nothing
        return b"".join(parts) + (await pool.send(get(server.url))).body

    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    with served([answer, OK]) as server:
        assert run(read) == b"abcdok"
    assert server.accepted == 1


STREAMED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def test_a_stream_that_has_ended_keeps_its_connection_until_it_is_read() -> None:
    async def read(pool: Pool) -> bytes:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        while reply.source._connection.state is not State.DONE:  # noqa: ASYNC110
            await asyncio.sleep(0)
        other: bytes = (await pool.send(get(server.url))).body
        parts: list[bytes] = [other, await reply.source.read(), await reply.source.read()]
        return b"".join(parts)

    with served([STREAMED], [OK]) as server:
        assert run(read) == b"okabc"
    assert server.accepted == 2


def test_closing_a_stream_that_has_ended_leaves_the_next_request_alone() -> None:
    async def read(pool: Pool) -> bytes:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        while await reply.source.read():
            pass
        other = asyncio.ensure_future(pool.send(get(server.url)))
        await asyncio.sleep(0)
        reply.source.close()
        parts: list[bytes] = [(await other).body, await reply.source.read()]
        return b"".join(parts)

    with served([STREAMED, OK]) as server:
        assert run(read) == b"ok"
    assert server.accepted == 1


def test_a_stream_that_comes_whole_as_its_reader_leaves_frees_its_connection() -> None:
    async def read(pool: Pool) -> bytes:
        asking = asyncio.ensure_future(pool.send(get(server.url, stream=True, silence=10)))
        while not any(connection.state is State.DONE for connection in pool._all):  # noqa: ASYNC110
            await asyncio.sleep(0)
        asking.cancel()  # its answer has come, but the task has not run since
        with pytest.raises(asyncio.CancelledError):
            await asking
        body: bytes = (await pool.send(get(server.url))).body
        assert len(pool._all) == 1
        return body

    with served([STREAMED, OK]) as server:
        assert run(read) == b"ok"
    assert server.accepted == 1


def test_leaving_a_stream_that_has_come_whole_while_the_sender_was_held_up_leaves_the_next_request_alone() -> (
    None
):
    size = HIGH_WATER + 1

    async def read(pool: Pool) -> bytes:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        connection = reply.source._connection
        while connection.state is not State.DONE:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert connection._unread == size
        reply.source.close()
        body: bytes = (await pool.send(get(server.url))).body
        return body

    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    with served([whole, OK]) as server:
        assert run(read) == b"ok"
    assert server.accepted == 1


def test_an_answer_that_changes_the_protocol_is_no_answer_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI"
    with served([changed]) as server, pytest.raises(errors.BadGatewayError, match="does not speak HTTP"):
        run(lambda pool: pool.send(get(server.url)))
    assert caplog.records == []


def test_a_stream_that_was_left_does_not_look_as_if_it_had_ended() -> None:
    async def read(pool: Pool) -> None:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        reply.source.close()
        with pytest.raises(errors.APIConnectionError, match="the answer was closed before its end"):
            await reply.source.read()

    with served([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"]) as server:
        run(read)


def test_what_came_of_a_stream_before_it_broke_is_read_first() -> None:
    async def read(pool: Pool) -> list[bytes]:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        parts = [await reply.source.read()]
        with pytest.raises(errors.APIConnectionError, match="broke off"):
            await reply.source.read()
        return parts

    with served([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"]) as server:
        assert run(read) == [b"abc"]


def test_a_slow_reader_makes_the_sender_wait() -> None:
    size = HIGH_WATER * 40
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size

    async def read(pool: Pool) -> int:
        reply = await pool.send(get(server.url, stream=True, silence=10))
        first = await reply.source.read()
        connection = reply.source._connection
        while not connection._body or connection._unread <= HIGH_WATER:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert connection._unread < size / 2
        total = len(first)
        while part := await reply.source.read():
            total += len(part)
        return total

    with served([answer + bytes(size)]) as server:
        assert run(read) == size


def test_connections_that_only_a_rush_needed_are_closed_when_they_are_old() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(OK)
        writer.close()

    async def rush(pool: Pool) -> list[int]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            wire = get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.gather(*(pool.send(wire) for _ in range(3)))
            (kept,) = pool._idle.values()
            for connection in list(kept)[:2]:
                connection.kept_since -= KEPT + 1
            found = [len(pool._all)]
            await pool.send(wire)
            while len(pool._all) > len(kept):  # noqa: ASYNC110 - closed, and not yet told so
                await asyncio.sleep(0)
            await pool.close()
            return [*found, len(kept)]

    assert run(rush) == [3, 1]


def test_requests_side_by_side_have_a_connection_each() -> None:
    async def both(pool: Pool) -> list[bytes]:
        replies = await asyncio.gather(pool.send(get(server.url)), pool.send(get(server.url)))
        return [reply.body for reply in replies]

    with served([OK], [OK]) as server:
        assert run(both) == [b"ok", b"ok"]
    assert server.accepted == 2


def test_a_connection_and_its_pool_say_what_they_do_from_the_request_to_the_end() -> None:
    seen: list[tuple[str, str]] = []

    async def main() -> None:
        pool = Pool()
        assert repr(pool) == "<Pool [0 active, 0 idle]>"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            (connection,) = pool._all

            async def reach(state: State) -> None:
                while connection.state is not state:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                seen.append((repr(connection).replace(url, "ORIGIN"), repr(pool)))

            await reach(State.SENT)
            writer.write(b"HTTP/1.1 200 OK\r\n")
            await reach(State.HEAD)
            writer.write(b"Content-Length: 2\r\n\r\n")
            await reach(State.BODY)
            writer.write(b"ok")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            await reach(State.STREAM)
            writer.write(b"ok")
            await reach(State.DONE)
            writer.close()
            await reach(State.CLOSED)
            served.set()

        served = asyncio.Event()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await pool.send(get(url))
            seen.append((repr(next(iter(pool._all))).replace(url, "ORIGIN"), repr(pool)))
            reply = await pool.send(get(url, stream=True, silence=10))
            await served.wait()
            assert await reply.source.read() == b"ok"
            assert await reply.source.read() == b""
        await pool.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert seen == [
        ("<Connection ORIGIN [SENT, 1 request]>", "<Pool [1 active, 0 idle]>"),
        ("<Connection ORIGIN [HEAD, 1 request]>", "<Pool [1 active, 0 idle]>"),
        ("<Connection ORIGIN [BODY, 1 request]>", "<Pool [1 active, 0 idle]>"),
        ("<Connection ORIGIN [IDLE, 1 request]>", "<Pool [0 active, 1 idle]>"),
        ("<Connection ORIGIN [STREAM, 2 requests]>", "<Pool [1 active, 0 idle]>"),
        ("<Connection ORIGIN [DONE, 2 requests]>", "<Pool [1 active, 0 idle]>"),
        ("<Connection ORIGIN [CLOSED, 2 requests]>", "<Pool [0 active, 0 idle]>"),
    ]


@pytest.mark.parametrize(
    "url, via, origin",
    [
        ("http://triton:8000/v2/models/m/infer", None, "http://triton:8000"),
        ("https://triton", None, "https://triton:443"),
        ("http://[::1]:8000/", None, "http://[::1]:8000"),
        (
            "https://triton:8000/",
            "http://user:secret@proxy:3128",
            "https://triton:8000 via proxy:3128",
        ),
    ],
    ids=["http", "https without a port", "IPv6", "through a proxy, without its password"],
)
def test_an_address_names_its_origin(url: str, via: str | None, origin: str) -> None:
    proxies = None if via is None else ProxySettings((("https", via),))
    assert address_of(url, proxies).origin == origin


def test_a_blocking_transport_says_whether_it_runs() -> None:
    def nothing() -> Steps:
        yield from ()
        return "done"

    transport = ThreadTransport()
    assert repr(transport) == "<ThreadTransport [NOT STARTED]>"
    assert transport.run(nothing()) == "done"
    assert repr(transport) == "<ThreadTransport [RUNNING] <LoopTransport <Pool [0 active, 0 idle]>>>"
    transport.close()
    assert repr(transport) == "<ThreadTransport [CLOSED]>"
