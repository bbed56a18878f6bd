"""The HTTP/1 connection: uvicorn's protocol with the behaviour of the HTTP server inside Triton (libevhtp).

What differs from a server that follows the RFC, each seen on 2.51.0: header names keep the spelling of the
application; 405 is "Not Allowed"; bytes that are no HTTP close the connection without an answer; only a `Connection`
value spelled `close` or `keep-alive` (or with capital first letters) counts; a version is answered with its own number,
and one that ends in 0 closes by default; 0.1 to 0.9 close without an answer; a HEAD gets a body. Head and body leave in
one write.

Theory of operation
===================

Two state machines share a connection. `Reading` (here) says what the bytes from the client belong to. `Answer`
(`http_cycle`) says how far the answer to the latest request has got. They move independently: an application may
answer before the body is read, and a client may send its next request before the answer is complete. There is at most
one unanswered request, because 2.51 never answers a pipelined one.

`Reading` moves by events, most of them callbacks of the parser (httptools); TRANSITIONS has every possible one:

    BETWEEN --BEGIN--> HEAD --ACCEPT--> BODY --END--> BETWEEN
                         '----IGNORE--> UNANSWERED --END--> BETWEEN

A request is ignored if it is refused (the connection is closed then) or if another one still waits for its answer.

A request may offer to go on in another protocol (`Upgrade`). 2.51 does not accept: it answers the plain request that
this also is, and reads its body. httptools stops after such a head. So the state is OFFERED until a new parser has
read a head of the same framing without the offer; then it is again what it was, BODY or UNANSWERED.

Three more states stand for what libevhtp does with bytes that are not one proper request after another:

- SPOILT, after a whole request with garbage after it in one read. 2.51 answers the request, and closes the connection
  only when more bytes come.
- VERSIONLESS, after a request line without a version. 2.51 does not answer, does not read the rest of these bytes, and
  closes the connection when more come. If they begin with an empty line, it goes to SILENT instead.
- SILENT, after an empty line before a request. 2.51 keeps the connection open and never answers anything on it again.
  No event leads out of this state.

Known heads
-----------
Clients send the same few heads over and over, and parsing them takes a tenth of the time of a small request. So the
heads of whole, ordinary requests are remembered with their scope, and a read that consists of a known head and a body
of the same length skips the parser. `Reading` stays BETWEEN during that read.

Reading again
-------------
httptools refuses two things that libevhtp accepts: methods that it does not know, and most bytes in a path. When it
fails at a request line, the line is replaced by one that it accepts, and a new parser reads the request from its
start (`_read_again`): `Reading` goes back to BETWEEN. The target is then taken from the original line.
"""

import asyncio
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triton_emulator.wire.http_cycle import COMPLETE, TritonCycle, finish

_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ \r\n]*)(?= HTTP/\d\.\d\r\n)")
_NO_VERSION = re.compile(rb"[A-Z]+ [^ \r\n]+\r\n")
#: a request line of version 0, of which the parser reports 0.9 as it does a missing version
_VERSION_0 = re.compile(rb"[^\r\n]* HTTP/0")
_CR = 13
_EMPTY_LINE = (b"\r", b"\n")
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"})
#: 2.51: bytes of a header's name or value, and of a request's target, beyond which the connection is dropped
_TOKEN_LIMIT = 8191
_TARGET_LIMIT = 8189
#: bytes of all headers of a request; 2.51 has no limit, but without one a client could fill the memory
_HEADERS_LIMIT = 1 << 20

#: the key of a scope whose value is how many bytes its target and its headers have; ASGI has no such key
HEAD_BYTES = "triton.head_bytes"
_ASGI = {"version": "3.0", "spec_version": "2.3"}
#: bytes of a whole request up to which its head is looked up
_SMALL = 1 << 13
#: how many heads are remembered, and up to which size: many short headers take fifty times their bytes
_HEADS = 1024
_LONGEST_HEAD = 1 << 10


class _Member(Enum):
    """An Enum whose members are cheap to look up: they are compared by identity, so they may be hashed by it too."""

    __hash__ = object.__hash__


class Reading(_Member):
    """What the next bytes from the client belong to."""

    BETWEEN = "between requests"
    HEAD = "reading a head"
    BODY = "reading a body"
    UNANSWERED = "reading a request that gets no answer"
    OFFERED = "after a head that offers an upgrade"
    SPOILT = "after garbage"
    VERSIONLESS = "after a request line without a version"
    SILENT = "silent"


class Event(_Member):
    """What moves `Reading` on."""

    BEGIN = "a request begins"
    ACCEPT = "its head is complete, and it will be answered"
    IGNORE = "it will not be answered"
    END = "it is complete"
    OFFER = "its head offers an upgrade"
    GARBAGE = "no HTTP after a complete request"
    NO_VERSION = "its request line has no version"
    SILENCE = "nothing will be answered any more"


BETWEEN, HEAD, BODY, UNANSWERED, OFFERED, SPOILT, VERSIONLESS, SILENT = Reading
BEGIN, ACCEPT, IGNORE, END, OFFER, GARBAGE, NO_VERSION, SILENCE = Event

TRANSITIONS: dict[Reading, dict[Event, Reading]] = {
    BETWEEN: {BEGIN: HEAD, GARBAGE: SPOILT, NO_VERSION: VERSIONLESS, SILENCE: SILENT},
    HEAD: {ACCEPT: BODY, IGNORE: UNANSWERED, GARBAGE: SPOILT, NO_VERSION: VERSIONLESS, SILENCE: SILENT},
    # IGNORE: a trailer is too long
    BODY: {END: BETWEEN, IGNORE: UNANSWERED, OFFER: OFFERED, NO_VERSION: VERSIONLESS},
    UNANSWERED: {
        END: BETWEEN,
        IGNORE: UNANSWERED,
        OFFER: OFFERED,
        GARBAGE: SPOILT,
        NO_VERSION: VERSIONLESS,
        SILENCE: SILENT,
    },
    # BEGIN and END: the parser says that the request ends with its head, and the new one reads that head again
    OFFERED: {BEGIN: OFFERED, END: OFFERED},
    SPOILT: {},  # the next bytes close the connection
    VERSIONLESS: dict.fromkeys(Event, VERSIONLESS) | {SILENCE: SILENT},
    SILENT: dict.fromkeys(Event, SILENT),
}


class KnownHead(NamedTuple):
    """What the parser has made of the bytes of a head, and the length of the body after it."""

    scope: dict[str, Any]
    length: int


def _is_framing(name: bytes, _: bytes) -> bool:
    """Whether a header says where the body ends."""
    return name.lower() in (b"content-length", b"transfer-encoding")


class TritonProtocol(HttpToolsProtocol):
    """One connection. `scope["headers"]` keeps the spelling of the client: header forwarding needs it."""

    cycle: TritonCycle | None  # type: ignore[assignment]

    def __init__(
        self, heads: dict[bytes, KnownHead], *, ended: Callable[[], None] | None = None, **uvicorns: Any
    ) -> None:
        """`heads` are those that the connections of a listener have seen, by their bytes.

        `ended` is called at the end of the connection.
        """
        super().__init__(**uvicorns)
        self._heads = heads
        self._ended = ended

        # Per connection
        self._reading = BETWEEN
        #: what it was before it became OFFERED
        self._before_offer = BETWEEN

        # Per request
        self._header_bytes = 0
        #: the target as it was sent, while the parser reads a replaced request line; else empty
        self._target = b""

        # Per read: the request whose head has come with these bytes; it starts when all of them are parsed
        self._unstarted: TritonCycle | None = None

    def __repr__(self) -> str:
        peer = "{}:{}".format(*self.client) if self.client else "a client"
        request = f", {self.cycle!r}" if self.cycle is not None else ""
        return f"<{type(self).__name__} {peer}: {self._reading.value}{request}>"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._be_lenient()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._ended is not None:
            self._ended()

    def _be_lenient(self) -> None:
        """Accept what libevhtp accepts, and leave to us which requests are the last ones of a connection."""
        self.parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_chunked_length=True, lenient_version=True, lenient_keep_alive=True
        )

    def _advance(self, event: Event) -> None:
        self._reading = TRANSITIONS[self._reading][event]

    def _is_answered(self) -> bool:
        """Whether no request waits for (the rest of) its answer."""
        return self.cycle is None or self.cycle.answer is COMPLETE

    def shutdown(self) -> None:
        """The server stops: close at once, unless a whole request has yet to be answered.

        2.51 waits for every connection as long as the exit timeout allows, also for one without a request.
        """
        if self.cycle is not None and self.at_work:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    @property
    def at_work(self) -> bool:
        """Whether a whole request has yet to be answered."""
        return self.cycle is not None and not (self._is_answered() or self.cycle.more_body)

    def data_received(self, data: bytes) -> None:
        if self._reading is SILENT:
            return
        if self._reading is VERSIONLESS:
            self._read_after_no_version(data)
            return
        head = blank = body = b""
        if self._reading is BETWEEN and ((last := self.cycle) is None or last.answer is COMPLETE):
            if data[0] == _CR:
                self._advance(SILENCE)  # 2.51: after an empty line before a request
                return
            if len(data) <= _SMALL:
                head, blank, body = data.partition(b"\r\n\r\n")
                known = self._heads.get(head)
                if blank and known is not None and known.length == len(body):
                    self.cycle = cycle = self._cycle(
                        {**known.scope, "server": self.server, "client": self.client}
                    )
                    cycle.received_whole(body)
                    self._start(cycle)
                    return
            if _VERSION_0.match(data) is not None:
                self.transport.close()
                return
        self._parse(data)
        if self._unstarted is not None:
            cycle, self._unstarted = self._unstarted, None
            if blank and self._reading is BETWEEN:
                self._remember(head, len(body), cycle)
            self._start(cycle)

    def _read_after_no_version(self, data: bytes) -> None:
        if not data.startswith(_EMPTY_LINE):
            self.transport.close()
        elif len(data) > 1:
            self._advance(SILENCE)  # 2.51: not after a line feed or a carriage return alone

    def _parse(self, data: bytes) -> None:
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if self._reading is SILENT or self._reading is VERSIONLESS:
                return
            if self._unstarted is not None and not self._unstarted.more_body:
                self._advance(GARBAGE)
            else:
                self._read_again(data)

    def _feed(self, data: bytes) -> None:
        """Let the parser read the data. Raises HttpParserError."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._feed_after_offer(memoryview(data)[offer.args[0] :])

    def _feed_after_offer(self, rest: memoryview) -> None:
        """Let a new parser read what comes after a head that offers an upgrade. Raises HttpParserError."""
        while self._reading is OFFERED:
            framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if _is_framing(*header))
            self._renew_parser()
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self._be_lenient()

    def _read_again(self, data: bytes) -> None:
        """2.51 takes any word for a method, refusing it as it refuses PATCH, and any bytes in a path, up to a NUL."""
        readable = self._is_answered() and self._reading is not SPOILT
        line = _REQUEST_LINE.match(data) if readable else None
        if line is None:
            if readable and _NO_VERSION.match(data) is not None:
                self._advance(NO_VERSION)
            else:
                self.transport.close()
            return
        method, target = line.groups()
        known = method if method in _METHODS else b"PATCH"
        self._renew_parser()
        self._reading = BETWEEN
        self._target = target.partition(b"\0")[0]
        try:
            self._feed(known + b" /" + data[line.end() :])
        except httptools.HttpParserError:
            self.transport.close()
        finally:
            self._target = b""

    def _remember(self, head: bytes, length: int, cycle: TritonCycle) -> None:
        """Remember a head, if the read held nothing but this one request, whole and with the body as it was sent."""
        if len(head) > _LONGEST_HEAD or cycle.more_body or cycle.size != length or not cycle.is_ordinary:
            return
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self._heads[head] = KnownHead(cycle.scope, length)

    def _cycle(self, scope: dict[str, Any]) -> TritonCycle:
        return TritonCycle(scope, self.transport, self.flow)

    def _start(self, cycle: TritonCycle) -> None:
        """Run the application at once up to its first wait, and the rest in a task.

        Most requests are whole by now and many are answered without a wait: a task for each would cost a tenth more.
        """
        work = cycle.run(self.app)
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        cycle.task = task = self.loop.create_task(finish(work, awaited))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def cut(self, path: str) -> None:
        """If a request with a path that begins so is not answered, close the connection and end the work on it."""
        cycle = self.cycle
        if cycle is None or cycle.answer is COMPLETE or not cycle.scope["path"].startswith(path):
            return
        self.transport.abort()
        if cycle.task is not None:
            cycle.task.cancel()

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        self._advance(BEGIN)
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        size, width = len(name), len(value)
        self._header_bytes += size + width
        if size > _TOKEN_LIMIT or width > _TOKEN_LIMIT or self._header_bytes > _HEADERS_LIMIT:
            self._refuse()
            return
        if size == 6 and name.lower() == b"expect":  # 2.51: whatever is expected
            self.expect_100_continue = True
        self.headers.append((name, value or b" "))  # 2.51: a value of nothing is a blank

    def on_headers_complete(self) -> None:
        if self._reading is OFFERED:
            self._reading = self._before_offer
            return
        self._begin_request()
        if self.parser.should_upgrade():
            self._before_offer = self._reading
            self._advance(OFFER)

    def _begin_request(self) -> None:
        """Make a cycle of the head that has been read, unless its request will not be answered."""
        version = self.parser.get_http_version()
        if version == "0.9":  # the parser's version for a request line without one
            self._advance(NO_VERSION if self._is_answered() else SILENCE)
        elif version < "1":
            self._refuse()
        if self._reading is not HEAD:
            return
        method = self.parser.get_method().decode("ascii")
        target = self._wanted_target(self._target or self.url, method)
        if target is None:
            self._refuse()
            return
        if not self._is_answered():
            self._advance(IGNORE)  # 2.51: a pipelined request is never answered
            return
        self._advance(ACCEPT)
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
            HEAD_BYTES: self._header_bytes + len(raw_path) + len(query),
        }
        self.cycle = self._unstarted = self._cycle(scope)
        self.cycle.expect_continue = self.expect_100_continue
        self.cycle.decide_persistence(version, self.headers)

    @staticmethod
    def _wanted_target(target: bytes, method: str) -> bytes | None:
        """The path and query that a request line asks for; None where 2.51 drops the connection."""
        if len(target) > _TARGET_LIMIT:
            return None
        if target.startswith(b"/") and method != "CONNECT":
            return target
        if not target.startswith(b"http"):
            return None
        url = httptools.parse_url(target)
        return (url.path or b"/") + (b"?" + url.query if url.query else b"")

    def _refuse(self) -> None:
        """Close without an answer."""
        self._advance(IGNORE)
        self.transport.close()

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if self._reading is BODY and cycle is not None and cycle.answer is not COMPLETE:
            cycle.received(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if self._reading is BODY and cycle is not None and cycle.answer is not COMPLETE:
            cycle.received_all()
        self._advance(END)
