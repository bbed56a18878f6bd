"""Kept connections by address. The proxy's hot path, so no layer too many."""

import asyncio
import os
import re
import socket
from collections import deque
from time import monotonic

from triton_adapter.errors import BadRequestError, ServiceUnavailableError
from triton_adapter.steps import Reply, Wire
from triton_adapter.tls import context
from triton_adapter.transport.connection import Connection
from triton_adapter.transport.forward import Tunnel, environment
from triton_adapter.transport.place import Place, address, place, request_bytes

CONNECT_TIMEOUT = 10.0
# Bytes at which a body that is no stream is taken to have no end.
LONGEST_BODY = 1 << 28


class Pool:
    """Connections by address. As many as are needed: every limit here would be a queue nobody sees."""

    def __init__(self, longest: int = LONGEST_BODY) -> None:
        self.longest = longest
        self._routes = environment()
        self._kept: dict[Place, deque[Connection]] = {}
        self._all: set[Connection] = set()

    async def send(self, wire: Wire) -> Reply:
        """Perform one request. An AdapterError if no whole answer came."""
        try:
            where = place(wire.url, self._routes)
            data = request_bytes(wire, where)
        except ValueError as error:
            raise BadRequestError("api_base or a header cannot be sent", param="api_base") from error
        key = address(where, wire.tls)
        kept = self._kept.get(key)
        if kept:
            now = monotonic()
            while kept:
                connection = kept.pop()
                if not connection.stale(now):
                    return await connection.ask(wire, data)
                connection.abort()
        connection = await self._connect(key, wire)
        return await connection.ask(wire, data)

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose answer has ended."""
        kept = self._kept.get(connection.key)
        if kept is None:
            kept = self._kept[connection.key] = deque()
        kept.append(connection)
        # The last one kept is the next one asked: those that only a rush needed grow old at the other end.
        while kept and kept[0].stale(connection.kept_since):
            kept.popleft().abort()

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that is closed."""
        self._all.discard(connection)
        kept = self._kept.get(connection.key)
        if kept is not None and connection in kept:
            kept.remove(connection)

    async def close(self) -> None:
        """Close every connection."""
        self._kept.clear()
        for connection in list(self._all):
            connection.abort()
        await asyncio.sleep(0)

    async def _connect(self, key: Place, wire: Wire) -> Connection:
        limit = min(CONNECT_TIMEOUT, (wire.silence if wire.stream else wire.timeout) or CONNECT_TIMEOUT)
        try:
            async with asyncio.timeout(limit):
                connection = await self._connected(key)
        except TimeoutError as error:
            raise ServiceUnavailableError("Triton cannot be reached in the time allowed") from error
        except (OSError, UnicodeError) as error:
            if (refused := key.refusal(error, agreed=False)) is not None:
                raise refused from error
            whom = "Triton" if key.via is None else "the proxy on the way to Triton"
            raise ServiceUnavailableError(
                f"{whom} cannot be reached: {_why(error)}", retry_after=1
            ) from error
        self._all.add(connection)
        return connection

    async def _connected(self, key: Place) -> Connection:
        loop = asyncio.get_running_loop()
        if key.via is None or not key.secure:
            host, port = (key.host, key.port) if key.via is None else (key.via.host, key.via.port)
            tls = context(key.tls) if key.secure else None
            return (await loop.create_connection(lambda: Connection(self, key), host, port, ssl=tls))[1]
        via = key.via
        transport, tunnel = await loop.create_connection(
            lambda: Tunnel(via, key.host, key.port), via.host, via.port
        )
        try:
            await tunnel.agreed
            connection = Connection(self, key)
            secured = await loop.start_tls(transport, connection, context(key.tls), server_hostname=key.host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:  # it was closed as soon as it was there
            raise ConnectionResetError
        connection.connection_made(secured)
        return connection


def _why(error: OSError | UnicodeError) -> str:
    """Return why nobody was reached, without the address that the error's own text holds."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "its name is unknown"
    # Where a name has several addresses, the errors of all of them are one text (asyncio).
    number = error.errno or next(iter(re.findall(r"\[Errno (\d+)\]", str(error))), 0)
    return os.strerror(int(number)).lower() if number else "the connection failed"
