"""The HTTP/1 connection: uvicorn's protocol with the habits of the HTTP server inside Triton (libevhtp).

What differs from a polite server, each seen on 2.51.0: header names keep the spelling of the application; 405 is
"Not Allowed"; garbage closes the connection without a byte; only a `Connection` value spelled exactly `close` or
`keep-alive` counts; a version before 1.1, and from 2 on, closes by default and is answered with its own number; a HEAD
gets a body. Head and body leave in one write.
"""

import asyncio
import http
import re
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from triton_emulator.wire.reply import Headers

_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus} | {405: b"Not Allowed"}
_CLOSE = (b"Connection", b"close")
_KEEP_ALIVE = (b"Connection", b"keep-alive")
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ \r\n]*)(?= HTTP/\d\.\d\r\n)")
_NO_VERSION = re.compile(rb"[A-Z]+ [^ \r\n]+\r\n")
_CR = 13
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"})
#: 2.51: bytes of a header's name or value, and of a request's target, beyond which the connection is dropped
_TOKEN_LIMIT = 8191
_TARGET_LIMIT = 8189
_NO_BODY = (b"Content-Length", b"0")


class TritonProtocol(HttpToolsProtocol):
    """One connection. `scope["headers"]` keeps the spelling of the client: header forwarding needs it."""

    _ignored = False
    #: nothing on this connection is answered any more
    _mute = False
    #: the request's target where the parser was given another
    _target = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._loosen()

    @property
    def _idle(self) -> bool:
        """Between two requests."""
        return self.cycle is None or self.cycle.response_complete

    def _loosen(self) -> None:
        """Accept what libevhtp accepts."""
        self.parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_chunked_length=True, lenient_version=True
        )

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._mute or (data[0] == _CR and self._idle):
            self._mute = True  # 2.51: an empty line before a request, and nothing is ever answered
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as the plain request that it also is
        except httptools.HttpParserError:
            self._read_again(data)

    def _read_again(self, data: bytes) -> None:
        """2.51 takes any word for a method, refusing it as it refuses PATCH, and any bytes in a path, up to a NUL."""
        line = _REQUEST_LINE.match(data) if self._idle else None
        if line is None:
            # 2.51: a request line without a version is waited on for ever
            self._mute = self._mute or (self._idle and _NO_VERSION.match(data) is not None)
            if not self._mute:
                self.transport.close()
            return
        method, target = line.groups()
        known = method if method in _METHODS else b"PATCH"
        self.parser = httptools.HttpRequestParser(self)
        self._loosen()
        self._target = target.partition(b"\0")[0]
        try:
            self.parser.feed_data(known + b" /" + data[line.end() :])
        except httptools.HttpParserError:
            self.transport.close()
        finally:
            self._target = b""

    def _refuse(self) -> None:
        """Close without an answer."""
        self._ignored = True
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._ignored = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) > _TOKEN_LIMIT or len(value) > _TOKEN_LIMIT:
            self._refuse()
        if len(name) == 6 and name.lower() == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        target = self._target or self.url
        if version == "0.9":
            self._mute = self._ignored = True
        if self._ignored:
            return
        if len(target) > _TARGET_LIMIT:
            self._refuse()
            return
        if not target.startswith(b"/") or scope["method"] == "CONNECT":
            if not target.startswith(b"http"):
                self._refuse()
                return
            url = httptools.parse_url(target)
            target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
        raw_path, _, query = target.partition(b"?")
        scope["raw_path"] = raw_path
        scope["path"] = raw_path.decode("utf-8", "surrogateescape")
        scope["query_string"] = query
        cycle = TritonCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.decide_persistence(version, self.headers)
        previous = self.cycle
        if previous is None or previous.response_complete:
            self.cycle = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self._ignored = True  # 2.51: a pipelined request is never answered

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete or self._ignored:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if not (cycle.response_complete or self._ignored):
            cycle.more_body = False
            cycle.message_event.set()


class TritonCycle(RequestResponseCycle):
    """One request and its answer."""

    _version = b"1.1"
    _connection: tuple[bytes, bytes] | None = None
    _head: bytes | None = None
    _chunked = False

    def decide_persistence(self, version: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Whether the connection outlives the answer, and which Connection header the answer has."""
        wanted = b""
        for name, value in headers:
            if len(name) == 10 and name.lower() == b"connection":
                wanted = value
        modern = version >= "1.1" and version < "2"
        if version != "1.1":
            self._version = version.encode()
        if modern:
            self.keep_alive = wanted != b"close"
            self._connection = None if self.keep_alive else _CLOSE
        else:
            self.keep_alive = wanted == b"keep-alive"
            self._connection = _KEEP_ALIVE if self.keep_alive else None

    def _render_head(self, status: int, headers: Headers) -> bytes:
        modern = self._version == b"1.1" or b"1.1" < self._version < b"2"
        explicit = bool(headers) and headers[0][0] == b"Content-Type"
        connection = b"%b: %b\r\n" % self._connection if self._connection else b""
        lines = [b"HTTP/%b %d %b\r\n" % (self._version, status, _PHRASES.get(status, b"Unknown"))]
        self._chunked = True
        if headers and headers[0] == _NO_BODY:
            lines.append(connection)  # 2.51: an empty answer names the connection first
            connection = b""
        for name, value in headers:
            if name == b"Content-Length":
                self._chunked = False
                if not explicit and not modern:
                    continue  # 2.51: an older client gets no length where no handler has set a type
            elif name == b"Content-Type" and not explicit:
                lines.append(connection)
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if explicit or not headers:
            lines.append(connection)
        lines.append(b"\r\n")
        return b"".join(lines)

    async def send(self, message: Any) -> None:
        """ASGI's send; the head waits for the first piece of the body."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._render_head(message["status"], message["headers"])
            return
        if self.response_complete:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head or b"", None
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(head + chunk + (b"" if more else b"0\r\n\r\n"))
        elif len(body) < HIGH_WATER_LIMIT:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
