"""Requests over HTTP that pass to a real server, and its answers, which pass back as they come, byte for byte.

What changes on the way to the server: the header `Host` names the server, `Expect` is answered here, the path of a
session is left out, and the chunks of a body that is chunked may be others. Of its answer nothing changes, unless a
fault says so.

A body goes on as it comes. Where there are plans, a request is read first, as far as the journal keeps it: a plan may
ask for its inputs. The journal keeps what passes up to its bounds; nothing else is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any

from triton_emulator.clock import Clock
from triton_emulator.engine.schedulers.policy_queue import EXPIRED, queue_is_full
from triton_emulator.frontends.asgi import Receive, Scope, Send, send_reply
from triton_emulator.frontends.http import faults, replaying
from triton_emulator.frontends.http.entries import HttpEntry
from triton_emulator.frontends.http.errors import body as error_body
from triton_emulator.frontends.http.errors import typed_error, untyped_error
from triton_emulator.harness.cassettes.player import Player
from triton_emulator.harness.harness import unwatched
from triton_emulator.harness.parts import QueueRefuses, Unloaded
from triton_emulator.protocol import routes
from triton_emulator.protocol.json_dialect import write_string
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.repository.repository import unloaded
from triton_emulator.session.state import SessionState
from triton_emulator.session.upstream import Upstream, factor
from triton_emulator.wire.http_client import Connection, HttpClient, Origin, Part, UpstreamError
from triton_emulator.wire.http_cycle import RELAYED, UNLAWFUL
from triton_emulator.wire.operations import Close, Reset
from triton_emulator.wire.reply import JSON_TYPE, Reply, json_reply

_BAD_GATEWAY = 502
_match = lru_cache(maxsize=4096)(routes.match)
#: headers that say how an answer is framed: an answer that a fault changes is framed here
_FRAMING = (b"transfer-encoding", b"connection", b"keep-alive")


class ClientGone(Exception):
    """The client has disconnected."""


class Body:
    """The body of a request, as it comes. It keeps its beginning for the journal."""

    def __init__(self, receive: Receive, most: int) -> None:
        """`most` is how many bytes are kept."""
        self._receive = receive
        self._most = most
        self._kept: list[bytes] = []
        self._kept_size = 0
        #: pieces that have been read and not passed on
        self._waiting: list[bytes] = []
        self._more = True
        self.noted = False

    @property
    def kept(self) -> bytes | None:
        """All that has come; None where that is more than is kept."""
        return b"".join(self._kept) if self._kept_size <= self._most else None

    async def read_ahead(self) -> None:
        """Read as much as is kept. Raises ClientGone."""
        while self._more and self._kept_size <= self._most:
            self._waiting.append(await self._read())

    async def next(self) -> bytes | None:
        """The next piece, None at the end. Raises ClientGone."""
        if self._waiting:
            return self._waiting.pop(0)
        return await self._read() if self._more else None

    async def again(self) -> dict[str, Any]:
        """ASGI's `receive`, from the beginning of a body that has been read ahead."""
        if self._waiting:
            piece = self._waiting.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._waiting) or self._more}
        return await self._receive()

    async def _read(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message["body"]
        self._more = message.get("more_body", False)
        self._kept_size += len(piece)
        if self._kept_size <= self._most:
            self._kept.append(piece)
        else:
            self._kept.clear()
        return piece


#: Lets the models of a session answer a request: with its path, scope, `receive` and `send`.
Emulate = Callable[[SessionState, str, Scope, Receive, Send], Awaitable[None]]


async def serve(
    session: SessionState, path: str, scope: Scope, receive: Receive, entry: HttpEntry, emulate: Emulate
) -> None:
    """Answer a request by a recording, by asking the real server, or by the models that stand behind recordings."""
    harness = session.harness
    assert harness is not None  # noqa: S101  (where answers pass there is a journal)
    entry.path, entry.held = path, session.recorder is not None or session.shadow is not None
    matched = _match(path)
    body = Body(receive, harness.journal.most_bytes)
    try:
        if harness.plans or session.player is not None:
            await body.read_ahead()
            _keep(entry, body)
        if matched is not None and scope["method"] in matched[0].methods:
            entry.asks(matched[0].operation, matched[1])
            if await faults.answers(entry, session, entry.send) or await _refused(entry, session):
                return
        if session.player is not None and await _recorded(
            session, session.player, path, scope, body, entry, emulate
        ):
            return
        await asyncio.sleep(0)  # from here on in a task, which a timeout can cancel
        assert session.upstream is not None  # noqa: S101  (else a miss is an error)
        client = await session.upstream.require_http()
        await _exchange(client, path, scope, body, receive, _Noting(entry, body, session.clock))
        if session.shadow is not None and entry.passed:
            session.shadow.put(entry, partial(_emulated, session, path, scope, entry, emulate))
    except ClientGone:
        pass
    except UpstreamError as fault:
        await _tell(entry, fault)
    finally:
        _keep(entry, body)


async def _emulated(
    session: SessionState, path: str, scope: Scope, entry: HttpEntry, emulate: Emulate
) -> HttpEntry:
    """What the session's models answer to a request that the server has answered."""
    ghost = HttpEntry(unwatched(entry), scope, _nowhere, session.personality)
    ghost.operation, ghost.model, ghost.version, ghost.held = (
        entry.operation,
        entry.model,
        entry.version,
        True,
    )
    bodies = [entry.body]

    async def receive() -> dict[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        never: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        return await never  # the client stays

    await emulate(session, path, scope, receive, ghost.send)
    return ghost


async def _nowhere(message: dict[str, Any]) -> None:
    """Send an answer that nobody gets."""


async def _recorded(
    session: SessionState,
    player: Player,
    path: str,
    scope: Scope,
    body: Body,
    entry: HttpEntry,
    emulate: Emulate,
) -> bool:
    """Answer by a recording, or as a miss is to be answered; False where that is by the real server."""
    send = faults.shaping(entry.script, entry.send, session.clock)
    found = None if entry.truncated else player.find(entry)
    on_miss = session.settings.on_miss
    if found is not None:
        entry.replayed = True
        times = replaying.Times(session.clock, factor(session.settings.replay_timing))
        await replaying.replay(found, entry, send, times)
    elif on_miss == "emulate" or (on_miss == "error" and player.stands_for(entry)):
        await emulate(session, path, scope, body.again, send)
    elif on_miss == "error":
        missed = await replaying.miss(player, entry, send)
        if session.harness is not None:
            session.harness.not_recorded(missed)
    return found is not None or on_miss != "upstream"


def _keep(entry: HttpEntry, body: Body) -> None:
    """Give the journal what has come of a body, once."""
    if body.noted:
        return
    body.noted = True
    kept = body.kept
    if kept is None:
        entry.truncated = True
    else:
        entry.has(kept)


async def scrape(upstream: Upstream, path: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request for metrics by asking the real server."""
    started = False
    await asyncio.sleep(0)  # from here on in a task, which a timeout can cancel

    async def pass_on(part: Part, keeps: bool) -> None:
        nonlocal started
        started = True
        await send({"type": RELAYED, "data": part.raw, "more_body": not part.last, "keep_alive": keeps})

    try:
        body = Body(receive, 0)
        await _exchange(upstream.require_metrics(), path, scope, body, receive, pass_on)
    except ClientGone:
        pass
    except UpstreamError as fault:
        if started:
            await send({"type": UNLAWFUL, "operation": Reset() if fault.reset else Close()})
        else:
            await send_reply(send, _bad_gateway(fault))


class _Noting:
    """Passes the parts of an answer on, and notes them in the journal."""

    def __init__(self, entry: HttpEntry, body: Body, clock: Clock) -> None:
        self._entry = entry
        self._body = body
        script = entry.script
        self._send = (
            None if script is None or not script.shapes else faults.shaping(script, entry.send, clock)
        )

    async def __call__(self, part: Part, keeps: bool) -> None:
        entry = self._entry
        if part.head is not None:
            _keep(entry, self._body)
        if self._send is not None:
            await self._shaped(self._send, part)
            if entry.complete and not part.last:
                raise ClientGone  # the fault has ended the answer before the server has
            return
        if part.head is not None:
            entry.code, entry.answer_headers = part.head.status, part.head.headers
        for piece in part.pieces:
            entry.wrote(piece)
        entry.passed = part.last
        await entry.send({"type": RELAYED, "data": part.raw, "more_body": not part.last, "keep_alive": keeps})

    @staticmethod
    async def _shaped(send: Send, part: Part) -> None:
        if part.head is not None:
            headers = tuple(each for each in part.head.headers if each[0].lower() not in _FRAMING)
            await send({"type": "http.response.start", "status": part.head.status, "headers": headers})
        for piece in part.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if part.last:
            await send({"type": "http.response.body", "body": b""})


async def _exchange(
    client: HttpClient,
    path: str,
    scope: Scope,
    body: Body,
    receive: Receive,
    pass_on: Callable[[Part, bool], Awaitable[None]],
) -> None:
    """Send a request to a server, and pass the parts of its answer on. Raises UpstreamError and ClientGone."""
    connection = await client.connect()
    framing = [(name.lower(), value) for name, value in scope["headers"] if name.lower() in _REQUEST_FRAMING]
    chunked = any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in framing)
    # another server may see the end of the body elsewhere, and the rest of it as a request of the next client
    ambiguous = len(framing) > 1 or scope["method"] in _TUNNELS
    connection.ask(_head(client.origin, path, scope))
    sender = asyncio.create_task(_send_body(body, receive, connection, chunked=chunked))
    try:
        last = False
        while not last:
            part = await connection.read()
            await pass_on(part, connection.keeps or not part.last)
            last = part.last
        if ambiguous:
            connection.abort()
        client.give_back(connection)
    except UpstreamError:
        connection.abort()
        if sender.done() and sender.result():
            raise ClientGone from None
        raise
    except BaseException:
        connection.abort()
        raise
    finally:
        sender.cancel()


def _head(origin: Origin, path: str, scope: Scope) -> bytes:
    """The request line and the headers that go to the server."""
    query = scope["query_string"]
    target = origin.path.encode() + path.encode("utf-8", "surrogateescape") + (b"?" + query if query else b"")
    lines = [b"%b %b HTTP/%b\r\n" % (scope["method"].encode(), target, scope["http_version"].encode())]
    for name, value in scope["headers"]:
        lowered = name.lower()
        if lowered == b"host":
            lines.append(b"%b: %b\r\n" % (name, origin.authority.encode()))
        elif lowered != b"expect":  # "100 Continue" was sent when the body was asked for
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join((*lines, b"\r\n"))


async def _send_body(body: Body, receive: Receive, connection: Connection, *, chunked: bool) -> bool:
    """Send a body to the server, which may answer meanwhile, and wait for the client's end.

    When the client disconnects, so does the connection to the server, which then stops its work. Returns that it did.
    """
    try:
        while (piece := await body.next()) is not None:
            if piece:
                await connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await connection.write(b"0\r\n\r\n")
    except ClientGone:
        connection.abort()
        return True
    except UpstreamError as fault:
        connection.fail(fault)
    else:
        connection.sent()
    while (await receive())["type"] != "http.disconnect":
        pass
    connection.abort()
    return True


_REQUEST_FRAMING = (b"content-length", b"transfer-encoding", b"upgrade")
_TUNNELS = ("CONNECT",)


async def _tell(entry: HttpEntry, fault: UpstreamError) -> None:
    """The server has failed: a 502, or the end of the connection where its answer had begun."""
    entry.upstream_error = f"the upstream {fault}"
    if entry.code is None:
        await send_reply(entry.send, _bad_gateway(fault))
    else:
        operation = Reset() if fault.reset else Close()
        await entry.send({"type": UNLAWFUL, "operation": operation})


def _bad_gateway(fault: UpstreamError) -> Reply:
    text = f"triton-emulator: the upstream {fault}"
    return json_reply(b'{"error":%b}' % write_string(text), _BAD_GATEWAY)


async def _refused(entry: HttpEntry, session: SessionState) -> bool:
    """Answer what a model or its queue would have refused, where a fault says so; the server is not asked then."""
    script, rules = entry.script, session.personality
    if script is None or not isinstance(script.answer, Unloaded | QueueRefuses):
        return False
    script.note(Unloaded, QueueRefuses)
    if isinstance(script.answer, Unloaded):
        error = unloaded(entry.model, entry.version)
        reply = untyped_error(error, rules) if entry.operation == "infer" else typed_error(error, rules)
    elif not script.answer.expired:
        reply = typed_error(queue_is_full(InferRequest(entry.model, id=entry.request_id)), rules)
    elif entry.operation == "infer":
        reply = untyped_error(EXPIRED, rules)
    elif entry.operation == "generate":
        reply = Reply(400, ((b"Content-Type", JSON_TYPE),), error_body(EXPIRED))
    else:
        events = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
        reply = Reply(400, events, b"data: %b\n\n" % error_body(EXPIRED))
    await send_reply(entry.send, reply)
    return True
