"""uvicorn's HTTP/1.1 protocol with limits for slow or endless requests and for clients that do not read.

What is not HTTP, or comes too late, is answered with OpenAI's error object, and the connection is closed.

Theory of operation
-------------------

uvicorn's protocol parses requests and runs the application; a subclass adds these things to it.

Limits of time. `Waiting` says which part of a request has not come completely:

    HEAD  --end of the headers--> BODY  --end of the body--> NOTHING  --first byte of the next request--> HEAD

The parser reports these changes by callbacks, several of which may come within one `data_received`. Only after all of
them the timer is looked at: `_timed` is the part that it was started for, and if that is another part by now it is
started anew. So a request that comes in one segment, as most do, costs no timer. NOTHING has none: uvicorn closes idle
connections itself. When the timer fires:

- HEAD: 408, or only the end of the connection if it never began a request.
- BODY: the timer goes on while SLOWEST bytes per second come. After that the application's read of the body ends, with
  LATE in the scope, and the application answers. If the request is answered already, the connection is closed.
- A client that does not read has a timer of its own, from `pause_writing` to `resume_writing`. It ends in an abort.

One request at a time. A client may send requests before it has the answers to those before (pipelined). What comes
while a request is answered stays in `_ahead`, and the parser gets it after the answer. So an error in one request never
gets into the answer to another, and `cycle` is always the request that is answered, the only one that uvicorn tells
that the client has left. Reading goes on meanwhile, as nothing else shows that a client leaves. More than AHEAD bytes
are dropped, and the connection is closed after the answer.

For that the parser gets its bytes in pieces, none of which goes beyond the end of a head or of a body. A head ends with
an empty line, and so does a body in chunks; another body has a length. The beginning of an empty line at the end of a
segment stays in `_ahead` until the rest has come.

Limits of size. `_bare` counts the bytes since the last of a body: a head or trailers of more than LARGEST_HEAD are 431.

No upgrades. The parser of httptools takes no body of a request with an Upgrade header, and Java's own client sends one
(h2c) with the first request of every connection. So the header is renamed before the parser sees it. The beginning of
its line at the end of a segment stays in `_ahead` too.

Answers are written by `Gathered`, which sends an answer's head and body in one segment.
"""

import asyncio
import re
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triton_adapter.errors import AdapterError, BadRequestError
from triton_adapter.proxy.http import LATE, error_headers, new_request_id

# Bytes of a request's line and headers, and of what is no body in a row after them: chunk lines, trailers.
LARGEST_HEAD = 64 << 10
_EMPTY_LINE = b"\r\n\r\n"
_BREAKS = re.compile(rb"[\r\n]+")
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
# The beginning of an empty line or of the header's line at the end of the bytes, and the most bytes that it has.
_CUT = re.compile(rb"\r(?:\n(?:\r|u(?:p(?:g(?:r(?:a(?:d(?:e)?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
_LONGEST_CUT = 9
# Bytes per second at which a body gets more time.
SLOWEST = 16 << 10
# Bytes that are kept of further requests while one is answered.
AHEAD = 256 << 10
# The most bytes of an answer that are held back.
GATHERED = 64 << 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds for a request's line and headers to come, for its body, and for a client to take what it is sent."""

    head: float = 60.0
    body: float = 60.0
    sending: float = 60.0


class Gathered:
    """Collects writes until the next turn of the loop, so that an answer's head and body are sent together."""

    __slots__ = ("_loop", "_parts", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Write, together with the other writes of this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > GATHERED:
            self.flush()

    def flush(self) -> None:
        """Write what was held back."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts, self._size = [], 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Close, once all is written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the connection is closed or about to be."""
        return self._transport.is_closing()


class Waiting(Enum):
    """The part of a request that has not come completely."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *given: Any, bounds: Bounds, **named: Any) -> None:
        super().__init__(*given, **named)
        self._bounds = bounds
        self._begun = False  # a request has begun on this connection
        # The part of the request that is waited for: its bytes so far, and its timer.
        self._waiting = self._timed = Waiting.HEAD
        self._size = 0
        self._since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        # Bytes that the parser does not have yet, and those that it has since the last of a body.
        self._ahead = bytearray()
        self._bare = 0
        # Bytes of the body that have not come, None if it has no length.
        self._left: int | None = None
        # The timer of a client that does not read.
        self._sending: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        waiting = self._waiting.name if self._begun else "FIRST REQUEST"
        size, ahead = self._size, len(self._ahead)
        if not self._answering():
            size, ahead = size + ahead, 0
        more = f", {ahead} bytes ahead" if ahead else ""
        sending = "" if self._sending is None else ", client does not read"
        return f"<Protocol [waiting for {waiting}, {size} bytes of it{more}{sending}]>"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._gathered = Gathered(transport, self.loop)
        self._time(Waiting.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and tell the request that its client has left."""
        for timer in (self._timer, self._sending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data, within the limits for time and size."""
        if self.transport.is_closing():  # TLS reads on until the connection is closed
            return
        self._ahead += data
        self._parse()
        if len(self._ahead) > AHEAD and self._answering():
            self._ahead.clear()
            self.cycle.keep_alive = False

    def _answering(self) -> bool:
        """Tell whether a request has come completely and its answer is not complete."""
        return self._waiting is Waiting.NOTHING and not self.cycle.response_complete

    def _parse(self) -> None:
        """Give the parser what has come, up to the end of a request that is not answered."""
        while self._ahead and not self._answering() and not self.transport.is_closing():
            if not (piece := self._piece()):
                break
            self._size += len(piece)
            self._bare += len(piece)
            if self._waiting is Waiting.BODY or self._bare <= LARGEST_HEAD:
                super().data_received(piece)
            if self._bare > LARGEST_HEAD:
                self._refuse(
                    BadRequestError("The headers are too large", status_code=431, code="headers_too_large")
                )
        if self._waiting is not self._timed:
            self._time(self._waiting)

    def _piece(self) -> bytes:
        """Take the bytes that the parser may have now; none of them is after the end of a head or of a body."""
        ahead = self._ahead
        if self._waiting is Waiting.BODY:
            if self._left is None:
                return self._take(self._line_end())
            end = min(self._left, len(ahead))
            self._left -= end
            return self._take(end)
        if not self._size and (breaks := _BREAKS.match(ahead)):  # they may stand before a request
            del ahead[: breaks.end()]
        head = self._take(self._line_end())
        return _UPGRADE.sub(b"\r\nIgnored:", head) if b"upgrade:" in head.lower() else head

    def _line_end(self) -> int:
        """Return how many bytes there are up to the end of an empty line, or to what may be the beginning of one."""
        ahead = self._ahead
        empty = ahead.find(_EMPTY_LINE)
        if empty >= 0:
            return empty + len(_EMPTY_LINE)
        cut = _CUT.search(ahead, max(0, len(ahead) - _LONGEST_CUT))
        return len(ahead) if cut is None else cut.start()

    def _take(self, size: int) -> bytes:
        piece = bytes(self._ahead[:size])
        del self._ahead[:size]
        return piece

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        super().on_message_begin()
        self._begun, self._waiting = True, Waiting.HEAD

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        super().on_headers_complete()
        self._waiting, self._size, self._bare = Waiting.BODY, 0, 0
        self._left = next((int(value) for name, value in self.headers if name == b"content-length"), None)
        self.headers = []  # trailers go there, and are no headers of the request
        self.cycle.transport = self._gathered  # type: ignore[assignment]  # all that it needs of one

    def on_body(self, body: bytes) -> None:
        """Note that part of a body has come."""
        self._bare = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._waiting, self._size, self._bare = Waiting.NOTHING, 0, 0
        super().on_message_complete()
        if self.cycle.response_complete:  # uvicorn forgot its timer as the body came
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Go on to the next request, if it has come."""
        super().on_response_complete()
        self._parse()

    def shutdown(self) -> None:
        """Close, or let the answer that is under way be the last."""
        self._gathered.flush()
        super().shutdown()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._sending = self.loop.call_later(self._bounds.sending, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(BadRequestError("The request is not valid HTTP", code="invalid_http"))

    def _time(self, waiting: Waiting) -> None:
        """Start the timer of what is waited for."""
        if self._timer is not None:
            self._timer.cancel()
        self._timed, self._since, self._timer = waiting, self.loop.time(), None
        if waiting is not Waiting.NOTHING:
            given = self._bounds.head if waiting is Waiting.HEAD else self._bounds.body
            self._timer = self.loop.call_later(given, self._late)

    def _late(self) -> None:
        if self._timed is Waiting.BODY:
            self._body_is_late()
        elif self._begun:
            self._refuse(
                BadRequestError("The headers did not come in time", status_code=408, code="request_timeout")
            )
        else:  # nothing was asked
            self.transport.close()

    def _body_is_late(self) -> None:
        left = self._since + self._bounds.body + self._size / SLOWEST - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._late)
        elif self.cycle.response_complete:
            self.transport.close()
        else:  # the application's read of the body ends, and the application answers
            self.scope[LATE] = True  # type: ignore[literal-required]
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _refuse(self, error: AdapterError) -> None:
        """Answer with an error, unless the request that it is in has an answer already, and close the connection."""
        self._gathered.flush()
        if self._waiting is not Waiting.BODY or not self.cycle.response_started:
            body = orjson.dumps(error.to_dict())
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", new_request_id()),
                *(pair for pair in error_headers(error) if pair[0] != b"connection"),
                (b"connection", b"close"),
            ]
            line = f"HTTP/1.1 {error.status_code} {HTTPStatus(error.status_code).phrase}\r\n".encode()
            self.transport.write(line + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n" + body)
        self.transport.close()
