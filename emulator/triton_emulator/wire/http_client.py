"""An HTTP/1 client that hands on what a server sends: every byte as it came, with what a parser makes of it beside.

The libraries for HTTP clients give an answer as values: they join chunks, fold headers and decode bodies. Here the
bytes themselves go on to a client of ours, at once. So this is a connection and a pool, and httptools, which reads
requests already (`http_protocol`), says where the head, the chunks and the end of an answer are.

A connection serves one request at a time. It goes back to the pool where its answer has ended as both sides expect.
"""

import asyncio
import os
import select
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools

from triton_emulator.wire.operations import Head

#: bytes that have come and are not read, beyond which the connection is not read on
_HIGH_WATER = 1 << 16
#: bytes of a chunk that has not ended, beyond which its beginning is a piece by itself
_LONGEST_PIECE = 1 << 20
_LONGEST_HEAD = 1 << 20
#: seconds after which the answer to a HEAD is taken to have no body
_HEAD_S = 1.0
#: seconds for a connection to be made, at most
_CONNECT_S = 10.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: how an alert of TLS begins, and the frame with which a server of HTTP/2 begins
_TLS_ALERT = b"\x15\x03"
_HTTP2_SETTINGS = b"\x04"
_NO_BODY = (204, 304)


class UpstreamError(Exception):
    """A server does not answer as it should. `reset` says that it has reset the connection."""

    def __init__(self, text: str, *, reset: bool = False) -> None:
        super().__init__(text)
        self.reset = reset


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server is. `path` comes before the path of each request; it has no slash at its end."""

    host: str
    port: int
    tls: bool = False
    path: str = ""

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin that a URL names, `http://host:port` with or without a path. Raises ValueError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as fault:
            raise ValueError(f"{url!r} is no URL: {fault}") from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of an HTTP server; write http://host:port")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{url!r} has more than a host, a port and a path; write http://host:port")
        if not parts.path.isascii() or any(character.isspace() for character in url):
            raise ValueError(f"{url!r} has a character that no URL has")
        return cls(
            parts.hostname,
            port or _DEFAULT_PORTS[parts.scheme],
            parts.scheme == "https",
            parts.path.rstrip("/"),
        )

    @property
    def authority(self) -> str:
        """The value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"


@dataclass(slots=True)
class Part:
    """What one read has brought of an answer.

    `raw` is all of it. `head` is there where it was completed by these bytes. `pieces` are those of the body: whole
    chunks where it is chunked. `last` says that the answer is complete.
    """

    raw: bytes
    head: Head | None = None
    pieces: list[bytes] = field(default_factory=list)
    last: bool = False


class Connection(asyncio.Protocol):
    """A connection to a server. `write` the request, `read` its answer, then give it back to its pool or `abort` it."""

    def __init__(self, origin: Origin, timeout: float) -> None:
        self._origin = origin
        self._timeout = timeout
        self._transport: asyncio.Transport
        self._parts: deque[Part] = deque()
        self._queued = 0
        self._waiter: asyncio.Future[None] | None = None
        #: set while the transport has too much to write
        self._drained: asyncio.Future[None] | None = None
        #: why nothing more can be read
        self._fault: UpstreamError | None = None
        self.closed = False
        self._paused = False
        #: whether it is that to a HEAD: Triton sends a body then, and servers that follow the RFC do not
        self._asks_head = False
        #: whether an answer is awaited, or its rest
        self._asked = False
        #: whether the request has been written to its end
        self.is_sent = False
        self._begin()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "asked" if self._asked else "idle"
        return f"<Connection {self._origin} {state}>"

    def _begin(self) -> None:
        """Expect a new answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_headers=True, lenient_keep_alive=True)
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: Head | None = None
        self._status = 0
        self._pieces: list[bytes] = []
        #: what has come of a head that is not complete: it may turn out to be none
        self._held = b""
        self._chunk: list[bytes] = []
        self._chunk_size = 0
        self._chunked = False
        #: whether the end of the body is the end of the connection
        self._until_closed = False
        self._seen_head = False
        self._complete = False
        #: whether the server keeps the connection after the answer
        self.keeps = False

    # --- of the one who asks ---

    def ask(self, head: bytes) -> None:
        """Begin a request: its request line and its headers, to the empty line. `sent` or `fail` tells its end."""
        self._begin()
        self._asked, self.is_sent = True, False
        self._asks_head = head.startswith(b"HEAD ")
        if not self.closed:
            self._transport.write(head)

    async def write(self, data: bytes) -> None:
        """Write a piece of the body, and wait while much is not written. Where the server has gone, `read` tells so."""
        if not self.closed:
            self._transport.write(data)
        if self._drained is not None and not self.closed:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._drained
            except TimeoutError:
                raise UpstreamError(f"{self._origin} has read nothing for {self._timeout:g} s") from None

    def sent(self) -> None:
        """The request is written to its end: from now on the server may be silent for the timeout and no longer."""
        self.is_sent = True
        self._rouse()

    def fail(self, fault: UpstreamError) -> None:
        """The request cannot be written to its end. `read` raises this, unless an answer has come all the same."""
        if self._seen_head:
            self.sent()
            self.keeps = False
        else:
            self._fail(fault)

    async def read(self) -> Part:
        """The next part of the answer, which may come before the request is sent. Raises UpstreamError."""
        while not self._parts:
            if self._fault is not None:
                raise self._fault
            self._waiter = asyncio.get_running_loop().create_future()
            bodiless = self._asks_head and self._seen_head
            patience = min(self._timeout, _HEAD_S) if bodiless else self._timeout
            try:
                async with asyncio.timeout(patience if self.is_sent else None):
                    await self._waiter
            except TimeoutError:
                if bodiless:  # what may come yet nobody can tell, so the connection is not kept
                    self._asked = False
                    return Part(b"", last=True)
                raise UpstreamError(f"{self._origin} has sent nothing for {self._timeout:g} s") from None
            finally:
                self._waiter = None
        part = self._parts.popleft()
        self._queued -= len(part.raw)
        if self._paused and self._queued <= _HIGH_WATER and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return part

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come, an end among it, that the event loop has yet to see."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN | select.POLLHUP)
        return not poll.poll(0)

    def abort(self) -> None:
        """Close the connection at once: nobody wants the answer any more."""
        self.closed = True
        self._fail(UpstreamError(f"the connection to {self._origin} was given up"))
        self._transport.abort()

    # --- asyncio's callbacks ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            self._fail(self._no_http(data))
            self.abort()
            return
        self._head, self._pieces = None, []
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:  # else more bytes have come than the answer has
                self._fail(self._no_http(data))
                self.abort()
                return
            self.keeps = False
        if self._held:
            data = self._held + data
        if self._seen_head:
            self._held = b""
            self._push(Part(data, self._head, self._pieces, self._complete))
        elif len(data) <= _LONGEST_HEAD:
            self._held = data
        else:
            self._fail(UpstreamError(f"{self._origin} has sent a head of more than {_LONGEST_HEAD} bytes"))
            self.abort()

    def _no_http(self, data: bytes) -> UpstreamError:
        if self._seen_head:
            return UpstreamError(f"{self._origin} has sent an answer whose body is not as HTTP frames one")
        if data.startswith(_TLS_ALERT):
            return UpstreamError(f"{self._origin} speaks TLS; write https:// in place of http://")
        if data[3:4] == _HTTP2_SETTINGS and data[:1] == b"\0":
            return UpstreamError(
                f"{self._origin} speaks HTTP/2, as a gRPC port does; it is no HTTP port of a Triton"
            )
        return UpstreamError(f"{self._origin} does not speak HTTP; its answer begins with {data[:32]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.resume_writing()
        if not self._asked:
            return
        if self._until_closed and exc is None:
            self._asked = False
            self._push(Part(b"", last=True))
            return
        how = "has reset" if exc is not None else "has closed"
        where = "in the middle of its answer" if self._seen_head else "before it has answered"
        self._fail(UpstreamError(f"{self._origin} {how} the connection {where}", reset=exc is not None))

    def _push(self, part: Part) -> None:
        self._parts.append(part)
        self._queued += len(part.raw)
        if self._queued > _HIGH_WATER and not (self._paused or self.closed):
            self._paused = True
            self._transport.pause_reading()
        self._rouse()

    def _fail(self, fault: UpstreamError) -> None:
        if self._fault is None:
            self._fault = fault
        self._rouse()

    def _rouse(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if self._complete:  # a second answer; `data_received` gets it as an error of the parser
            raise UpstreamError(f"{self._origin} has sent more than its answer")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._seen_head:  # after the body they are trailers
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # it comes before the answer
            return
        self._seen_head = True
        self._status = status
        names = {name.lower(): value for name, value in self._headers}
        self._chunked = b"chunked" in names.get(b"transfer-encoding", b"").lower()
        self._until_closed = not self._chunked and b"content-length" not in names and status not in _NO_BODY
        self._head = Head(status, tuple(self._headers))

    def on_body(self, body: bytes) -> None:
        if not self._chunked:
            self._pieces.append(body)
            return
        self._chunk.append(body)
        self._chunk_size += len(body)
        if self._chunk_size > _LONGEST_PIECE:
            self.on_chunk_complete()

    def on_chunk_complete(self) -> None:
        if self._chunk:
            self._pieces.append(b"".join(self._chunk))
            self._chunk, self._chunk_size = [], 0

    def on_message_complete(self) -> None:
        if self._seen_head:
            self._complete, self._asked = True, False
            self.keeps = not self._until_closed and self._parser.should_keep_alive()


class HttpClient:
    """Connections to one server. `timeout` is how long, in seconds, it may be silent in the middle of an exchange."""

    def __init__(self, origin: Origin, timeout: float) -> None:
        self.origin = origin
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<HttpClient {self.origin}, idle connections: {len(self._idle)}>"

    async def connect(self) -> Connection:
        """A connection that nobody uses. Raises UpstreamError where the server cannot be reached."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.is_quiet:
                return connection
            connection.abort()
        return await self._new()

    async def _new(self) -> Connection:
        origin = self.origin
        if origin.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(min(self._timeout, _CONNECT_S)):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(origin, self._timeout), origin.host, origin.port, ssl=self._tls
                )
        except TimeoutError:
            raise UpstreamError(f"{origin} cannot be reached: it does not answer") from None
        except ssl.SSLCertVerificationError as fault:
            raise UpstreamError(
                f"{origin} has a certificate that is not trusted: {fault.verify_message}"
            ) from None
        except (ssl.SSLError, ConnectionResetError) as fault:
            if not origin.tls:
                raise UpstreamError(f"{origin} cannot be reached: {_reason(fault)}", reset=True) from None
            raise UpstreamError(f"{origin} does not speak TLS; write http:// in place of https://") from None
        except OSError as fault:
            raise UpstreamError(f"{origin} cannot be reached: {_reason(fault)}") from None
        return connection

    def give_back(self, connection: Connection) -> None:
        """The answer has ended: keep the connection for the next request, where both sides keep it.

        A server that has answered early waits for the rest of the request, and would take the next one as that.
        """
        if connection.keeps and connection.is_sent and not connection.closed:
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().abort()


def _reason(fault: OSError) -> str:
    """Why a connection was not made, in the system's words, without the address that asyncio adds."""
    if fault.errno is not None and fault.errno > 0:
        return os.strerror(fault.errno)
    return fault.strerror or str(fault)


async def fetch(client: HttpClient, target: str, accept: int = 1 << 20) -> tuple[Head, bytes]:
    """GET a path. Raises UpstreamError where there is no answer, or one of more than `accept` bytes."""
    connection = await client.connect()
    try:
        line = f"GET {client.origin.path}{target} HTTP/1.1\r\nHost: {client.origin.authority}\r\n\r\n"
        connection.ask(line.encode())
        connection.sent()
        head: Head | None = None
        body: list[bytes] = []
        while True:
            part: Any = await connection.read()
            head = head or part.head
            body += part.pieces
            if sum(map(len, body)) > accept:
                raise UpstreamError(f"{client.origin}{target} answers more than {accept} bytes")
            if part.last:
                break
    except BaseException:
        connection.abort()
        raise
    client.give_back(connection)
    assert head is not None  # noqa: S101
    return head, b"".join(body)
