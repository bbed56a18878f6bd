"""A raw HTTP client: it sends the bytes it is given and reports everything that it reads from the connection.

It uses no HTTP library, because the spelling of a header, the sizes of chunks and a connection that closes early are
part of what is compared. An exchange is read in two steps: `read_exchange` reads the response, `settle` finds out
whether the connection can still be used. Times are in seconds.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .exchange import Exchange, Response

QUIET_SECONDS = 0.2
"""How long nothing may come before a connection counts as left open (2.51 closes none without saying so)."""
CLOSE_SECONDS = 10.0
"""How long a server may take to close a connection that it said it would close."""
PROBE_SECONDS = 30.0
"""How long the answer to a health request may take, and a connection to open."""
_PROBE = b"GET %s/v2/health/live HTTP/1.1\r\nHost: triton\r\n\r\n"


class _End(Exception):
    """The connection ended, or was silent, while more was expected. The text is an `ending` of an Exchange."""


@dataclass(slots=True)
class Wire:
    """One TCP connection with a read buffer. `deadline` is when reading gives up, in the time of `time.monotonic`."""

    sock: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    deadline: float = 0.0

    @classmethod
    def open(cls, host: str, port: int, timeout: float = PROBE_SECONDS) -> Wire:
        sock = socket.create_connection((host, port), timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def send(self, data: bytes) -> None:
        """Send the data, up to where the server takes nothing for PROBE_SECONDS.

        That it did not take all of it is not an error: it may have answered before. Reading will show that.
        """
        self.sock.settimeout(PROBE_SECONDS)
        rest = memoryview(data)
        with suppress(OSError):
            while rest:
                rest = rest[self.sock.send(rest) :]

    def half_close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def fill(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _End("silent")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise _End("silent") from None
        except OSError:
            raise _End("reset") from None
        if not data:
            raise _End("closed")
        self.buffer += data

    def until(self, mark: bytes) -> bytes:
        """Read up to the mark. The mark is taken from the buffer but not returned."""
        while (at := self.buffer.find(mark)) < 0:
            self.fill()
        data = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return data

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.fill()
        return self.take(size)

    def take(self, size: int | None = None) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[: len(data)]
        return data

    def to_the_end(self, seconds: float) -> str:
        """Read until the peer closes, or is silent for so many seconds. Returns which; the bytes are in the buffer."""
        self.deadline = time.monotonic() + seconds
        while True:
            try:
                self.fill()
            except _End as end:
                return str(end)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an HTTP server: host, port, and the path that all of its routes start with."""

    host: str
    port: int
    base_path: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """The address in a URL. Raises ValueError for anything but plain http://."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not a plain http:// address: {url!r}")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.base_path}"

    def connect(self) -> Wire:
        return Wire.open(self.host, self.port)


def read_exchange(wire: Wire, timeout: float, *, stop_after_chunks: int | None = None) -> Exchange:
    """Read the next response on the connection. `timeout` is for the whole response."""
    wire.deadline = time.monotonic() + timeout
    interim: list[int] = []
    while True:
        try:
            response, ending = _read_response(wire, stop_after_chunks)
        except _End as end:
            return Exchange(None, tuple(interim), str(end), wire.take())
        if response.status // 100 != 1:
            return Exchange(response, tuple(interim), ending)
        interim.append(response.status)


def _read_response(wire: Wire, stop_after_chunks: int | None) -> tuple[Response, str]:
    head = wire.until(b"\r\n\r\n").decode("latin-1")
    first, *lines = head.split("\r\n")
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    status = int(code) if code.isdigit() else 0
    bare = Response(version, status, reason, headers)
    if status // 100 == 1 or status in (204, 304):
        return bare, "open"
    if (bare.header("transfer-encoding") or "").lower() == "chunked":
        return _read_chunks(wire, bare, stop_after_chunks)
    length = bare.header("content-length")
    if length is not None and length.isdigit():
        return _read_length(wire, bare, int(length))
    ending = wire.to_the_end(max(wire.deadline - time.monotonic(), 0))
    body = wire.take()
    return _with(bare, body, "close", complete=ending == "closed"), ending


def _read_length(wire: Wire, bare: Response, length: int) -> tuple[Response, str]:
    try:
        return _with(bare, wire.exactly(length), "content-length"), "open"
    except _End as end:
        return _with(bare, wire.take(), "content-length", complete=False), str(end)


def _read_chunks(wire: Wire, bare: Response, stop_after: int | None) -> tuple[Response, str]:
    pieces: list[bytes] = []

    def so_far(complete: bool) -> Response:
        sizes = tuple(map(len, pieces))
        return _with(bare, b"".join(pieces), "chunked", chunks=sizes, complete=complete)

    try:
        while True:
            if stop_after is not None and len(pieces) >= stop_after:
                return so_far(complete=False), "left"
            size = int(wire.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                wire.until(b"\r\n")
                return so_far(complete=True), "open"
            pieces.append(wire.exactly(size))
            wire.until(b"\r\n")
    except (_End, ValueError) as end:
        return so_far(complete=False), str(end) if isinstance(end, _End) else "broken chunk"


def _with(
    bare: Response, body: bytes, framing: str, *, chunks: tuple[int, ...] = (), complete: bool = True
) -> Response:
    return Response(bare.version, bare.status, bare.reason, bare.headers, body, framing, chunks, complete)


def await_arrival(wire: Wire, wanted: str | int, seconds: float) -> str | None:
    """Wait until the head of an answer has come (`head`), or so many chunks, or see that `nothing` comes.

    What has come stays in the buffer. Returns None, or a text that says what had come when the time was over.
    """
    if wanted == "nothing":
        end = wire.to_the_end(QUIET_SECONDS)
        if end == "silent" and not wire.buffer:
            return None
        return f"nothing was to come, {_progress(wire)} had, then it was {end}"
    wire.deadline = time.monotonic() + seconds
    try:
        while not wire.buffer.count(b"\r\n\r\n") or _chunks_in(wire) < (
            wanted if isinstance(wanted, int) else 0
        ):
            wire.fill()
    except _End as end:
        return f"{wanted} was to come, {_progress(wire)} had, then it was {end}"
    return None


def _progress(wire: Wire) -> str:
    if b"\r\n\r\n" not in wire.buffer:
        return f"{len(wire.buffer)} bytes of a head"
    return f"a head and {_chunks_in(wire)} chunks"


def _chunks_in(wire: Wire) -> int:
    """How many chunks of a body have come whole."""
    body = bytes(wire.buffer).partition(b"\r\n\r\n")[2]
    count = 0
    while True:
        size, line_end, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return count
        if not line_end or not length or len(rest) < length + 2:
            return count
        count, body = count + 1, rest[length + 2 :]


def ask_health(address: Address) -> None:
    """Make a health request on a connection of its own: what was sent before it has most likely been read then."""
    wire = address.connect()
    try:
        wire.send(_PROBE % address.base_path.encode())
        read_exchange(wire, PROBE_SECONDS)
    finally:
        wire.close()


def promises_close(response: Response) -> bool:
    """Whether the response announces that the server closes the connection after it."""
    said = (response.header("connection") or "").lower()
    return (
        said == "close"
        or response.framing == "close"
        or (response.version == "HTTP/1.0" and said != "keep-alive")
    )


def settle(wire: Wire, exchange: Exchange, base_path: str, *, listen: bool) -> Exchange:
    """The exchange with its real ending: whether the connection can be used for another request.

    A health request on the same connection shows that. With `listen` the client only waits for more bytes instead:
    after literal bytes a server could take a further request for a part of them.
    """
    response = exchange.response
    if response is None or exchange.ending != "open":
        return exchange
    if promises_close(response) or listen:
        heard = wire.to_the_end(CLOSE_SECONDS if promises_close(response) else QUIET_SECONDS)
        ending = "open" if heard == "silent" else heard
        return Exchange(response, exchange.interim, ending, wire.take())
    if wire.buffer:
        return Exchange(response, exchange.interim, "open", wire.take())
    wire.send(_PROBE % base_path.encode())
    probe = read_exchange(wire, PROBE_SECONDS)
    return Exchange(response, exchange.interim, "open" if probe.response else probe.ending, probe.extra)
