"""One request on an HTTP connection and its answer: ASGI's `receive` and `send`.

The head of an answer has Triton's spelling and order, and leaves in one write with the first piece of the body. So an
answer passes through three states: AWAITED until the application sends a head, STARTED while the head waits for a body
and while pieces of the body are sent, COMPLETE after the last piece. What the application sends after that is dropped.
A `Reply`, which is a whole answer, may be sent in one message of the type WHOLE: that costs less than ASGI's two, and
most answers are whole.

A client that disconnects does not change the state: what is sent to it is dropped, and `receive` tells the application.
"""

import asyncio
import http
import logging
import socket
import struct
import types
from collections.abc import Coroutine, Generator
from enum import Enum
from functools import lru_cache, partial
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl

from triton_emulator.clock import Clock
from triton_emulator.wire.operations import Close, Hang, Operation, Pause, Raw, Reset
from triton_emulator.wire.reply import Headers, PieceWriter, Reply, json_reply

_LOG = logging.getLogger(__name__)

#: the type of a message to `send` with a whole answer: its "reply" is a `Reply`. ASGI has no such message.
WHOLE = "triton.reply"
#: the type of a message to `send` whose "operation" no lawful answer has: `Pause`, `Hang`, `Raw`, `Close`, `Reset`.
#: Its "clock" is the one by which a pause goes. After it is sent, its "gone" says whether the client has disconnected.
UNLAWFUL = "triton.unlawful"
#: the type of a message to `send` with bytes of an answer that another server has made, its head among them, in "data".
#: Its "keep_alive" says whether that server keeps its connection after it.
RELAYED = "triton.relayed"
#: how often, in seconds, a pause looks whether the client has gone
_LOOK_S = 0.05
#: SO_LINGER: on, for no time. A socket that is closed so is reset.
_NO_LINGER = struct.pack("ii", 1, 0)

_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus} | {405: b"Not Allowed"}
_CLOSE = (b"Connection", b"close")
_KEEP_ALIVE = (b"Connection", b"keep-alive")
#: 2.51 does not mind the case of a word's first letter, but that of the others
_CLOSES = frozenset({b"close", b"Close"})
_KEEPS_ALIVE = frozenset({b"keep-alive", b"Keep-alive", b"Keep-Alive", b"keep-Alive"})
#: the answer where the application fails: an error in the form that clients of Triton read
_FAILED = json_reply(b'{"error":"internal error, see the log"}', 500)


@types.coroutine
def _resume(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            value = yield awaited
        except BaseException as fault:  # noqa: BLE001  (a cancelled task: the coroutine decides)
            go_on = partial(work.throw, fault)
        else:
            go_on = partial(work.send, value)
        # A fault refers to this frame. If the frame referred to it, itself or by the future that had it, all that the
        # request has in memory would stay there until the next garbage collection.
        del awaited
        try:
            awaited = go_on()
        except StopIteration:
            return
        finally:
            del go_on


async def finish(work: Coroutine[Any, Any, None], awaited: Any) -> None:
    """Run the rest of a coroutine that has been run up to its first wait, which is for `awaited`."""
    await _resume(work, awaited)


class Answer(Enum):
    """How far the answer to a request has got."""

    AWAITED = "not answered"
    STARTED = "being answered"
    COMPLETE = "answered"


AWAITED, STARTED, COMPLETE = Answer


class _Signal:
    """An asyncio.Event for a single waiter, which costs a third of it. `there` says whether it is set."""

    __slots__ = ("_waiter", "there")

    def __init__(self) -> None:
        self.there = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self.there = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter


class TritonCycle(PieceWriter):
    """One request and its answer: ASGI's `receive` and `send`."""

    __slots__ = (
        "_chunked",
        "_head",
        "_persistence",
        "_pieces",
        "_version",
        "answer",
        "disconnected",
        "expect_continue",
        "flow",
        "keep_alive",
        "message_event",
        "more_body",
        "scope",
        "size",
        "task",
        "transport",
    )

    def __init__(self, scope: dict[str, Any], transport: asyncio.Transport, flow: FlowControl) -> None:
        # The connection
        self.transport = transport
        self.flow = flow
        #: runs the application after its first wait
        self.task: asyncio.Task[None] | None = None
        self.disconnected = False
        self.keep_alive = True

        # The request
        self.scope = scope
        self._version = b"1.1"
        #: whether the client waits for "100 Continue" before it sends its body
        self.expect_continue = False
        self._pieces: list[bytes] = []
        #: bytes of the body that have come and are not read yet
        self.size = 0
        self.more_body = True
        #: set when a piece of the body has come, the answer is complete or the connection is lost
        self.message_event = _Signal()

        # The answer
        self.answer = AWAITED
        #: its Connection header
        self._persistence: tuple[bytes, bytes] | None = None
        #: the head, until it is sent with the first piece of the body
        self._head = b""
        self._chunked = False

    def __repr__(self) -> str:
        request = f"{self.scope['method']} {self.scope['path']}"
        left = ", disconnected" if self.disconnected else ""
        body = ", body incomplete" if self.more_body else ""
        return f"<{type(self).__name__} {request}: {self.answer.value}{body}{left}>"

    @property
    def response_complete(self) -> bool:
        """The name in uvicorn of `answer is COMPLETE`; it asks when a connection is lost."""
        return self.answer is COMPLETE

    def decide_persistence(self, version: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Whether the connection outlives the answer, and which Connection header the answer has."""
        # 2.51: any of several
        wanted = {value for name, value in headers if len(name) == 10 and name.lower() == b"connection"}
        if version != "1.1":
            self._version = version.encode()
        if _is_modern(self._version):
            self.keep_alive = wanted.isdisjoint(_CLOSES)
            self._persistence = None if self.keep_alive else _CLOSE
        else:
            self.keep_alive = not wanted.isdisjoint(_KEEPS_ALIVE)
            self._persistence = _KEEP_ALIVE if self.keep_alive else None

    @property
    def is_ordinary(self) -> bool:
        """Whether the head asks for nothing of the connection but to be kept, as is the rule since 1.1."""
        return self._version == b"1.1" and self._persistence is None and not self.expect_continue

    async def run(self, app: Any) -> None:
        """Let the application answer. If it fails, that is logged, and the client gets a 500 or is cut off."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001  (nothing may leave a client without an answer)
            _LOG.exception("the application failed")
            if self.answer is not AWAITED:
                self.transport.close()
            else:
                self.keep_alive, self._persistence = False, _CLOSE
                await self.send({"type": WHOLE, "reply": _FAILED})

    def received(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(piece)
        self.size += len(piece)
        if self.size > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def received_all(self) -> None:
        """The last piece of the body has come."""
        self.more_body = False
        self.message_event.set()

    def received_whole(self, body: bytes) -> None:
        """The whole body has come."""
        self._pieces.append(body)
        self.more_body = False
        self.message_event.there = True

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive; the first one sends "100 Continue" to a client that waits for it."""
        if self.expect_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/%b 100 Continue\r\n\r\n" % self._version)
        self.expect_continue = False
        if not self.disconnected and self.answer is not COMPLETE:
            self.flow.resume_reading()
            if not self.message_event.there:
                await self.message_event.wait()
            self.message_event.there = False
        if self.disconnected or self.answer is COMPLETE:
            return {"type": "http.disconnect"}
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces, self.size = [], 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Any) -> None:
        """ASGI's send, which takes WHOLE as well; a head alone waits for the first piece of its body."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.answer is COMPLETE:
            return
        kind = message["type"]
        if kind == WHOLE:
            reply = message["reply"]
            self._start(reply.status, reply.headers)
            body, more = reply.body, False
        elif kind == "http.response.start":
            self._start(message["status"], message["headers"])
            return
        elif kind == UNLAWFUL:
            await self._perform(message["operation"], message.get("clock"))
            message["gone"] = self.disconnected
            return
        elif kind == RELAYED:
            self.answer, self.expect_continue = STARTED, False
            self.keep_alive = self.keep_alive and message["keep_alive"]
            body, more = message["data"], message["more_body"]
        else:
            body, more = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head, b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(head + chunk + (b"" if more else b"0\r\n\r\n"))
        elif len(body) < HIGH_WATER_LIMIT:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        if not more:
            self.answer = COMPLETE
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            elif not self.transport.is_closing():
                self.flow.resume_reading()  # and no timer: Triton never closes an idle connection

    def write(self, piece: bytes) -> bool:
        """As `send` with a piece of a body, where the head has been sent and the client reads."""
        if self.answer is not STARTED or not self._chunked or self._head or self.flow.write_paused:
            return False
        if not self.disconnected:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def refuse(self, reply: Reply) -> None:
        """Answer now, whatever the application does, and close the connection. It may not have begun to answer."""
        self.keep_alive = False
        self._persistence = _CLOSE if _is_modern(self._version) else None
        self._start(reply.status, reply.headers)
        self.transport.write(self._head + reply.body)
        self.answer = COMPLETE
        self.message_event.set()
        self.transport.close()

    async def _perform(self, operation: Operation, clock: Clock | None) -> None:
        """Do what no lawful answer does. A pause ends when the client has gone."""
        head, self._head = self._head, b""
        if head:
            self.transport.write(head)
        match operation:
            case Pause(seconds) if clock is not None:
                await self._pause(clock.after(seconds))
            case Hang():
                await self._pause(asyncio.get_running_loop().create_future())
            case Raw(data):
                self.transport.write(data)
            case Close():
                self._drop()
                self.transport.close()
            case Reset():
                self._drop()
                if (connection := self.transport.get_extra_info("socket")) is not None:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                self.transport.abort()

    def _drop(self) -> None:
        """Nothing more is sent."""
        self.keep_alive = False
        self.answer = COMPLETE
        self.message_event.set()

    async def _pause(self, end: "asyncio.Future[None]") -> None:
        try:
            while not self.disconnected and not end.done():
                await asyncio.wait((end,), timeout=_LOOK_S)
        finally:
            end.cancel()

    def _start(self, status: int, headers: Headers) -> None:
        self.answer = STARTED
        self.expect_continue = False
        self._head, self._chunked = _render_head(self._version, self._persistence, status, headers)


def _is_modern(version: bytes) -> bool:
    """Whether a connection is kept by default: 2.51 looks at the minor number alone."""
    return not version.endswith(b".0")


@lru_cache(maxsize=1024)
def _render_head(
    version: bytes, connection: tuple[bytes, bytes] | None, status: int, headers: Headers
) -> tuple[bytes, bool]:
    """The bytes of an answer's head, and whether its body comes in chunks."""
    names = [name for name, _ in headers]
    explicit = b"Content-Type" in names and b"Content-Length" not in names[: names.index(b"Content-Type")]
    persistence = b"%b: %b\r\n" % connection if connection else b""
    lines = [b"HTTP/%b %d %b\r\n" % (version, status, _PHRASES.get(status, b"Unknown"))]
    chunked = True
    for name, value in headers:
        if name == b"Content-Length":
            chunked = False
            if value == b"0":
                lines.append(persistence)  # 2.51: an empty answer names the connection before it
                persistence = b""
                if not _is_modern(version):
                    continue  # 2.51: an older client is not told that there is no body
        elif name == b"Content-Type" and not explicit:
            lines.append(persistence)
        lines.append(b"%b: %b\r\n" % (name, value))
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if explicit or not headers:
        lines.append(persistence)
    lines.append(b"\r\n")
    return b"".join(lines), chunked
