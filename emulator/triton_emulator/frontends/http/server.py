"""The HTTP listener: uvicorn's protocol class on our own socket, on the event loop that is already running."""

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from uvicorn.config import Config
from uvicorn.server import ServerState

from triton_emulator.frontends.session_path import session_path
from triton_emulator.protocol.personality import NO_LIMIT
from triton_emulator.wire.chunk_limit import ChunkCountingProtocol
from triton_emulator.wire.http_protocol import KnownHead, TritonProtocol

#: Triton never closes an idle connection
_KEEP_ALIVE_SECONDS = 7 * 24 * 3600
#: how long a server that is drained waits before it looks again whether requests are at work; Triton waits a second
_AGAIN_SECONDS = 0.01


App = TypeVar("App", bound=Callable[..., Any])


class Reset(asyncio.Protocol):
    """A new connection while the server is drained: it is reset."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close without the usual end of a connection."""
        linger_not = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        transport.close()


class HttpServer(Generic[App]):
    """Serves an ASGI callable on a bound socket, or on connections that it is given, until it is closed."""

    def __init__(
        self,
        app: App,
        sock: socket.socket | None,
        max_chunks: int = NO_LIMIT,
        ended: Callable[[], None] | None = None,
    ) -> None:
        """`max_chunks` is the number of chunks that the body of a request may have.

        Without a socket it serves what `serve` is called with. `ended` is called at the end of each connection.
        """
        self.app = app
        self._max_chunks = max_chunks
        self._ended = ended
        self._socket = sock
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        #: makes the protocol of a new connection
        self._connect: Callable[[], asyncio.Protocol] = Reset
        self._address = "without a port" if sock is None else _spelt(sock)

    def __repr__(self) -> str:
        if self._server is not None:
            state = "listening" if self._server.is_serving() else "closed"
        elif self._socket is not None:
            return f"<HttpServer {self._address}, not started>"
        else:
            state = "on connections of another process"
        return f"<HttpServer {self._address}, {state}, connections: {len(self._state.connections)}>"

    async def start(self) -> None:
        """Listen from now on."""
        loop = asyncio.get_running_loop()
        config = Config(
            self.app,
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
        config.loaded_app = self.app

        heads: dict[bytes, KnownHead] = {}

        shared: dict[str, Any] = {
            "heads": heads,
            "config": config,
            "server_state": self._state,
            "app_state": {},
            "_loop": loop,
            "ended": self._ended,
        }
        if self._max_chunks == NO_LIMIT:
            self._connect = partial(TritonProtocol, **shared)
        else:
            self._connect = partial(ChunkCountingProtocol, most=self._max_chunks, **shared)
        if self._socket is not None:
            self._server = await loop.create_server(self._accept, sock=self._socket, backlog=2048)

    async def serve(self, connection: socket.socket) -> None:
        """Serve a connection that another process has accepted. Raises OSError if it is gone already."""
        await asyncio.get_running_loop().connect_accepted_socket(self._accept, connection)

    async def drain(self, grace: float) -> None:
        """Reset new connections, and serve the open ones on while a request is at work, for up to `grace` seconds."""
        self._connect = Reset
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        while loop.time() < end and any(  # noqa: ASYNC110  (no one event tells that no request is at work)
            isinstance(connection, TritonProtocol) and connection.at_work
            for connection in self._state.connections
        ):
            await asyncio.sleep(_AGAIN_SECONDS)

    def _accept(self) -> asyncio.Protocol:
        return self._connect()

    def cut(self, session: str) -> None:
        """Close the connections on which a request to this session is not answered, and end the work on it."""
        path = session_path(session)
        for connection in list(self._state.connections):
            if isinstance(connection, TritonProtocol):
                connection.cut(path)

    async def close(self, grace: float) -> None:
        """Accept no new connection, let requests in flight finish for up to `grace` seconds, then close the others."""
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=grace)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()


def _spelt(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
