"""The connection pool: sends each request on an idle connection to its server, or on a new one.

Theory of operation
-------------------

A connection is in one of two places. While it answers a request it is only in `_all`. While it is idle it is in `_idle`
too, under its address: host, port, TLS settings and forward proxy. All of it happens on one event loop, without locks.

There is no upper limit for connections, active or idle: a limit would make requests wait where nobody sees it. The
proxy limits requests before they come here, and Triton limits what it accepts.

`send` takes the connection that became idle last. The others age at the left end of the queue, so that after a rush
those that are no longer needed pass KEPT seconds, and `keep` closes them. No timer does this: a pool that is not used
keeps its idle connections until the server closes them.

A server may close an idle connection at the moment at which a request is sent on it. The pool does not repeat such a
request; the error says `retryable`, and the caller's steps decide.

A connection tells the pool of two events: `keep`, its answer has ended and it can be used again; `forget`, its TCP
connection is closed, in whatever state it was.
"""

import asyncio
import os
import re
import socket
from collections import deque
from time import monotonic

from triton_adapter.errors import BadRequestError, ServiceUnavailableError
from triton_adapter.steps import HttpReply, HttpRequest
from triton_adapter.tls import context
from triton_adapter.transport.address import Address, address_of, pool_key, request_bytes
from triton_adapter.transport.connection import Connection
from triton_adapter.transport.forward import ForwardProxy, Tunnel, environment

CONNECT_TIMEOUT = 10.0
# Bytes of a body, unless it is a stream, above which it is taken to have no end. No other thread runs while JSON is
# parsed: about a second for 64 MiB of numbers.
LONGEST_BODY = 1 << 26


class Pool:
    """Connections by address. It belongs to one event loop. `longest` limits the bytes of a body."""

    def __init__(self, longest: int = LONGEST_BODY) -> None:
        self.longest = longest
        self._proxies = environment()
        self._idle: dict[Address, deque[Connection]] = {}
        self._all: set[Connection] = set()

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        return f"<Pool [{len(self._all) - idle} active, {idle} idle]>"

    async def send(self, wire: HttpRequest) -> HttpReply:
        """Perform one request. An AdapterError if no complete answer came."""
        try:
            address = address_of(wire.url, self._proxies)
            data = request_bytes(wire, address)
        except ValueError as error:
            raise BadRequestError("api_base or a header cannot be sent", param="api_base") from error
        key = pool_key(address, wire.tls)
        idle = self._idle.get(key)
        if idle:
            now = monotonic()
            while idle:
                connection = idle.pop()
                if not connection.stale(now):
                    return await connection.ask(wire, data)
                connection.abort()
        connection = await self._connect(key, wire)
        return await connection.ask(wire, data)

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose answer has ended, and close those that have been idle for too long."""
        idle = self._idle.get(connection.address)
        if idle is None:
            idle = self._idle[connection.address] = deque()
        idle.append(connection)
        while idle and idle[0].stale(connection.kept_since):
            idle.popleft().abort()

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._all.discard(connection)
        idle = self._idle.get(connection.address)
        if idle is not None and connection in idle:
            idle.remove(connection)

    async def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in list(self._all):
            connection.abort()
        await asyncio.sleep(0)

    async def _connect(self, address: Address, wire: HttpRequest) -> Connection:
        """Open a connection. ServiceUnavailableError if there is none in time; APIConnectionError for TLS's errors."""
        limit = min(CONNECT_TIMEOUT, (wire.silence if wire.stream else wire.timeout) or CONNECT_TIMEOUT)
        try:
            async with asyncio.timeout(limit):
                connection = await self._connected(address)
        except TimeoutError as error:
            raise ServiceUnavailableError("Triton cannot be reached in the time allowed") from error
        except (OSError, UnicodeError) as error:
            if (refused := address.refusal(error, agreed=False)) is not None:
                raise refused from error
            peer = "Triton" if address.via is None else "the proxy on the way to Triton"
            raise ServiceUnavailableError(
                f"{peer} cannot be reached: {_why(error)}", retry_after=1
            ) from error
        self._all.add(connection)
        return connection

    async def _connected(self, address: Address) -> Connection:
        via = address.via
        if via is not None and address.secure:
            return await self._tunnelled(address, via)
        host, port = (address.host, address.port) if via is None else (via.host, via.port)
        tls = context(address.tls) if address.secure else None
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Connection(self, address), host, port, ssl=tls))[1]

    async def _tunnelled(self, address: Address, via: ForwardProxy) -> Connection:
        """Connect to a forward proxy, ask for a tunnel, and agree on TLS with the server through it."""
        loop = asyncio.get_running_loop()
        transport, tunnel = await loop.create_connection(
            lambda: Tunnel(via, address.host, address.port), via.host, via.port
        )
        try:
            await tunnel.agreed
            connection, tls = Connection(self, address), context(address.tls)
            secured = await loop.start_tls(transport, connection, tls, server_hostname=address.host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:  # the connection was closed at the end of the handshake
            raise ConnectionResetError
        connection.connection_made(secured)
        return connection


def _why(error: OSError | UnicodeError) -> str:
    """Return why no server was reached, without the address that the text of the error holds."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "its name is unknown"
    # If a name has several addresses, asyncio joins the errors of all of them to one text.
    number = error.errno or next(iter(re.findall(r"\[Errno (\d+)\]", str(error))), 0)
    return os.strerror(int(number)).lower() if number else "the connection failed"
