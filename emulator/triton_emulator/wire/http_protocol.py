"""The HTTP/1 connection: uvicorn's protocol with the habits of the HTTP server inside Triton (libevhtp).

What differs from a polite server, each seen on 2.51.0: header names keep the spelling of the application; 405 is
"Not Allowed"; garbage closes the connection without a byte; only a `Connection` value spelled `close` or `keep-alive`
(or with capitals first) counts; a version before 1.1, and from 2 on, closes by default and is answered with its own
number; a HEAD gets a body. Head and body leave in one write.
"""

import asyncio
import re

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triton_emulator.wire.http_cycle import TritonCycle, finish

_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ \r\n]*)(?= HTTP/\d\.\d\r\n)")
_NO_VERSION = re.compile(rb"[A-Z]+ [^ \r\n]+\r\n")
_CR = 13
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"})
#: 2.51: bytes of a header's name or value, and of a request's target, beyond which the connection is dropped
_TOKEN_LIMIT = 8191
_TARGET_LIMIT = 8189
#: bytes of all headers of a request; 2.51 has no limit, but a server that can be filled up helps nobody
_HEADERS_LIMIT = 1 << 20


_ASGI = {"version": "3.0", "spec_version": "2.3"}


class TritonProtocol(HttpToolsProtocol):
    """One connection. `scope["headers"]` keeps the spelling of the client: header forwarding needs it."""

    _ignored = False
    #: nothing on this connection is answered any more
    _mute = False
    #: the request's target where the parser was given another
    _target = b""
    #: a request whose head has just come
    _unstarted: TritonCycle | None = None
    cycle: TritonCycle | None  # type: ignore[assignment]

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

    def shutdown(self) -> None:
        """The server stops: close at once, unless a whole request has yet to be answered.

        2.51 waits for every connection as long as the exit timeout allows, for one that is idle too.
        """
        if self.cycle is None or self._idle or self.cycle.more_body:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        if self._mute or (data[0] == _CR and self._idle):
            self._mute = True  # 2.51: an empty line before a request, and nothing is ever answered
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as the plain request that it also is
        except httptools.HttpParserError:
            self._read_again(data)
        if self._unstarted is not None:
            cycle, self._unstarted = self._unstarted, None
            self._start(cycle)

    def _start(self, cycle: TritonCycle) -> None:
        """Run the application here and now as far as it gets without waiting, and the rest in a task.

        Most requests are whole by now and many are answered on the spot: a task for each would cost a tenth more.
        """
        work = cycle.run(self.app)
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        task = self.loop.create_task(finish(work, awaited))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

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
        self.url = b""
        self.headers = []
        self.expect_100_continue = self._ignored = False
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        size, width = len(name), len(value)
        self._header_bytes += size + width
        if size > _TOKEN_LIMIT or width > _TOKEN_LIMIT or self._header_bytes > _HEADERS_LIMIT:
            self._refuse()
            return
        if size == 6 and name.lower() == b"expect":  # 2.51: whatever is expected
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        method = self.parser.get_method().decode("ascii")
        target = self._target or self.url
        if version == "0.9":
            self._mute = self._ignored = True
        if self._ignored:
            return
        if len(target) > _TARGET_LIMIT:
            self._refuse()
            return
        if not target.startswith(b"/") or method == "CONNECT":
            if not target.startswith(b"http"):
                self._refuse()
                return
            url = httptools.parse_url(target)
            target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
        if not self._idle:
            self._ignored = True  # 2.51: a pipelined request is never answered
            return
        raw_path, _, query = target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method,
            "scheme": "http",
            "path": raw_path.decode("utf-8", "surrogateescape"),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
        }
        self.cycle = self._unstarted = TritonCycle(
            scope,
            self.transport,
            self.flow,
            self.on_response_complete,
            expect_continue=self.expect_100_continue,
        )
        self.cycle.decide_persistence(version, self.headers)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle is not None and not (cycle.response_complete or self._ignored):
            cycle.received(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if cycle is not None and not (cycle.response_complete or self._ignored):
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()  # and no timer: Triton never closes an idle connection
