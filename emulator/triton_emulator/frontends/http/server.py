"""The HTTP listener: uvicorn's protocol class on our own socket, on the event loop that is already running."""

import asyncio
import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from triton_emulator.wire.http_protocol import KnownHead, TritonProtocol

#: Triton never closes an idle connection
_KEEP_ALIVE_SECONDS = 7 * 24 * 3600


class HttpServer:
    """Serves an ASGI callable on a bound socket until it is closed."""

    def __init__(self, app: Any, sock: socket.socket) -> None:
        self._app = app
        self._socket = sock
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        host, port = sock.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __repr__(self) -> str:
        if self._server is None:
            return f"<HttpServer {self._address}, not started>"
        state = "listening" if self._server.is_serving() else "closed"
        return f"<HttpServer {self._address}, {state}, connections: {len(self._state.connections)}>"

    async def start(self) -> None:
        """Listen from now on."""
        loop = asyncio.get_running_loop()
        config = Config(
            self._app,
            http=TritonProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        # uvicorn would wrap the callable to rewrite the headers of proxies, which Triton does not do
        config.loaded_app = self._app

        heads: dict[bytes, KnownHead] = {}

        def protocol() -> TritonProtocol:
            return TritonProtocol(heads, config=config, server_state=self._state, app_state={}, _loop=loop)

        self._server = await loop.create_server(protocol, sock=self._socket, backlog=2048)

    async def close(self, grace: float) -> None:
        """Accept no new connection, let requests in flight finish for up to `grace` seconds, then close the others."""
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=grace)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
