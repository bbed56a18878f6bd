"""Calls over gRPC that pass to a real server, and its answers, which pass back: messages, metadata, status, details.

gRPC for Python frames the messages, so what passes is what gRPC has. `user-agent` and the compression of messages are
those of each hop. A client's deadline goes on with the call, and a call that its client cancels is cancelled at the
server.

In a stream the journal has an entry for each request, and each response belongs to one of them: the one with its id, or
the oldest open one for its model. A request ends with the response that says so. A decoupled model's may end without
one; then its entry ends with the stream.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc

from triton_emulator.engine.schedulers.policy_queue import EXPIRED, queue_is_full
from triton_emulator.frontends.grpc import faults
from triton_emulator.frontends.grpc.access import SESSION_KEY
from triton_emulator.frontends.grpc.entries import GrpcEntry
from triton_emulator.frontends.grpc.faults import Ended
from triton_emulator.frontends.grpc.infer_response import FINAL, ModelStreamInferResponse
from triton_emulator.frontends.grpc.messages import encode, health_class, message_class, parser
from triton_emulator.harness.operations import GRPC_METHODS
from triton_emulator.harness.parts import QueueRefuses, Unloaded
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.repository.config.raw_text import from_text
from triton_emulator.repository.repository import unloaded
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState
from triton_emulator.session.upstream import Upstream
from triton_emulator.wire.http_client import UpstreamError
from triton_emulator.wire.operations import Body, Close, End, Hang, Operation, Pause, Reset

_UNAVAILABLE = 14
#: metadata that each hop has for itself
_OF_A_HOP = (SESSION_KEY, "user-agent", "content-type", "te")

_parse_request = parser(message_class("ModelInferRequest"))
_parse_response = parser(ModelStreamInferResponse)


def _request_parser(method: str) -> Callable[[bytes], Proto]:
    if method == "Check":
        return parser(health_class("HealthCheckRequest"))
    return parser(message_class(f"{method}Request"))


def _passed_on(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata that belongs to a call and not to one hop of it."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _OF_A_HOP and not key.startswith(("grpc-", ":"))
    )


async def answer(
    upstream: Upstream,
    path: str,
    method: str,
    session: SessionState,
    data: bytes,
    context: Any,
    entry: GrpcEntry | None,
) -> bytes:
    """The server's answer to a call with one message. Raises Ended with another status than OK, and TritonError."""
    assert entry is not None  # noqa: S101  (with an upstream there is a journal)
    try:
        message = _request_parser(method)(data)
    except TritonError:  # the server has an answer to it
        message = None
    if message is not None:
        if (given := await faults.answered(entry, message, session)) is not None:
            return given
        _refuse(entry)
    try:
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
    context.set_trailing_metadata(_passed_on(await call.trailing_metadata()))
    entry.passed = True
    return reply


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
    if entry is not None:
        entry.passed = True
    context.set_trailing_metadata(_passed_on(fault.trailing_metadata()))
    return Ended(code, details)


async def stream(upstream: Upstream, path: str, session: SessionState, context: Any) -> None:
    """Pass a call with any number of messages in both directions. Raises Ended with another status than OK."""
    method = path.rpartition("/")[2]
    passing = _Passing(upstream, session, context, infers=GRPC_METHODS.get(method) == "stream_infer")
    try:
        call = upstream.channel().stream_stream(path)(
            metadata=_passed_on(context.invocation_metadata()), timeout=context.time_remaining()
        )
    except UpstreamError as fault:
        raise Ended(_UNAVAILABLE, f"triton-emulator: the upstream {fault}") from None
    upward = asyncio.create_task(passing.up(call))
    downward = asyncio.create_task(passing.down(call))
    try:
        await asyncio.wait((upward, downward), return_when=asyncio.FIRST_EXCEPTION)
        for task in (upward, downward):
            if task.done():
                task.result()
    finally:
        upward.cancel()
        downward.cancel()
        call.cancel()
        passing.leave()


class _Passing:
    """One stream: its requests whose answers are not complete, and the two directions in which messages pass."""

    def __init__(self, upstream: Upstream, session: SessionState, context: Any, *, infers: bool) -> None:
        self._upstream = upstream
        self._session = session
        self._context = context
        self._infers = infers
        #: the entries of the requests whose answers are not complete, with their ids, the oldest first
        self._open: list[tuple[GrpcEntry, str]] = []
        self._writing = asyncio.Lock()
        metadata = context.invocation_metadata() or ()
        self._strict = any(key == "triton_grpc_error" and value == "true" for key, value in metadata)

    async def up(self, call: Any) -> None:
        """Pass the client's messages to the server."""
        while (data := await self._context.read()) is not grpc.aio.EOF:
            if (not self._infers or await self._admit(data)) and not await _sent(call, data):
                return  # the call has ended: `down` tells how
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError, grpc.aio.InternalError):
            await call.done_writing()

    def _entry(self, data: bytes) -> GrpcEntry:
        session = self._session
        assert session.harness is not None  # noqa: S101  (with an upstream there is a journal)
        entry = GrpcEntry(session.harness, "ModelStreamInfer", data, self._context, session.personality)
        session.harness.journal.add(entry)
        return entry

    async def _admit(self, data: bytes) -> bool:
        """Open an entry for a request, and do what its fault does; whether the request goes on to the server."""
        session = self._session
        entry = self._entry(data)
        try:
            message = _parse_request(data)
        except TritonError:
            self._open.append((entry, ""))
            return True
        try:
            given = await faults.answered(entry, message, session, in_messages=not self._strict)
            if given is None:
                _refuse(entry)
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
            if not any(entry is each for each, _ in self._open):
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
            end = _ended(self._upstream, entries[0] if entries else None, fault, self._context)
            for entry in entries:
                entry.upstream_error = entries[0].upstream_error
                entry.code, entry.details, entry.passed = end.status, end.details, entries[0].passed
            raise end from None
        self._context.set_trailing_metadata(_passed_on(await call.trailing_metadata()))
        for entry, _ in self._open:
            entry.passed = True
            for operation in self._shaped(entry, End()):
                await self._perform(entry, operation)
            entry.finish()
        self._open.clear()

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
            entry.passed = True
            entry.finish()
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

    def leave(self) -> None:
        """The call is over: the requests that are not answered never will be."""
        for entry, _ in self._open:
            if entry.code is None:
                entry.cancel()
            else:
                entry.finish()
        self._open.clear()
