"""One HTTP/1.1 connection on asyncio, parsed by httptools: a request, its answer, the next one.

Bodies come whole, or as a stream that is read piece by piece. Nothing is followed, decoded or repeated here.
"""

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from triton_adapter.errors import AdapterError, APIConnectionError, APITimeoutError, BadGatewayError
from triton_adapter.steps import Reply, Wire
from triton_adapter.transport.place import Place

if TYPE_CHECKING:
    from triton_adapter.transport.pool import Pool

# Kept connections are closed after so many seconds without use.
KEPT = 60.0
# A stream's unread bytes at which the sender is made to wait.
HIGH_WATER = 1 << 18
# An answer's bytes at which its head is taken to have no end.
LONGEST_HEAD = 1 << 16


class Headers(dict[str, str]):
    """A reply's headers; names in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the header's value, or `default`."""
        return super().get(key.lower(), default)


class Source:
    """A stream that is open: read it to its end, or close it. Its connection is another request's afterwards."""

    __slots__ = ("_connection", "_error")

    def __init__(self, connection: "Connection") -> None:
        self._connection: Connection | None = connection
        self._error: AdapterError | None = None

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end."""
        if self._connection is None:
            if self._error is not None:  # to be left is no end
                raise self._error
            return b""
        data = await self._connection.read()
        if not data:
            self._give_back()
        return data

    def close(self) -> None:
        """Leave the stream: the connection is closed, unless the answer came to an end. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._error = self._connection.error
            self._give_back()

    def leave(self) -> None:
        """Close from any thread, without waiting for it: a finalizer may ask for this."""
        if self._connection is not None:
            with suppress(RuntimeError):  # its loop is closed, and it with it
                self._connection.loop.call_soon_threadsafe(self.close)

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_back()


class Connection(asyncio.Protocol):
    """One connection, answering one request at a time."""

    def __init__(self, pool: "Pool", key: Place) -> None:
        self._pool = pool
        self.key = key
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._busy = False
        self._stream = False
        self._waiter: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence: float | None = None
        self._heard = 0.0
        self.kept_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._headers = Headers()
        self._body: list[bytes] = []
        self._unread = 0
        self._begun = self._headed = self._complete = self._keep = False
        self.error: AdapterError | None = None

    # --- requests

    async def ask(self, wire: Wire, data: bytes) -> Reply:
        """Send a request; return its reply, or for a stream its head."""
        self._begin()
        self._busy, self._stream = True, wire.stream
        waiter = self._waiter = self.loop.create_future()
        limit = wire.silence if wire.stream else wire.timeout
        if limit is not None:
            self._silence = limit if wire.stream else None
            self._heard = monotonic()
            self._timer = self.loop.call_later(limit, self._late)
        assert self._transport is not None  # noqa: S101 - it is connected
        self._transport.write(data)
        try:
            reply: Reply = await waiter
        except BaseException:
            if self._waiter is waiter:  # else it is another request's by now
                self.close()
                self.give_back()  # a stream that had just ended, which nobody will read
            raise
        return reply

    async def read(self) -> bytes:
        """Return the next bytes of a stream, empty at its end."""
        while not self._body:
            if self.error is not None:
                raise self.error
            if self._complete:
                return b""
            self._waiter = self.loop.create_future()
            await self._waiter
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        if self._unread > HIGH_WATER and self._transport is not None:
            self._transport.resume_reading()
        self._unread = 0
        return data

    def close(self) -> None:
        """Leave: the connection is closed, unless its answer came to an end. Idempotent."""
        if self._busy:
            self._fail(APIConnectionError("the answer was left"))

    def give_back(self) -> None:
        """Let other requests have the connection, once a stream's bytes have been read."""
        if self._complete and self._keep:
            self._keep = False
            self.kept_since = monotonic()
            if self._unread > HIGH_WATER and self._transport is not None:  # it was left without being read
                self._transport.resume_reading()
            self._pool.keep(self)

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            return self._drop()  # nobody asked
        self._begun = True
        if not self._headed:
            self._unread += len(data)
        if self._silence is not None:
            self._heard = monotonic()
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if self._headed:
                self._fail(APIConnectionError("Triton's answer broke off"))
            else:
                self._fail(
                    BadGatewayError(
                        "the upstream does not speak HTTP as Triton does: is api_base the address of its HTTP port?"
                    )
                )
        else:
            if not self._headed and self._unread > LONGEST_HEAD:
                self._fail(BadGatewayError("the upstream's answer begins with headers that do not end"))
        return None

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if not self._busy:
            return
        if exc is None and self._headed and self._ends_with_the_connection():
            self._end(keep=False)
        elif self._begun:
            self._fail(APIConnectionError("Triton's answer broke off"))
        elif (refused := self.key.refusal(exc, agreed=True)) is not None:
            self._fail(refused)
        else:
            self._fail(APIConnectionError("the connection to Triton broke", retryable=True))

    # --- httptools' callbacks; what comes behind an answer is nobody's

    def on_message_begin(self) -> None:
        if not self._busy:
            self._drop()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._busy:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._busy:
            return
        if status < 200:  # 100: go on
            self._headers = Headers()
            return
        self._headed, self._unread = True, 0
        self._stream = self._stream and status == 200
        if self._stream:
            self._wake(Reply(200, self._headers, b"", Source(self)))
        else:
            self._silence = None

    def on_body(self, body: bytes) -> None:
        if not self._busy:
            return
        self._body.append(body)
        self._unread += len(body)
        if not self._stream:
            if self._unread > self._pool.longest:
                self._fail(BadGatewayError("the upstream's answer is too long to be one of Triton's"))
        else:
            if self._unread > HIGH_WATER and self._transport is not None:
                self._transport.pause_reading()
            self._wake(None)

    def on_message_complete(self) -> None:
        if self._busy and self._headed:
            self._end(keep=self._parser.should_keep_alive())

    # --- the end

    def _ends_with_the_connection(self) -> bool:
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _end(self, *, keep: bool) -> None:
        self._finish()
        self._complete = True
        self._keep = keep
        if not keep:
            self._drop()
        if self._stream:
            self._wake(None)
        else:
            self._wake(Reply(self._parser.get_status_code(), self._headers, b"".join(self._body)))
            self.give_back()

    def _fail(self, error: AdapterError) -> None:
        self._finish()
        self.error = error
        if self._waiter is not None and not self._waiter.done():
            if self._stream and self._headed:
                self._waiter.set_result(None)  # `read` raises it, once what came before is read
            else:
                self._waiter.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def _finish(self) -> None:
        self._busy = False
        self._silence = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self, result: Reply | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(result)

    def _late(self) -> None:
        if self._silence is not None:
            left = self._heard + self._silence - monotonic()
            # A reader who takes their time is no silence of Triton's.
            if left > 0 or self._body:
                self._timer = self.loop.call_later(max(left, 0.05), self._late)
                return
        self._fail(APITimeoutError("Triton did not answer in the time allowed"))

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def stale(self, now: float) -> bool:
        """Tell whether a kept connection should not be used again."""
        transport = self._transport
        return transport is None or transport.is_closing() or now - self.kept_since > KEPT

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
