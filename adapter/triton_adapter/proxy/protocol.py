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

A limit of size. `_size` counts the bytes of the part that is waited for; a head of more than LARGEST_HEAD is 431.

No upgrades. The parser of httptools takes no body of a request with an Upgrade header, and Java's own client sends one
(h2c) with the first request of every connection. So the header is renamed before the parser sees it. A segment may end
within its name: bytes that may begin it are held back in `_held`, and `_passed` keeps the last bytes before them, in
case the line break of the header is among those.

Clients that leave. uvicorn tells only the last request of a connection that the client has left. If others were sent
before its answer (pipelined), that is not the one that is answered. So `_unanswered` has all of them. uvicorn also
stops reading when a second request comes, and would not see that the client leaves: AHEAD bytes are still read.

Answers are written by `Gathered`, which sends an answer's head and body in one segment.
"""

import asyncio
import re
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from triton_adapter.errors import AdapterError, BadRequestError
from triton_adapter.proxy.http import LATE, error_headers, new_request_id

# Bytes of a request's line and headers. A later request of a connection is counted after its first segment.
LARGEST_HEAD = 64 << 10
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
# The beginning of the header's name at the end of a segment.
_CUT = re.compile(rb"(?<=\r\n)u(?:p(?:g(?:r(?:a(?:d(?:e)?)?)?)?)?)?\Z", re.IGNORECASE)
# Bytes per second at which a body gets more time.
SLOWEST = 16 << 10
# Bytes of further requests that are read while one is answered.
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
        # A head in several segments: the last bytes that the parser has, and those that are held back.
        self._passed = self._held = b""
        # The requests whose answers are not complete, in order, and the bytes that came while one is answered.
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._ahead = 0
        # The timer of a client that does not read.
        self._sending: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        waiting = self._waiting.name if self._begun else "FIRST REQUEST"
        sending = "" if self._sending is None else ", client does not read"
        return f"<Protocol [waiting for {waiting}, {self._size} bytes of it{sending}]>"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._gathered = Gathered(transport, self.loop)
        self._time(Waiting.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and tell every request that its client has left."""
        for timer in (self._timer, self._sending):
            if timer is not None:
                timer.cancel()
        self.pipeline.clear()
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data, within the limits for time and for the size of a head."""
        self._size += len(data)
        if self._waiting is not Waiting.BODY and (
            self._passed or b"upgrade:" in data.lower() or b"\r\n\r\n" not in data
        ):
            data = self._without_upgrade(data)
        if data:
            super().data_received(data)
        waiting = self._waiting
        if waiting is not self._timed:
            self._time(waiting)
        if self.pipeline:
            self._ahead += len(data)
            if self._ahead <= AHEAD:
                self.flow.resume_reading()
        else:
            self._ahead = 0
        if waiting is Waiting.HEAD and self._size > LARGEST_HEAD:
            self._refuse(
                BadRequestError("The headers are too large", status_code=431, code="headers_too_large")
            )

    def _without_upgrade(self, data: bytes) -> bytes:
        """Return the bytes that the parser may have now, with an Upgrade header renamed."""
        passed, held = self._passed, self._held
        text = _UPGRADE.sub(b"\r\nIgnored:", passed + held + data)
        cut = None if b"\r\n\r\n" in text else _CUT.search(text)
        end = len(text) if cut is None else cut.start()
        self._held = text[end:]
        self._passed = b"" if b"\r\n\r\n" in text else text[:end][-3:]
        return text[len(passed) : end]

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        super().on_message_begin()
        self._begun, self._waiting = True, Waiting.HEAD

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self._waiting, self._size = Waiting.BODY, 0
        super().on_headers_complete()
        self.cycle.transport = self._gathered  # type: ignore[assignment]  # all that it needs of one
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        self._unanswered.append(self.cycle)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._waiting, self._size = Waiting.NOTHING, 0
        super().on_message_complete()

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
        if self.pipeline:  # a body is not read while the request before it is answered
            left = self._bounds.body
        if left > 0:
            self._timer = self.loop.call_later(left, self._late)
        elif self.cycle.response_complete:
            self.transport.close()
        else:  # the application's read of the body ends, and the application answers
            self.scope[LATE] = True  # type: ignore[literal-required]
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _refuse(self, error: AdapterError) -> None:
        """Answer with an error, unless an answer has begun, and close the connection."""
        self._gathered.flush()
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not answering:  # an error must not be written into the middle of an answer
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
