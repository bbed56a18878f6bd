"""One HTTP/1.1 client connection on asyncio, parsed by httptools: a request, its answer, the next request.

Bodies come whole, or as a stream that is read piece by piece. Redirects are not followed, bodies are not decoded, and
no request is repeated here.

Theory of operation
-------------------

A connection answers one request at a time. `State` says how far it is:

    IDLE  --ask()----------------------> SENT
    SENT  --first byte-----------------> HEAD
    HEAD  --end of the headers---------> BODY, or STREAM if one was asked for and the status is 200
    BODY, STREAM --end of the answer---> DONE, or CLOSED without keep-alive
    DONE  --give_back(), to the pool---> IDLE

From every state an error, a limit of time or the end of the TCP connection leads to CLOSED. Nothing leads out of it.

- What state a request fails in decides whether it may be repeated: in SENT no byte of the answer has come, so an error
  is `retryable`. From HEAD on Triton may have performed the request.
- The end of a body gives the connection back at once. The connection of a stream stays DONE until the reader has taken
  all of it, or has left: `_body` holds what is not read yet, and the next request would overwrite it.
- In IDLE and DONE no answer is expected. Every byte that comes is an error of the server, and closes the connection. So
  do bytes after an answer in the same packet: the parser reports them when the answer has ended already.

One future, `_waiter`, stands for what the caller waits for: in SENT and HEAD the reply, in STREAM the next bytes.
A reader that is slow stops the sender: above HIGH_WATER unread bytes the transport is paused.

A stream has two limits of time in one timer: `silence` is the longest pause between two packets, and headers that
trickle must have come within `timeout`, if that is longer. After the headers only packets with bytes of the body count,
so trailers that trickle end too. The timer is not moved with each packet; when it fires it looks at the time of the
last one and starts again for the rest. Other requests have one limit, `timeout`, from the first byte sent to the last
received.
"""

import asyncio
from contextlib import suppress
from enum import Enum, auto
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from triton_adapter.errors import AdapterError, APIConnectionError, APITimeoutError, BadGatewayError
from triton_adapter.steps import HttpReply, HttpRequest
from triton_adapter.transport.address import Address

if TYPE_CHECKING:
    from triton_adapter.transport.pool import Pool

# Idle connections are closed after so many seconds.
KEPT = 60.0
# Unread bytes of a stream above which the sender has to wait.
HIGH_WATER = 1 << 18
# Bytes of an answer's status line and headers, and of chunk lines or trailers in a row, above which they are taken to
# have no end.
LONGEST_HEAD = 1 << 16
# Bytes of the body of an error, which is a sentence or a page.
LONGEST_ERROR = 1 << 20
# Seconds between two looks at a stream whose reader is slow.
_LATER = 0.05


class State(Enum):
    """How far a connection is with its request; the docstring of this file has the transitions."""

    IDLE = auto()  # no request; new, or kept by the pool
    SENT = auto()  # the request is written; nothing has come
    HEAD = auto()  # part of the headers has come
    BODY = auto()  # the body is collected
    STREAM = auto()  # the body is passed on as it comes
    DONE = auto()  # the answer has ended; the reader of the stream has not
    CLOSED = auto()  # it cannot be used again


# Names of their own, because each look-up in an Enum costs a function call, and so would its hash in a set.
_IDLE, _SENT, _HEAD, _BODY, _STREAM, _DONE, _CLOSED = State
# The states in which an answer is expected.
_ACTIVE = (_HEAD, _STREAM, _BODY, _SENT)


class Headers(dict[str, str]):
    """A reply's headers; names in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the header's value, or `default`."""
        return super().get(key.lower(), default)


class Source:
    """An open stream. It is read to its end, or closed; after that its connection serves another request."""

    __slots__ = ("_connection", "_error")

    def __init__(self, connection: "Connection") -> None:
        self._connection: Connection | None = connection
        self._error: AdapterError | None = None

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end. An AdapterError if the stream breaks off, or was closed early."""
        if self._connection is None:
            if self._error is not None:
                raise self._error
            return b""
        data = await self._connection.read()
        if not data:
            self._give_back()
        return data

    def close(self) -> None:
        """Leave the stream: its connection is closed, unless the answer has ended. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._error = self._connection.error
            self._give_back()

    def leave(self) -> None:
        """Close from any thread, without waiting for it: a finalizer may call this."""
        if self._connection is not None:
            with suppress(RuntimeError):  # the loop is closed, and the connection with it
                self._connection.loop.call_soon_threadsafe(self.close)

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_back()


class Connection(asyncio.Protocol):
    """One connection, answering one request at a time."""

    def __init__(self, pool: "Pool", address: Address) -> None:
        # Per connection.
        self.address = address
        self.loop = asyncio.get_running_loop()
        self.state = _IDLE
        self.requests = 0
        self.kept_since = 0.0
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Per request.
        self.error: AdapterError | None = None
        self._streamed = False  # the request asks for a stream
        self._silence: float | None = None
        self._heard = 0.0  # when the last packet of the head or with bytes of the body came
        self._head_by = 0.0  # when a stream's headers must have come
        self._headers = Headers()
        self._longest = 0  # bytes of the body, unless it is a stream
        # What is not read yet. In one piece: an answer in chunks of one byte would take fifty times its size as a list.
        # A BytesIO gives its bytes without a copy, which a bytearray does not.
        self._body: bytes | BytesIO = b""
        self._unread = 0  # bytes in `_body`
        self._bare = (
            0  # bytes of the head before its end; after it, bytes since the last packet with some of the body
        )

    def __repr__(self) -> str:
        count = f"{self.requests} request{'' if self.requests == 1 else 's'}"
        return f"<Connection {self.address.origin} [{self.state.name}, {count}]>"

    # --- requests

    async def ask(self, wire: HttpRequest, data: bytes) -> HttpReply:
        """Send a request and return its reply, with an open stream if one was asked for and the status is 200."""
        self.state = _SENT
        self.requests += 1
        self.error = None
        self._streamed = wire.stream
        self._headers = Headers()
        self._body = b""
        self._unread = self._bare = 0
        waiter = self._waiter = self.loop.create_future()
        limit = wire.silence if wire.stream else wire.timeout
        if limit is not None:
            self._silence = limit if wire.stream else None
            self._heard = monotonic()
            self._head_by = self._heard + max(limit, wire.timeout or 0.0)
            self._timer = self.loop.call_later(limit, self._late)
        assert self._transport is not None  # noqa: S101 - it is connected
        self._transport.write(data)
        try:
            reply: HttpReply = await waiter
        except BaseException:
            if self._waiter is waiter:  # otherwise the connection serves another request already
                self.close()
                self.give_back()  # a stream may just have ended, and will not be read
            raise
        finally:
            if self._waiter is waiter:  # it holds the reply
                self._waiter = None
        return reply

    async def read(self) -> bytes:
        """Return the next bytes of a stream, empty at its end. Raise `error` if it broke off."""
        while not self._body:
            if self.error is not None:
                raise self.error
            if self.state is not _STREAM:
                return b""
            self._waiter = self.loop.create_future()
            await self._waiter
        data = self._take()
        if self._unread > HIGH_WATER:
            self._resume()
        self._unread = 0
        return data

    def close(self) -> None:
        """Leave the request: the connection is closed, unless the answer has ended. Idempotent."""
        if self.state in _ACTIVE:
            self._fail(APIConnectionError("the answer was closed before its end"))

    def give_back(self) -> None:
        """Let other requests have the connection, once a stream has ended and has been read or left."""
        if self.state is _DONE:
            self.state = _IDLE
            self.kept_since = monotonic()
            if self._unread > HIGH_WATER:  # a stream may be left without being read
                self._resume()
            self._body = b""
            self._pool.keep(self)

    def stale(self, now: float) -> bool:
        """Return whether a kept connection should not be used again."""
        transport = self._transport
        return transport is None or transport.is_closing() or now - self.kept_since > KEPT

    def abort(self) -> None:
        """Close at once. A request that is under way fails when asyncio reports the loss."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state is _SENT:
            state = self.state = _HEAD
        elif state not in _ACTIVE:
            self._drop()
            return
        self._bare += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._misread()
        else:
            if self._silence is not None and (state is _HEAD or not self._bare):
                self._heard = monotonic()
            if self._bare > LONGEST_HEAD and self.state in _ACTIVE:
                endless = "begins with headers" if self.state is _HEAD else "has chunk lines or trailers"
                self._fail(BadGatewayError(f"the upstream's answer {endless} that do not end"))

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if self.state not in _ACTIVE:
            self.state = _CLOSED
        elif self.state is _SENT:
            refused = self.address.refusal(exc, agreed=True)
            self._fail(refused or APIConnectionError("the connection to Triton broke", retryable=True))
        elif exc is None and self.state is not _HEAD and self._ends_with_the_connection():
            self._end(keep=False)
        else:
            self._fail(APIConnectionError("Triton's answer broke off"))

    # --- httptools' callbacks

    def on_message_begin(self) -> None:
        if self.state not in _ACTIVE:
            self._drop()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.state is _HEAD:  # others are trailers
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.state is not _HEAD:
            return
        if status < 200:  # 100 Continue: the headers of the answer follow
            self._headers = Headers()
            return
        self._bare = 0
        if self._streamed and status == 200:
            self.state = _STREAM
            self._wake(HttpReply(200, self._headers, b"", Source(self)))
        else:
            self.state = _BODY
            self._silence = None
            self._longest = self._pool.longest if status == 200 else LONGEST_ERROR
            if int(self._headers.get("content-length", 0)) > self._longest:
                self._fail_as_too_long()

    def on_body(self, body: bytes) -> None:
        state = self.state
        if state is not _STREAM and state is not _BODY:
            return
        if not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                first, self._body = self._body, BytesIO()
                self._body.write(first)
            self._body.write(body)
        self._unread += len(body)
        self._bare = 0
        if state is _STREAM:
            if self._unread > HIGH_WATER and self._transport is not None:
                self._transport.pause_reading()
            self._wake(None)
        elif self._unread > self._longest:
            self._fail_as_too_long()

    def on_message_complete(self) -> None:
        if self.state is _BODY or self.state is _STREAM:
            self._end(keep=self._parser.should_keep_alive())

    # --- the end of an answer

    def _ends_with_the_connection(self) -> bool:
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _end(self, *, keep: bool) -> None:
        """End the answer: it has come whole."""
        streamed = self.state is _STREAM
        self._stop_timer()
        self.state = _DONE
        if not keep:
            self._drop()
        if streamed:
            self._wake(None)
        else:
            self._wake(HttpReply(self._parser.get_status_code(), self._headers, self._take()))
            self.give_back()

    def _take(self) -> bytes:
        """Return what is not read yet, and keep nothing of it."""
        body, self._body = self._body, b""
        return body if isinstance(body, bytes) else body.getvalue()

    def _misread(self) -> None:
        """End what the parser cannot read."""
        if self.state is _HEAD:
            self._fail(
                BadGatewayError(
                    "the upstream does not speak HTTP as Triton does: is api_base the address of its HTTP port?"
                )
            )
        elif self.state in _ACTIVE:
            self._fail(APIConnectionError("Triton's answer broke off"))
        else:
            self._drop()

    def _fail_as_too_long(self) -> None:
        self._fail(BadGatewayError("the upstream's answer is too long to be one of Triton's"))

    def _fail(self, error: AdapterError) -> None:
        """Close the connection; what waits for the answer gets the error."""
        streamed = self.state is _STREAM
        self._stop_timer()
        self.state, self.error = _CLOSED, error
        if not streamed:
            self._body = b""
        if self._waiter is not None and not self._waiter.done():
            if streamed:
                self._waiter.set_result(None)  # `read` raises the error after what came before it
            else:
                self._waiter.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def _drop(self) -> None:
        """Close the connection after a complete answer, or without one."""
        self.state = _CLOSED
        if self._transport is not None:
            self._transport.close()

    # --- waiting

    def _wake(self, result: HttpReply | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(result)

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _stop_timer(self) -> None:
        self._silence = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._silence is not None:
            now = monotonic()
            left = self._heard + self._silence - now
            if self.state is _SENT or self.state is _HEAD:
                left = min(left, self._head_by - now)
            # While bytes are unread it is the reader who is slow, not Triton.
            if left > 0 or self._body:
                self._timer = self.loop.call_later(max(left, _LATER), self._late)
                return
        self._fail(APITimeoutError("Triton did not answer in the time allowed"))
