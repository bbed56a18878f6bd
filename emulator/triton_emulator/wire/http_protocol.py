"""The HTTP/1 connection: uvicorn's protocol with the habits of the HTTP server inside Triton (libevhtp).

What differs from a polite server, each seen on 2.51.0: header names keep the spelling of the application; 405 is
"Not Allowed"; garbage closes the connection without a byte; only a `Connection` value spelled `close` or `keep-alive`
(or with capitals first) counts; a version before 1.1, and from 2 on, closes by default and is answered with its own
number; a HEAD gets a body. Head and body leave in one write.
"""

import asyncio
import re
from typing import Any, NamedTuple

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
#: bytes of a whole request up to which its head is looked up
_SMALL = 1 << 13
#: how many heads are remembered, and up to which size: many short headers take fifty times their bytes
_HEADS = 1024
_HEAD = 1 << 10


class KnownHead(NamedTuple):
    """What the parser has made of the bytes of a head, and how long the body behind it is."""

    scope: dict[str, Any]
    length: int


class TritonProtocol(HttpToolsProtocol):
    """One connection. `scope["headers"]` keeps the spelling of the client: header forwarding needs it.

    Clients send the same few heads over and over, and to parse them takes a tenth of all that a small request costs:
    those of whole, ordinary requests are remembered.
    """

    #: whether the parser waits for the first byte of a request
    _between = True
    _ignored = False
    #: nothing on this connection is answered any more
    _mute = False
    #: garbage has come behind a request that was whole
    _spoilt = False
    #: the request's target where the parser was given another
    _target = b""
    #: a request whose head has just come
    _unstarted: TritonCycle | None = None
    cycle: TritonCycle | None  # type: ignore[assignment]

    def __init__(self, heads: dict[bytes, KnownHead], **uvicorns: Any) -> None:
        """`heads` are those that the connections of a listener have seen, by their bytes."""
        super().__init__(**uvicorns)
        self._heads = heads

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._loosen()

    @property
    def _idle(self) -> bool:
        """Between two requests."""
        return self.cycle is None or self.cycle.response_complete

    def _loosen(self) -> None:
        """Accept what libevhtp accepts, and leave to us which requests are the last ones of a connection."""
        self.parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_chunked_length=True, lenient_version=True, lenient_keep_alive=True
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
        between = self._between and self._idle
        if self._mute or (data[0] == _CR and between):
            self._mute = True  # 2.51: an empty line before a request, and nothing is ever answered
            return
        head = blank = body = b""
        if between and len(data) <= _SMALL:
            head, blank, body = data.partition(b"\r\n\r\n")
            known = self._heads.get(head)
            if blank and known is not None and known.length == len(body):
                self.cycle = cycle = self._cycle(
                    {**known.scope, "server": self.server, "client": self.client}
                )
                cycle.received_whole(body)
                self._start(cycle)
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._between = False  # answered as the plain request that it also is, and the last one
        except httptools.HttpParserError:
            if self._unstarted is None or self._unstarted.more_body:
                self._read_again(data)
            else:  # 2.51: garbage behind a whole request is not seen before more of it comes
                self._between, self._spoilt = False, True
        else:
            if blank and self._unstarted is not None:
                self._remember(head, len(body), self._unstarted)
        if self._unstarted is not None:
            cycle, self._unstarted = self._unstarted, None
            self._start(cycle)

    def _remember(self, head: bytes, length: int, cycle: TritonCycle) -> None:
        """Know a head again, if it is the only one in what has come, its body is whole and as it is on the wire."""
        if len(head) > _HEAD or cycle.more_body or cycle.size != length or not cycle.is_ordinary:
            return
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self._heads[head] = KnownHead(cycle.scope, length)

    def _cycle(self, scope: dict[str, Any]) -> TritonCycle:
        return TritonCycle(scope, self.transport, self.flow)

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
        line = _REQUEST_LINE.match(data) if self._idle and not self._spoilt else None
        if line is None:
            # 2.51: a request line without a version is waited on for ever
            waited_on = self._idle and not self._spoilt and _NO_VERSION.match(data) is not None
            self._mute = self._mute or waited_on
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
        except httptools.HttpParserUpgrade:
            self._between = False
        except httptools.HttpParserError:
            self.transport.close()
        finally:
            self._target = b""

    def _refuse(self) -> None:
        """Close without an answer."""
        self._ignored = True
        self.transport.close()

    def on_message_begin(self) -> None:
        self._between = False
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
        self.cycle = self._unstarted = self._cycle(scope)
        self.cycle.expect_continue = self.expect_100_continue
        self.cycle.decide_persistence(version, self.headers)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle is not None and not (cycle.response_complete or self._ignored):
            cycle.received(body)

    def on_message_complete(self) -> None:
        self._between = True
        cycle = self.cycle
        if cycle is not None and not (cycle.response_complete or self._ignored):
            cycle.more_body = False
            cycle.message_event.set()
