"""uvicorn's HTTP/1.1 with bounds: heads that come slowly or without end, clients that do not read what they asked for.

What is not HTTP, or not in time, is answered with OpenAI's error object too, and the connection is closed.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triton_adapter.errors import AdapterError, BadRequestError
from triton_adapter.proxy.http import error_headers, new_request_id

# Bytes of a request's line and headers; of a request that is not a connection's first, after its first segment.
LARGEST_HEAD = 64 << 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds for a request's line and headers to come, and for a client to take what it is sent."""

    head: float = 60.0
    sending: float = 60.0


class Protocol(HttpToolsProtocol):
    """One connection. A request that comes in one segment, as most do, starts no timer."""

    def __init__(self, *given: Any, bounds: Bounds, **named: Any) -> None:
        super().__init__(*given, **named)
        self._bounds = bounds
        self._begun = False
        self._head_pending = True
        self._head_size = 0
        self._heading: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._heading = self.loop.call_later(self._bounds.head, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._heading, self._sending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as a head comes in time and is of a decent size."""
        if self._head_pending:
            self._head_size += len(data)
        super().data_received(data)
        if not self._head_pending:
            if self._heading is not None:
                self._heading.cancel()
                self._heading = None
        elif self._head_size > LARGEST_HEAD:
            self._refuse(
                BadRequestError("The headers are too large", status_code=431, code="headers_too_large")
            )
        elif self._heading is None:
            self._heading = self.loop.call_later(self._bounds.head, self._head_is_late)

    def on_message_begin(self) -> None:
        """Take note that a head has begun."""
        super().on_message_begin()
        self._begun = self._head_pending = True

    def on_headers_complete(self) -> None:
        """Take note that a head is complete."""
        self._head_pending = False
        self._head_size = 0
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._sending = self.loop.call_later(self._bounds.sending, self.transport.abort)

    def resume_writing(self) -> None:
        """Take note that the client reads."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(BadRequestError("The request is not valid HTTP", code="invalid_http"))

    def _head_is_late(self) -> None:
        if not self._begun:  # nothing was asked
            self.transport.close()
        else:
            self._refuse(
                BadRequestError("The headers did not come in time", status_code=408, code="request_timeout")
            )

    def _refuse(self, error: AdapterError) -> None:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not answering:  # nothing may be written into the middle of an answer
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
