"""Requests whose head a listener has seen before: it reads them without the parser, with the same result."""

import asyncio
import socket
from typing import Any

import pytest

from triton_emulator.frontends.http.server import HttpServer

POST = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
KEEP = b"GET /keep HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
CLOSE = b"GET /close HTTP/1.1\r\nConnection: close\r\n\r\n"
SHOUT = b"GET /shout HTTP/1.1\r\nConnection: CLOSE\r\n\r\n"
OFFER = b"POST /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"
UPGRADE = b"FOO /foo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKS = b"POST /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the path and the body of the request, in brackets."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    answer = b"[%b %b %d]" % (scope["raw_path"], body, len(scope["headers"]))
    headers = ((b"Content-Length", b"%d" % len(answer)),)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _talk(turns: list[tuple[list[bytes], bytes]], app: Any = echo) -> list[bytes]:
    """For each turn send its pieces, each after the server has read the last, and collect the answer up to `]`."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app, listener)
    await server.start()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found = []
    for pieces, _ in turns:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            for _ in range(5):  # both ends run on this loop: let the server run
                await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.readuntil(b"]"), 10)
        found.append(answer[answer.index(b"[") :])
    writer.close()
    await server.close(1)
    return found


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param(
            [([POST + b"abcd"], b"[/echo abcd 2]"), ([POST + b"efgh"], b"[/echo efgh 2]")], id="again"
        ),
        pytest.param([([GET], b"[/echo  1]"), ([GET], b"[/echo  1]")], id="again, without a body"),
        pytest.param(
            [([GET], b"[/echo  1]"), ([GET[:-4], GET[-4:]], b"[/echo  1]")],
            id="a head without its end",
        ),
        pytest.param(
            [([GET], b"[/echo  1]"), ([GET[:-2], GET[-2:]], b"[/echo  1]")],
            id="a head without the last line end",
        ),
        pytest.param(
            [([POST + b"abcd"], b"[/echo abcd 2]"), ([POST + b"ef", b"gh"], b"[/echo efgh 2]")],
            id="a body in two pieces",
        ),
        pytest.param(
            [([POST + b"abcd"], b"[/echo abcd 2]"), ([POST, GET[:4]], b"[/echo GET  2]")],
            id="a body that looks like a head",
        ),
        pytest.param(
            [([POST + b"ab", b"cd"], b"[/echo abcd 2]"), ([POST + b"efgh"], b"[/echo efgh 2]")],
            id="first in two pieces",
        ),
        pytest.param(
            [([CHUNKS], b"[/chunks abc 1]"), ([CHUNKS], b"[/chunks abc 1]"), ([GET], b"[/echo  1]")],
            id="chunks",
        ),
        pytest.param(
            [([KEEP], b"[/keep  1]"), ([KEEP], b"[/keep  1]"), ([CLOSE], b"[/close  1]")],
            id="with Connection: keep-alive",
        ),
        pytest.param(
            [([SHOUT], b"[/shout  1]"), ([GET], b"[/echo  1]"), ([SHOUT], b"[/shout  1]")],
            id="after a head whose Connection: close has no effect",
        ),
        pytest.param(
            [([UPGRADE], b"[/foo  2]"), ([GET], b"[/echo  1]")],
            id="after an upgrade by an unknown method",
        ),
        pytest.param(
            [([OFFER + b"abcd"], b"[/echo abcd 3]"), ([OFFER + b"ef", b"gh"], b"[/echo efgh 3]")] * 2,
            id="an offer to upgrade",
        ),
        pytest.param([([GET + b"junk\r\n\r\n"], b"[/echo  1]")], id="before garbage"),
        pytest.param([([CLOSE + b"{}"], b"[/close  1]")], id="the last, before garbage"),
    ],
)
def test_each_request_is_answered_for_itself(turns: list[tuple[list[bytes], bytes]]) -> None:
    assert asyncio.run(_talk(turns)) == [answer for _, answer in turns]


@pytest.mark.parametrize(
    ("size", "remembered"),
    [pytest.param(500, True, id="a usual head"), pytest.param(1100, False, id="a long head")],
)
def test_only_heads_of_the_usual_size_are_cached(size: int, remembered: bool) -> None:
    scopes: list[dict[str, Any]] = []

    async def watched(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    head = b"GET /echo HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * size)
    answers = asyncio.run(_talk([([head], b""), ([head], b"")], watched))
    assert answers == [b"[/echo  1]"] * 2
    first, second = scopes
    assert (first["headers"] is second["headers"]) == remembered


def test_a_connection_that_is_to_close_closes_each_time() -> None:
    async def talk() -> list[bytes]:
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(echo, listener)
        await server.start()
        found = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(CLOSE)
            found.append(await asyncio.wait_for(reader.read(), 10))
            writer.close()
        await server.close(1)
        return found

    first, second = asyncio.run(talk())
    assert first == second
    assert b"[/close  1]" in first
