"""ModelStreamInfer: requests in, responses out, errors inside the stream.

How it works
------------
A stream carries any number of requests, for any models, in both directions at once. Two coroutines serve it: `read`
takes requests and hands each to its model as an exchange of its own; `write` sends what is ready and waits for more.
Responses come from the models on the event loop (`_Flight.deliver`), in the middle of either.

Order. Answers of models that are not decoupled leave in the order of their requests: each such request takes a `_Turn`
at the end of a queue, its messages are collected there, and they are moved to the writer when all turns before it have
ended. Responses of decoupled models have no turn: they go to the writer as they come, and may overtake the others.
Every response says whether it is the last of its request (`triton_final_response`).

Errors. A request that is refused, and a response that is an error, are messages in the stream, which continues. A
client that sends the metadata `triton_grpc_error: true` gets the first error as the stream's status, which ends it.

The end. An exchange ends when its last message has been handed to this stream, which sends it in its turn. It does not
wait until the message is sent: a client that does not read would keep shared memory regions from being unregistered,
and 2.51, too, counts a request when its model is done. A stream ends when the client has ended its side and nothing is
in flight, when the server stops (`drain`), by an error, or when it is cancelled: what is in flight then is abandoned,
and each exchange ends when its model is done.
"""

import asyncio
from collections import deque
from typing import Any

import grpc

from triton_emulator.frontends.grpc import faults
from triton_emulator.frontends.grpc.access import Gate, forward, not_to_forward
from triton_emulator.frontends.grpc.entries import GrpcEntry
from triton_emulator.frontends.grpc.faults import Ended
from triton_emulator.frontends.grpc.infer_request import c_string, read_infer, wants_empty_final
from triton_emulator.frontends.grpc.infer_response import FINAL, ModelStreamInferResponse, fill
from triton_emulator.frontends.grpc.messages import encode, message_class, parser
from triton_emulator.frontends.threads import LARGE, is_heavy, run_by_size, run_in_thread
from triton_emulator.harness.parts import MissingFinal
from triton_emulator.inference import GRPC_STREAM_INFER, Exchange
from triton_emulator.protocol.errors import TritonError, unavailable
from triton_emulator.protocol.messages import InferRequest, InferResponse, SharedResponse
from triton_emulator.repository.config.raw_text import from_text
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState
from triton_emulator.wire.operations import Body, Close, End, Hang, Operation, Pause, Raw, Reset

_parse = parser(message_class("ModelInferRequest"))


async def model_stream_infer(
    gate: Gate, session: SessionState, context: Any, streams: "set[Stream]", *, watched: bool = True
) -> TritonError | None:
    """Serve one stream until the client has ended it and all requests are answered; return the error that ends it.

    Meanwhile the stream is in `streams`. Its requests are in the journal if it is `watched`.
    """
    gate.admit("inference", session, context)
    strict = session.personality.strict_streams and _strict(context.invocation_metadata() or ())
    stream = Stream(session, context, strict=strict, watched=watched)
    streams.add(stream)
    reader = asyncio.create_task(stream.read())
    try:
        await stream.write()
    finally:
        streams.discard(stream)
        reader.cancel()
        stream.abandon()
    return stream.error


def _strict(metadata: Any) -> bool:
    """Whether the client asks for errors as the stream's status (`triton_grpc_error`)."""
    return any(key == "triton_grpc_error" and value == "true" for key, value in metadata)


def shutting_down() -> TritonError:
    # the text is that of later versions
    return unavailable("GRPC server is shutting down and has stopped accepting new requests.")


class Stream:
    """One stream: its requests in flight, and its messages that wait to be written."""

    def __init__(self, session: SessionState, context: Any, *, strict: bool, watched: bool) -> None:
        self.session = session
        self._harness = session.harness if watched else None
        self.context = context
        self.strict = strict
        self.error: TritonError | None = None
        #: what refuses each request of the stream for the metadata that the stream has
        self._metadata_fault = not_to_forward(session, context)
        self._reading = True
        self._draining = False
        self._refusing = False
        self._in_flight: set[_Flight] = set()
        #: requests of models that are not decoupled, in order; only the first may write
        self._turns: deque[_Turn] = deque()
        self._written: deque[Proto | Operation] = deque()
        self._wake: asyncio.Future[None] | None = None
        #: how a fault ends the stream
        self._ended: Ended | None = None

    def __repr__(self) -> str:
        state = "failed" if self.error else "draining" if self._draining else "open"
        waiting = f"{len(self._in_flight)} in flight, {len(self._written)} to write"
        return f"<Stream {state}{'' if self._reading else ', read to its end'}, {waiting}>"

    # --- both directions ---

    async def read(self) -> None:
        """Read requests until the client ends its side. 2.51: a request that cannot be parsed ends it too."""
        context = self.context
        try:
            while (data := await context.read()) is not grpc.aio.EOF and not self._draining:
                try:
                    message = _parse(data)
                except TritonError:
                    break
                entry = None
                if (harness := self._harness) is not None:
                    entry = GrpcEntry(
                        harness, "ModelStreamInfer", data, self.context, self.session.personality
                    )
                    harness.journal.add(entry)
                try:
                    if entry is None or not await self._met(entry, message):
                        await self._accept(message, len(data), entry)
                except (
                    asyncio.CancelledError
                ):  # the stream has ended while the request was read, or met a delay
                    if entry is not None:
                        entry.cancel()
                    raise
                except Exception as fault:
                    if entry is not None:
                        entry.failed(fault)
                    raise
        finally:
            self._reading = False
            self._rouse()

    async def write(self) -> None:
        """Send messages as they become ready, until no more can come."""
        written = self._written
        while True:
            while written:
                message = written.popleft()
                if isinstance(message, ModelStreamInferResponse):
                    await self.context.write(encode(message))
                else:
                    await self._perform(message)
            if self.error is not None:
                return
            if not self._in_flight:
                if self._draining:
                    self.error = shutting_down()
                if self._draining or not self._reading:
                    return
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def drain(self) -> None:
        """The server stops: end when the requests in flight are answered, or refuse all that come from now on.

        2.51 waits without limit for the client to end the stream. Since 2.58 each new request gets an error, and the
        stream ends when the client ends it or the server's time is over.
        """
        if self.session.personality.refuses_while_stopping:
            self._refusing = True
        else:
            self._draining = True
            self._rouse()

    def abandon(self) -> None:
        """Tell the models that the client has gone. Nothing more is written."""
        while self._in_flight:
            self._in_flight.pop().abandon()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # --- requests ---

    async def _met(self, entry: GrpcEntry, message: Proto) -> bool:
        """Do what a fault does before the request is looked at; returns whether it has answered it."""
        try:
            given = await faults.answered(entry, message, self.session, in_messages=not self.strict)
        except TritonError as error:
            reply = ModelStreamInferResponse(error_message=from_text(error.message))
            reply.infer_response.id = message.id
            if self.strict:
                entry.refused(error)
                self.fail(error)
            else:
                turn = None if self._is_decoupled(message) else self._take_turn()
                self.send(reply, turn, entry)
                self.end_turn(turn)
        except Ended as end:
            entry.code, entry.details = end.status, end.details
            self._ended = end
            self._written.append(Close())
            self._rouse()
        else:
            if given is None:
                return False
            # a message that cannot be parsed: clients wait for the end of the call after it
            self._written += (Raw(given), Close())
            self._rouse()
        entry.finish()
        return True

    def _is_decoupled(self, message: Proto) -> bool:
        """Whether a message is for a decoupled model, whose answers have no turn."""
        try:
            model = self.session.repository.get(c_string(message.model_name), message.model_version)
        except TritonError:
            return False
        return model.config.decoupled

    async def _perform(self, operation: Operation) -> None:
        """Do what a fault does on the wire of this stream."""
        match operation:
            case Body(data) | Raw(data):
                await self.context.write(data)
            case Pause(seconds):
                await self.session.clock.sleep(seconds)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case Close() | Reset():
                raise self._ended or faults.closed()

    async def _accept(self, message: Proto, size: int, entry: GrpcEntry | None = None) -> None:
        """Submit a request (of `size` bytes) to its model, or write the error that refuses it."""
        exchange = Exchange(
            GRPC_STREAM_INFER, self.session, c_string(message.model_name), message.model_version, entry
        )
        turn: _Turn | None = None
        try:
            try:
                if self._refusing:
                    raise shutting_down()
                model = exchange.find()
            except TritonError:
                turn = self._take_turn()
                raise
            if not model.config.decoupled:
                turn = self._take_turn()
            lease = exchange.lease()
            rules = self.session.personality
            request = await run_by_size(size, read_infer, message, lease, rules, self._metadata_fault)
            forward(self.session, self.context, request)
            flight = _Flight(self, exchange, message, request, turn, entry)
            self._in_flight.add(flight)
            try:
                prepared = None
                if (size > LARGE or lease.input_bytes > LARGE) and is_heavy(request):
                    prepared = await run_in_thread(exchange.prepare, request)
                exchange.submit(request, flight.deliver, prepared)
            except TritonError:
                self._in_flight.discard(flight)
                raise
        except TritonError as error:
            reply = ModelStreamInferResponse(error_message=from_text(error.message))
            reply.infer_response.id = message.id
            self.send(reply, turn, entry)
            self.end_turn(turn)
            if entry is not None:
                entry.finish()
        finally:
            if exchange.call is None:
                exchange.end()

    def _take_turn(self) -> "_Turn":
        turn = _Turn()
        self._turns.append(turn)
        return turn

    # --- responses ---

    def send(self, message: Proto | Body, turn: "_Turn | None", entry: GrpcEntry | None = None) -> None:
        """Write a message now, or when its turn has come. The entry of its request notes it."""
        if entry is None:
            self._put(turn, message)
            return
        body = message if isinstance(message, Body) else Body(encode(message))
        operations = [body] if entry.script is None else entry.script.shaped(body)
        for operation in operations:
            if isinstance(operation, Body):
                entry.wrote(operation.data)
            elif isinstance(operation, Close | Reset):
                entry.close()
            self._put(turn, operation)

    def end_of(self, entry: GrpcEntry, turn: "_Turn | None") -> None:
        """No more messages come for a request."""
        if entry.script is not None:
            for operation in entry.script.shaped(End()):
                if isinstance(operation, Close | Reset):
                    entry.close()
                if not isinstance(operation, End):
                    self._put(turn, operation)

    def _put(self, turn: "_Turn | None", message: Proto | Operation) -> None:
        if turn is None:
            self._written.append(message)
            self._rouse()
        else:
            turn.messages.append(message)

    def end_turn(self, turn: "_Turn | None") -> None:
        """Mark this request as complete, so that those after it can write."""
        if turn is not None:
            turn.ended = True
            while self._turns and self._turns[0].ended:
                self._written.extend(self._turns.popleft().messages)
        self._rouse()

    def fail(self, error: TritonError) -> None:
        """End the stream with an error."""
        if self.error is None:
            self.error = error
            self._rouse()

    def forget(self, flight: "_Flight") -> None:
        """A request is answered."""
        self._in_flight.discard(flight)
        self._rouse()


class _Turn:
    """A request's turn among those that are answered in order."""

    __slots__ = ("ended", "messages")

    def __init__(self) -> None:
        self.messages: list[Proto | Operation] = []
        self.ended = False


class _Flight:
    """One request of a stream that a model works on: writes its responses into the stream."""

    __slots__ = ("_entry", "_request", "_shows_empty_final", "_stream", "_turn", "exchange")

    def __init__(
        self,
        stream: Stream,
        exchange: Exchange,
        message: Proto,
        request: InferRequest,
        turn: _Turn | None,
        entry: GrpcEntry | None,
    ) -> None:
        self.exchange = exchange
        self._entry = entry
        self._stream = stream
        self._request = request
        self._turn = turn
        self._shows_empty_final = bool(message.parameters) and wants_empty_final(message)

    def deliver(self, response: InferResponse | None, final: bool) -> None:
        stream, entry = self._stream, self._entry
        shown = final and (entry is None or entry.script is None or not entry.script.hides_final)
        if type(response) is SharedResponse and not final and not self._request.id:
            stream.send(self._shared(response), self._turn, entry)
        elif response is not None:
            if (message := self._message(response, shown)) is not None:
                stream.send(message, self._turn, entry)
        elif shown and self._shows_empty_final:
            stream.send(self._bare(final), self._turn, entry)
        if final:
            if entry is not None:
                if not shown and entry.script is not None:
                    entry.script.note(MissingFinal)
                stream.end_of(entry, self._turn)
                entry.finish()
            stream.end_turn(self._turn)
            self.exchange.end()
            stream.forget(self)

    def _shared(self, response: SharedResponse) -> Body:
        """The message of a response that many requests get, made for the first of them. It is none's last."""
        if not response.message:
            response.message = encode(self._answer(response, final=False))
        return Body(response.message)

    def abandon(self) -> None:
        """The client has gone."""
        if self._entry is not None:
            self._entry.cancel()
        self.exchange.end()

    def _message(self, response: InferResponse, final: bool) -> Proto | None:
        """The message of a response, or None for the error that ends a strict stream."""
        error = response.error
        if error is None:
            try:
                return self._answer(response, final)
            except TritonError as fault:
                error = fault
        if self._stream.strict:
            if self._entry is not None:
                self._entry.refused(error)
            self._stream.fail(error)
            return None
        message = self._bare(final)
        message.error_message = from_text(error.message)
        return message

    def _answer(self, response: InferResponse, final: bool) -> Proto:
        self.exchange.requested_outputs(self._request, response)
        message = ModelStreamInferResponse()
        fill(message.infer_response, self._request, response)
        message.infer_response.parameters[FINAL].bool_param = final
        return message

    def _bare(self, final: bool) -> Proto:
        """A response without outputs. 2.51: its version is as the request gave it, so usually empty."""
        message = ModelStreamInferResponse()
        inner = message.infer_response
        inner.model_name = self._request.model_name
        inner.model_version = self._request.model_version
        inner.id = self._request.id
        inner.parameters[FINAL].bool_param = final
        return message
