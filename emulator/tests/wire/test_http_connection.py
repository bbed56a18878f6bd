"""A connection's state, as its `repr` shows it, after each part of a request; and its answers from then on."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from triton_emulator.wire.http_protocol import TritonProtocol

GET = b"GET /ask HTTP/1.1\r\nHost: a\r\n\r\n"

OFFER = b"POST /echo HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


class Connection:
    """A server's connection on a real socket, and the client's end of it."""

    def __init__(self, protocol: TritonProtocol, client: socket.socket) -> None:
        self.protocol = protocol
        self.client = client

    async def send(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.client, data)
        for _ in range(5):  # both ends run on this loop: let the server run
            await asyncio.sleep(0)

    async def read(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.client, 65536), 10)

    def waiting(self) -> bytes:
        """The bytes of answers that have arrived, without waiting for more."""
        try:
            return self.client.recv(65536)
        except BlockingIOError:
            return b"(nothing)"

    @property
    def state(self) -> str:
        """The connection's `repr` without its class and the client's port."""
        return repr(self.protocol).partition(": ")[2].removesuffix(">")


@asynccontextmanager
async def connect(app: Any) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    config = Config(app, http=TritonProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    config.loaded_app = app
    protocol = TritonProtocol({}, config=config, server_state=ServerState(), app_state={}, _loop=loop)
    server, client = socket.socketpair()
    client.setblocking(False)
    transport, _ = await loop.create_connection(lambda: protocol, sock=server)
    with client:
        yield Connection(protocol, client)
    transport.abort()
    for task in protocol.tasks:
        task.cancel()
    await asyncio.sleep(0)


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the body, then answers 200 without one; `/never` is not answered."""
    while (await receive())["more_body"]:
        pass
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": ((b"Content-Length", b"0"),)})
    await send({"type": "http.response.body", "body": b""})


async def early(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers before it reads the body."""
    await send({"type": "http.response.start", "status": 200, "headers": ((b"Content-Length", b"0"),)})
    await send({"type": "http.response.body", "body": b""})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the body in brackets."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    headers = ((b"Content-Length", b"%d" % (len(body) + 2)),)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"[%b]" % body})


async def half(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Sends a part of an answer."""
    await send({"type": "http.response.start", "status": 200, "headers": ()})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        pytest.param([], "between requests", id="a new connection"),
        pytest.param([b"GET /ask HT"], "reading a head", id="a part of a head"),
        pytest.param([GET], "between requests, <TritonCycle GET /ask: answered>", id="a request"),
        pytest.param(
            [b"POST /ask HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"],
            "reading a body, <TritonCycle POST /ask: not answered, body incomplete>",
            id="a part of a body",
        ),
        pytest.param(
            [b"GET /never HTTP/1.1\r\n\r\n"],
            "between requests, <TritonCycle GET /never: not answered>",
            id="a request in flight",
        ),
        pytest.param(
            [b"GET /never HTTP/1.1\r\n\r\n", b"POST /ask HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"],
            "reading a request that gets no answer, <TritonCycle GET /never: not answered>",
            id="a part of a pipelined request",
        ),
        pytest.param(
            [b"GET /ask HTTP/1.1\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"],
            "between requests, <TritonCycle GET /ask: answered>",
            id="an offer to upgrade",
        ),
        pytest.param(
            [OFFER + b"Content-Length: 4\r\n\r\nab"],
            "reading a body, <TritonCycle POST /echo: not answered, body incomplete>",
            id="a part of a body after an offer to upgrade",
        ),
        pytest.param(
            [b"GET /never HTTP/1.1\r\n\r\n", OFFER + b"Content-Length: 4\r\n\r\nab"],
            "reading a request that gets no answer, <TritonCycle GET /never: not answered>",
            id="a part of a pipelined offer to upgrade",
        ),
        pytest.param(
            [GET + b"garbage\r\n"],
            "after garbage, <TritonCycle GET /ask: answered>",
            id="garbage after a request",
        ),
        pytest.param([b"\r\n" + GET], "silent", id="an empty line before a request"),
        pytest.param(
            [b"GET /ask\r\n\r\n"], "after a request line without a version", id="a line without a version"
        ),
        pytest.param(
            [b"FOO /ask\r\n\r\n"],
            "after a request line without a version",
            id="the same with an unknown method",
        ),
        pytest.param([b"GET /ask\r\n\r\n", b"\r\n"], "silent", id="an empty line after it"),
    ],
)
async def test_a_connection_shows_its_state(sent: list[bytes], state: str) -> None:
    async with connect(answer) as connection:
        for piece in sent:
            await connection.send(piece)
        assert connection.state == state


async def test_an_answer_before_the_body_leaves_the_connection_reading() -> None:
    async with connect(early) as connection:
        await connection.send(b"POST /ask HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
        assert connection.state == "reading a body, <TritonCycle POST /ask: answered, body incomplete>"
        await connection.send(b"cd")
        assert connection.state == "between requests, <TritonCycle POST /ask: answered, body incomplete>"


async def test_a_client_that_leaves_is_shown() -> None:
    async with connect(half) as connection:
        await connection.send(GET)
        assert connection.state == "between requests, <TritonCycle GET /ask: being answered>"
        connection.client.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert connection.state == "between requests, <TritonCycle GET /ask: being answered, disconnected>"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([b"\r\n", GET], id="an empty line, then a request"),
        pytest.param([b"\r\n", b"x"], id="an empty line, then garbage"),
        pytest.param(
            [b"GET /ask\r\n\r\n", b"\r\n", GET], id="a line without a version, an empty one, a request"
        ),
        pytest.param([b"GET /ask\r\n\r\n", b"\r\n" + GET], id="the last two in one piece"),
    ],
)
async def test_a_silent_connection_stays_open_and_answers_nothing(sent: list[bytes]) -> None:
    async with connect(answer) as connection:
        for piece in sent:
            await connection.send(piece)
        assert (connection.state, connection.waiting()) == ("silent", b"(nothing)")


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"GET /ask\r\n\r\n", id="alone"),
        pytest.param(b"FOO /ask\r\n\r\n", id="with a method that nobody knows"),
        pytest.param(b"GET /ask\r\nHost: a\r\n\r\n", id="with a header"),
        pytest.param(b"GET /ask\r\n\r\n" + GET, id="before a request"),
        pytest.param(b"GET /ask\r\n\r\ngarbage\r\n\r\n", id="before garbage"),
    ],
)
@pytest.mark.parametrize("more", [[GET], [b"x"], [b" "], [b"\r", GET], [b"\n", GET]])
async def test_a_line_without_a_version_closes_the_connection_when_more_comes(
    first: bytes, more: list[bytes]
) -> None:
    async with connect(answer) as connection:
        for piece in (first, *more[:-1]):
            await connection.send(piece)
            assert connection.waiting() == b"(nothing)"
        await connection.send(more[-1])
        assert await connection.read() == b""


async def test_a_line_without_a_version_after_an_answer_before_the_body() -> None:
    async with connect(early) as connection:
        await connection.send(b"POST /ask HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        await connection.read()
        await connection.send(b"GET /ask\r\n")
        assert connection.state.startswith("after a request line without a version")


@pytest.mark.parametrize(
    "line",
    [
        b"GET /ask HTTP/0.9\r\n\r\n",
        b"GET /ask HTTP/0.8\r\n\r\n",
        b"FOO /ask HTTP/0.9\r\n\r\n",
        b"GET /ask HTTP/0",
    ],
)
@pytest.mark.parametrize("before", [[], [GET]], ids=["first", "after a request"])
async def test_a_version_before_1_closes_the_connection(line: bytes, before: list[bytes]) -> None:
    async with connect(answer) as connection:
        for piece in before:
            await connection.send(piece)
            await connection.read()
        await connection.send(line)
        assert await connection.read() == b""


async def test_a_version_before_1_in_two_pieces_closes_the_connection_too() -> None:
    async with connect(answer) as connection:
        await connection.send(b"GET /ask HTT")
        await connection.send(b"P/0.8\r\n\r\n")
        assert await connection.read() == b""


@pytest.mark.parametrize(
    ("version", "kept"),
    [(b"1.0", False), (b"1.1", True), (b"1.2", True), (b"2.0", False), (b"2.1", True), (b"9.9", True)],
)
async def test_a_version_that_ends_in_0_closes_by_default(version: bytes, kept: bool) -> None:
    async with connect(answer) as connection:
        await connection.send(b"GET /ask HTTP/%b\r\n\r\n" % version)
        assert (await connection.read()).startswith(b"HTTP/%b 200 OK\r\n" % version)
        if kept:
            await connection.send(GET)
        assert (await connection.read() != b"") == kept


async def test_garbage_after_a_request_closes_the_connection_when_more_comes() -> None:
    async with connect(answer) as connection:
        await connection.send(GET + b"garbage")
        assert await connection.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        assert connection.waiting() == b"(nothing)"
        await connection.send(GET)
        assert await connection.read() == b""


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        pytest.param(b"Content-Length: 4\r\n\r\nabcd", b"abcd", id="a length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", b"abcd", id="chunks"
        ),
        pytest.param(b"\r\n", b"", id="no body"),
    ],
)
async def test_an_offer_to_upgrade_is_answered_as_the_plain_request_wherever_it_is_cut(
    rest: bytes, body: bytes
) -> None:
    request, answered = (
        OFFER + rest,
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n[%b]" % (len(body) + 2, body),
    )
    async with connect(echo) as connection:
        for cut in range(1, len(request) + 1):
            await connection.send(request[:cut])
            if request[cut:]:
                await connection.send(request[cut:])
            assert await connection.read() == answered


async def test_many_offers_to_upgrade_in_one_read_are_pipelined_requests() -> None:
    offer = OFFER + b"Content-Length: 4\r\n\r\nabcd"
    async with connect(echo) as connection:
        await connection.send(offer * 3 + offer[:-1])
        assert await connection.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n[abcd]"
        await connection.send(b"d")
        assert (connection.waiting(), connection.state) == (
            b"(nothing)",
            "between requests, <TritonCycle POST /echo: answered>",
        )
        await connection.send(offer)
        assert await connection.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n[abcd]"
