"""Faults of an application that the HTTP listener serves."""

import asyncio
import http.client
import socket
from typing import Any

import pytest

from triton_emulator.frontends.http.server import HttpServer


async def faulty(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["path"] == "/fault":
        raise ZeroDivisionError
    await send({"type": "http.response.start", "status": 200, "headers": ((b"Content-Length", b"0"),)})
    await send({"type": "http.response.body", "body": b""})


def ask(port: int, path: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, answer.headers["Content-Type"], answer.read()
    connection.close()
    return found


def test_a_fault_is_an_error_in_json_and_in_the_log_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def talk() -> list[tuple[int, str | None, bytes]]:
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(faulty, listener)
        await server.start()
        port = listener.getsockname()[1]
        found = [await asyncio.to_thread(ask, port, path) for path in ("/fault", "/")]
        await server.close(1)
        return found

    failed, answered = asyncio.run(talk())
    assert failed == (500, "application/json", b'{"error":"internal error, see the log"}')
    assert answered[0] == 200
    assert "ZeroDivisionError" in caplog.text
