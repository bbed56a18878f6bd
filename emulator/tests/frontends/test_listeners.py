"""The `repr` of listeners: their address, their state, and how many connections they have."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from triton_emulator import Settings
from triton_emulator.frontends.grpc.server import GrpcServer
from triton_emulator.frontends.http.server import HttpServer
from triton_emulator.session.state import SessionState

pytestmark = pytest.mark.anyio


async def greet(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": ((b"Content-Length", b"2"),)})
    await send({"type": "http.response.body", "body": b"hi"})


async def test_the_http_listener_counts_its_connections() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    listener = HttpServer(greet, sock)
    assert repr(listener) == f"<HttpServer 127.0.0.1:{port}, not started>"
    await listener.start()
    assert repr(listener) == f"<HttpServer 127.0.0.1:{port}, listening, connections: 0>"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert repr(listener) == f"<HttpServer 127.0.0.1:{port}, listening, connections: 1>"
    writer.close()
    await listener.close(grace=0)
    assert repr(listener).startswith(f"<HttpServer 127.0.0.1:{port}, closed, ")


async def test_the_grpc_listener_says_its_port_and_state(tmp_path: Path) -> None:
    root = SessionState(Settings(model_repositories=(str(tmp_path),)), asyncio.get_running_loop())
    listener = GrpcServer(root, {}, "127.0.0.1", 0)
    assert repr(listener) == f"<GrpcServer 127.0.0.1:{listener.port}, not started>"
    await listener.start()
    assert repr(listener) == f"<GrpcServer 127.0.0.1:{listener.port}, listening>"
    await listener.close(grace=0)
    assert repr(listener) == f"<GrpcServer 127.0.0.1:{listener.port}, closed>"
