"""Calls over gRPC that pass to a real server, and its answers, which pass back: messages, metadata, status, details.

gRPC for Python frames the messages, so what passes is what gRPC has. `user-agent` and the compression of messages are
those of each hop. A client's deadline goes on with the call, and a call that its client cancels is cancelled at the
server.

In a stream the journal has an entry for each request, and each response belongs to one of them: the one with its id, or
the oldest open one for its model. A request ends with the response that says so. A decoupled model's may end without
one; then its entry ends with the stream.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import grpc

from triton_emulator.engine.schedulers.policy_queue import EXPIRED, queue_is_full
from triton_emulator.frontends.grpc import faults, replaying
from triton_emulator.frontends.grpc.access import SESSION_KEY, Gate
from triton_emulator.frontends.grpc.entries import GrpcEntry
from triton_emulator.frontends.grpc.faults import Ended
from triton_emulator.frontends.grpc.infer_response import FINAL, ModelStreamInferResponse
from triton_emulator.frontends.grpc.local_call import LocalCall, LocalContext
from triton_emulator.frontends.grpc.messages import encode, health_class, message_class, parser
from triton_emulator.harness.cassettes.recording import Recording
from triton_emulator.harness.harness import unwatched
from triton_emulator.harness.operations import GRPC_METHODS
from triton_emulator.harness.parts import QueueRefuses, Unloaded
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.repository.config.raw_text import from_text
from triton_emulator.repository.repository import unloaded
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState
from triton_emulator.session.upstream import Upstream, factor
from triton_emulator.wire.http_client import UpstreamError
from triton_emulator.wire.operations import Body, Close, End, Hang, Operation, Pause, Reset

_UNAVAILABLE = 14
#: the status for a request that no recording answers, UNIMPLEMENTED
NOT_RECORDED = 12
#: metadata that each hop has for itself
_OF_A_HOP = (SESSION_KEY, "user-agent", "content-type", "te")

_parse_request = parser(message_class("ModelInferRequest"))
_parse_response = parser(ModelStreamInferResponse)


def _request_parser(method: str) -> Callable[[bytes], Proto]:
    if method == "Check":
        return parser(health_class("HealthCheckRequest"))
    return parser(message_class(f"{method}Request"))


def _passed_on(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata that belongs to a call and not to one hop of it.

    Of gRPC's own it is what has bytes: the details of a status, a trace.
    """
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _OF_A_HOP and (key.endswith("-bin") or not key.startswith(("grpc-", ":")))
    )


#: Lets the models of a session answer a call with one message.
Emulate = Callable[[SessionState, bytes, Any, GrpcEntry | None], Coroutine[Any, Any, bytes]]


async def answer(
    path: str,
    method: str,
    emulate: Emulate,
    session: SessionState,
    data: bytes,
    context: Any,
    entry: GrpcEntry | None,
) -> bytes:
    """The answer to a call with one message: a recording, the server's, or that of models behind recordings.

    Raises Ended with another status than OK, and TritonError.
    """
    assert entry is not None  # noqa: S101  (where answers pass there is a journal)
    entry.held = session.recorder is not None or session.shadow is not None
    try:
        message = _request_parser(method)(data)
    except TritonError:  # the server has an answer to it
        message = None
    if message is not None:
        if (given := await faults.answered(entry, message, session)) is not None:
            return given
        _refuse(entry)
    if session.player is not None:
        found = session.player.find(entry)
        if found is not None:
            entry.replayed = True
            return await _replayed(found, entry, context, session)
        on_miss = session.settings.on_miss
        if on_miss == "emulate" or (on_miss == "error" and session.player.stands_for(entry)):
            return await emulate(session, data, context, None)
        if on_miss == "error":
            raise missed(session, entry)
    assert session.upstream is not None  # noqa: S101  (else a miss is an error)
    described = session.recorder is not None
    try:
        return await _asked(session.upstream, path, data, context, entry, described=described)
    finally:
        if session.shadow is not None and entry.passed:
            metadata = context.invocation_metadata()
            session.shadow.put(entry, partial(_emulated, session, method, data, metadata, entry, emulate))


async def _emulated(
    session: SessionState, method: str, data: bytes, metadata: Any, entry: GrpcEntry, emulate: Emulate
) -> GrpcEntry:
    """What the session's models answer to a call that the server has answered."""
    context = LocalContext(metadata)
    ghost = GrpcEntry(unwatched(entry), method, data, context, session.personality)
    ghost.model, ghost.version, ghost.held = entry.model, entry.version, True
    try:
        ghost.wrote(await emulate(session, data, context, None))
    except TritonError as error:
        ghost.refused(error)
    ghost.finish()
    return ghost


async def _emulated_stream(session: SessionState, gate: Gate, metadata: Any, entry: GrpcEntry) -> GrpcEntry:
    """What the session's models answer to a request of a stream that the server has answered."""
    ghost = GrpcEntry(
        unwatched(entry), "ModelStreamInfer", entry.body, LocalContext(metadata), session.personality
    )
    ghost.model, ghost.version, ghost.held = entry.model, entry.version, True
    call = LocalCall(gate, session, metadata)
    try:
        await call.write(entry.body)
        await call.done_writing()
        while (data := await call.read()) is not grpc.aio.EOF:
            ghost.wrote(data)
    except Ended as end:
        ghost.code, ghost.details = end.status, end.details
    finally:
        call.cancel()  # the comparison may end before the models do
    ghost.finish()
    return ghost


async def _replayed(found: Recording, entry: GrpcEntry, context: Any, session: SessionState) -> bytes:
    await _wait_until(found.seconds, entry, session)
    context.set_trailing_metadata(_metadata_of(found))
    if found.status:
        raise Ended(found.status, found.details)
    data = (
        found.events[0][1] if found.events else b""
    )  # a message whose fields have their defaults has no bytes
    return replaying.with_id(data, found, entry)


def _metadata_of(found: Recording) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of a recording; a name with the end `-bin` has bytes."""
    return tuple(
        (name, value.encode("latin-1") if name.endswith("-bin") else value) for name, value in found.headers
    )


async def _wait_until(at: float, entry: GrpcEntry, session: SessionState) -> None:
    """Wait for the time of a recorded event, from when the request came."""
    times = factor(session.settings.replay_timing)
    left = at * times - (session.clock.monotonic_ns() - entry.began_ns) / 1e9 if times else 0.0
    if left > 0:
        await session.clock.sleep(left)


def missed(session: SessionState, entry: GrpcEntry) -> Ended:
    """No recording answers a request: the status that says so, with the nearest recordings."""
    assert session.player is not None  # noqa: S101
    text = f"triton-emulator: {session.player.miss(entry)}"
    if session.harness is not None:
        session.harness.not_recorded(text)
    return Ended(NOT_RECORDED, text)


async def _asked(
    upstream: Upstream, path: str, data: bytes, context: Any, entry: GrpcEntry, *, described: bool
) -> bytes:
    """The server's answer to a call with one message. With `described` it is asked for its metadata before."""
    try:
        if described:
            await upstream.describe()
        call = upstream.channel().unary_unary(path)(
            data,
            metadata=_passed_on(context.invocation_metadata()),
            timeout=context.time_remaining(),
        )
        async with asyncio.timeout(upstream.timeout):
            initial = await call.initial_metadata()
            reply: bytes = await call
    except UpstreamError as fault:
        raise _unreachable(entry, str(fault)) from None
    except TimeoutError:
        raise _unreachable(entry, f"{upstream.grpc} has sent nothing for {upstream.timeout} s") from None
    except grpc.aio.AioRpcError as fault:
        if metadata := _passed_on(fault.initial_metadata()):
            await context.send_initial_metadata(metadata)
        raise _ended(upstream, entry, fault, context) from None
    if metadata := _passed_on(initial):
        await context.send_initial_metadata(metadata)
    trailing = _passed_on(await call.trailing_metadata())
    context.set_trailing_metadata(trailing)
    entry.answer_headers = _as_headers(trailing)
    entry.passed = True
    return reply


def _as_headers(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name.encode("latin-1"), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
        for name, value in metadata
    )


async def _sent(call: Any, data: bytes) -> bool:
    """Send a message; returns whether the call had not ended before.

    `call.write` would then replace the status with which the server has ended the call by INTERNAL, "Internal error
    from Core" (grpcio 1.85). So the message is handed to what `write` hands it to.
    """
    sender = getattr(call, "_cython_call", None)
    try:
        if sender is None:
            await call.write(data)
            return True
        await call.wait_for_connection()
        if call.done():
            return False
        await sender.send_serialized_message(data)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError, grpc.aio.InternalError):
        return False
    return True


def _refuse(entry: GrpcEntry) -> None:
    """Raise what a model or its queue would have refused the request with, where a fault says so."""
    script = entry.script
    if script is None:
        return
    if isinstance(script.answer, Unloaded):
        script.note(Unloaded)
        raise unloaded(entry.model, entry.version)
    if isinstance(script.answer, QueueRefuses):
        script.note(QueueRefuses)
        raise (
            EXPIRED.copy() if script.answer.expired else queue_is_full(InferRequest(entry.model, id=entry.id))
        )


def _unreachable(entry: GrpcEntry, cause: str) -> Ended:
    entry.upstream_error = f"the upstream {cause}"
    return Ended(_UNAVAILABLE, f"triton-emulator: the upstream {cause}")


def _ended(upstream: Upstream, entry: GrpcEntry | None, fault: Any, context: Any) -> Ended:
    """The status with which a call has ended at the server, or the reason why it has not got there."""
    code, details = fault.code().value[0], fault.details() or ""
    if code == _UNAVAILABLE and not upstream.is_connected:
        cause = f"{upstream.grpc} does not answer over gRPC: {details}"
        if entry is not None:
            return _unreachable(entry, cause)
        return Ended(_UNAVAILABLE, f"triton-emulator: the upstream {cause}")
    trailing = _passed_on(fault.trailing_metadata())
    if entry is not None:
        entry.passed, entry.answer_headers = True, _as_headers(trailing)
    context.set_trailing_metadata(trailing)
    return Ended(code, details)


async def stream(path: str, session: SessionState, context: Any, gate: Gate) -> None:
    """Pass a call with any number of messages in both directions. Raises Ended with another status than OK."""
    method = path.rpartition("/")[2]
    passing = _Passing(path, session, context, gate, infers=GRPC_METHODS.get(method) == "stream_infer")
    if session.player is None:
        await passing.open_call()
    await passing.run()


class _Passing:
    """One stream: its requests whose answers are not complete, and the two directions in which messages pass.

    `up` reads the client's messages. What no recording answers goes to a call, which is opened when it is first needed:
    one to the real server, or one that the session's models answer. `down` passes on what comes from there. Recordings
    are played one after the other.
    """

    def __init__(self, path: str, session: SessionState, context: Any, gate: Gate, *, infers: bool) -> None:
        self._path = path
        self._session = session
        self._context = context
        self._gate = gate
        self._infers = infers
        self._call: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._playing: asyncio.Task[None] | None = None
        #: the entries of the requests whose answers are not complete, with their ids, the oldest first
        self._open: list[tuple[GrpcEntry, str]] = []
        self._writing = asyncio.Lock()
        metadata = context.invocation_metadata() or ()
        self._strict = any(key == "triton_grpc_error" and value == "true" for key, value in metadata)

    async def run(self) -> None:
        """Pass messages until the client has ended its side and everything is answered, or the call fails."""
        self._start(self.up())
        tasks = self._tasks
        try:
            while running := [task for task in tasks if not task.done()]:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            for task in tasks:
                task.cancel()
            if self._call is not None:
                self._call.cancel()
            self._leave()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def open_call(self) -> Any:
        """The call in which what passes is answered. Raises Ended where there is none."""
        if self._call is not None:
            return self._call
        session, context = self._session, self._context
        metadata = _passed_on(context.invocation_metadata())
        if session.upstream is None:
            self._call = LocalCall(self._gate, session, metadata)
        else:
            try:
                if session.recorder is not None:
                    await session.upstream.describe()
                self._call = session.upstream.channel().stream_stream(self._path)(
                    metadata=metadata, timeout=context.time_remaining()
                )
            except UpstreamError as fault:
                if self._infers:
                    self._open.append((self._entry(b""), ""))
                    for entry, _ in self._open:
                        entry.upstream_error = f"the upstream {fault}"
                        entry.code, entry.details = _UNAVAILABLE, f"triton-emulator: the upstream {fault}"
                    self._leave()
                raise Ended(_UNAVAILABLE, f"triton-emulator: the upstream {fault}") from None
        self._start(self.down(self._call))
        return self._call

    async def up(self) -> None:
        """Take the client's messages, and pass on those that have no other answer."""
        while (data := await self._context.read()) is not grpc.aio.EOF:
            if (not self._infers or await self._admit(data)) and not await _sent(
                await self.open_call(), data
            ):
                return  # the call has ended: `down` tells how
        if self._call is not None:
            with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError, grpc.aio.InternalError):
                await self._call.done_writing()

    def _entry(self, data: bytes) -> GrpcEntry:
        session = self._session
        assert session.harness is not None  # noqa: S101  (where answers pass there is a journal)
        entry = GrpcEntry(session.harness, "ModelStreamInfer", data, self._context, session.personality)
        entry.held = session.recorder is not None or session.shadow is not None
        session.harness.journal.add(entry)
        return entry

    def _answer_recorded(self, entry: GrpcEntry) -> bool:
        """Play a recording; False where none answers and the request goes on. Raises Ended for a miss."""
        player = self._session.player
        found = None if player is None else player.find(entry)
        if found is not None:
            entry.replayed = True
            self._start(self._play(found, entry, self._playing))
            self._playing = self._tasks[-1]
        elif player is not None and self._session.settings.on_miss == "error":
            raise missed(self._session, entry)
        return found is not None

    async def _play(self, found: Recording, entry: GrpcEntry, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait((before,))
        for at, data in found.events:
            await _wait_until(at, entry, self._session)
            given = replaying.with_id(data, found, entry)
            for operation in self._shaped(entry, Body(given)):
                await self._perform(entry, operation)
        await _wait_until(found.seconds, entry, self._session)
        for operation in self._shaped(entry, End()):
            await self._perform(entry, operation)
        if found.status:
            entry.code, entry.details = found.status, found.details
            entry.finish()
            self._context.set_trailing_metadata(_metadata_of(found))
            raise Ended(found.status, found.details)
        entry.finish()

    async def _admit(self, data: bytes) -> bool:
        """Open an entry for a request, and do what its fault does; whether the request goes on to the server."""
        session = self._session
        entry = self._entry(data)
        played = False
        try:
            message = _parse_request(data)
        except TritonError:
            if played := self._answer_recorded(entry):
                return False
            self._open.append((entry, ""))
            return True
        try:
            given = await faults.answered(entry, message, session, in_messages=not self._strict)
            if given is None:
                _refuse(entry)
                if played := self._answer_recorded(entry):
                    return False
                self._open.append((entry, message.id))
                return True
            entry.wrote(given)
            await self._write(given)
            raise faults.closed()
        except TritonError as error:
            if self._strict:
                entry.refused(error)
                raise
            reply = ModelStreamInferResponse(error_message=from_text(error.message))
            reply.infer_response.id = message.id
            data = encode(reply)
            entry.wrote(data)
            await self._write(data)
        except Ended as end:
            entry.code, entry.details = end.status, end.details
            raise
        finally:
            if not played and not any(entry is each for each, _ in self._open):
                entry.finish()
        return False

    async def down(self, call: Any) -> None:
        """Pass the server's messages to the client, until the call has ended there."""
        try:
            if metadata := _passed_on(await call.initial_metadata()):
                await self._context.send_initial_metadata(metadata)
            while (data := await call.read()) is not grpc.aio.EOF:
                await self._answer(data)
        except grpc.aio.AioRpcError as fault:
            if not self._open and self._infers:  # no request has come yet; the journal has the stream
                self._open.append((self._entry(b""), ""))
            entries = [entry for entry, _ in self._open]
            assert self._session.upstream is not None  # noqa: S101  (whose call it is)
            end = _ended(self._session.upstream, entries[0] if entries else None, fault, self._context)
            for entry in entries:
                entry.upstream_error = entries[0].upstream_error
                entry.code, entry.details, entry.passed = end.status, end.details, entries[0].passed
                entry.answer_headers = entries[0].answer_headers
            raise end from None
        except Ended as end:  # of a stream that models answer
            for entry, _ in self._open:
                entry.code, entry.details = end.status, end.details
            raise
        self._context.set_trailing_metadata(_passed_on(await call.trailing_metadata()))
        for entry, _ in self._open:
            for operation in self._shaped(entry, End()):
                await self._perform(entry, operation)
            self._complete(entry)
        self._open.clear()

    def _complete(self, entry: GrpcEntry) -> None:
        """The whole answer to a request has passed."""
        session = self._session
        entry.passed = session.upstream is not None
        entry.finish()
        if session.shadow is not None:
            metadata = self._context.invocation_metadata()
            session.shadow.put(entry, partial(_emulated_stream, session, self._gate, metadata, entry))

    async def _answer(self, data: bytes) -> None:
        found = self._owner(data) if self._infers else None
        if found is None:
            await self._write(data)
            return
        at, final = found
        entry, _ = self._open[at]
        for operation in self._shaped(entry, Body(data)):
            await self._perform(entry, operation)
        if final:
            for operation in self._shaped(entry, End()):
                await self._perform(entry, operation)
            self._complete(entry)
            self._open = [each for each in self._open if each[0] is not entry]

    def _owner(self, data: bytes) -> tuple[int, bool] | None:
        """Which of the open requests a response belongs to, and whether it is its last."""
        try:
            message = _parse_response(data)
        except TritonError:
            return None
        inner = message.infer_response
        final = FINAL in inner.parameters and inner.parameters[FINAL].bool_param
        if message.error_message and FINAL not in inner.parameters:
            final = True
        return next(((at, final) for at in self._candidates(inner)), None)

    def _candidates(self, inner: Proto) -> Iterator[int]:
        entries = list(enumerate(self._open))
        if inner.id:
            yield from (at for at, (_, identifier) in entries if identifier == inner.id)
        if inner.model_name:
            yield from (at for at, (entry, _) in entries if entry.model == inner.model_name)
        yield from (at for at, _ in entries)

    @staticmethod
    def _shaped(entry: GrpcEntry, operation: Operation) -> list[Operation]:
        return [operation] if entry.script is None else entry.script.shaped(operation)

    async def _perform(self, entry: GrpcEntry, operation: Operation) -> None:
        match operation:
            case Body(data):
                entry.wrote(data)
                await self._write(data)
            case Pause(seconds):
                await self._session.clock.sleep(seconds)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case Close() | Reset():
                entry.close()
                entry.finish()
                raise faults.closed()

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            await self._context.write(data)

    def _leave(self) -> None:
        """The call is over: the requests that are not answered never will be."""
        for entry, _ in self._open:
            if entry.code is None:
                entry.cancel()
            else:
                entry.finish()
        self._open.clear()
