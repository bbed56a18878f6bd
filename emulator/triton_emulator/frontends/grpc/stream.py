"""ModelStreamInfer: requests in, responses out, errors inside the stream.

Answers of models that are not decoupled leave in the order of their requests. Decoupled responses leave as they come
and may overtake them. Every response says whether it is the last of its request.
"""

import asyncio
from collections import deque
from typing import Any

import grpc

from triton_emulator.engine.call import Call
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.frontends.grpc.infer_request import c_string, read_infer, wants_empty_final
from triton_emulator.frontends.grpc.infer_response import FINAL, ModelStreamInferResponse, fill
from triton_emulator.frontends.grpc.messages import message_class, parser
from triton_emulator.frontends.grpc.metadata import Gate
from triton_emulator.frontends.outputs import requested
from triton_emulator.protocol.errors import TritonError, unavailable
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.repository.schema import Proto
from triton_emulator.session.world import World

_parse = parser(message_class("ModelInferRequest"))


async def model_stream_infer(gate: Gate, context: Any, streams: "set[Stream]") -> TritonError | None:
    """Serve one stream until the client has ended it and everything is answered; returns the error that ends it.

    It is one of `streams` for as long.
    """
    world = gate.admit("inference", context)
    strict = _strict(context.invocation_metadata() or ())
    stream = Stream(gate, world, context, strict=strict)
    streams.add(stream)
    reader = asyncio.create_task(stream.read())
    try:
        await stream.write()
    finally:
        streams.discard(stream)
        reader.cancel()
        stream.cancel()
    return stream.error


def _strict(metadata: Any) -> bool:
    """Whether the client asks for errors as the stream's status (`triton_grpc_error`)."""
    return any(key == "triton_grpc_error" and value == "true" for key, value in metadata)


def shutting_down() -> TritonError:
    # in the words of later versions
    return unavailable("GRPC server is shutting down and has stopped accepting new requests.")


class Stream:
    """One stream: what is in flight, and what waits to be written."""

    def __init__(self, gate: Gate, world: World, context: Any, *, strict: bool) -> None:
        self.gate = gate
        self.world = world
        self.context = context
        self.strict = strict
        self.error: TritonError | None = None
        self._reading = True
        self._draining = False
        self._in_flight: set[_InFlight] = set()
        #: requests of models that are not decoupled, in order; only the first may write
        self._ordered: deque[_Place] = deque()
        self._written: deque[Proto] = deque()
        self._wake: asyncio.Future[None] | None = None

    # --- both directions ---

    async def read(self) -> None:
        """Take requests until the client ends its side. 2.51: a request that can not be parsed ends it too."""
        context = self.context
        try:
            while (data := await context.read()) is not grpc.aio.EOF and not self._draining:
                try:
                    message = _parse(data)
                except TritonError:
                    break
                self._accept(message)
        finally:
            self._reading = False
            self._rouse()

    async def write(self) -> None:
        """Send what is ready until there is nothing more to come."""
        written = self._written
        while True:
            while written:
                await self.context.write(written.popleft().SerializeToString())
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
        """End once what is in flight is answered. 2.51 waits for its client to end the stream, however long."""
        self._draining = True
        self._rouse()

    def cancel(self) -> None:
        """Let the models know that nobody listens any more."""
        for request in list(self._in_flight):
            request.cancel()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # --- requests ---

    def _accept(self, message: Proto) -> None:
        world = self.world
        name = c_string(message.model_name)
        place: _Place | None = None
        lease = world.system_shared_memory.lease()
        try:
            try:
                model = world.model(name, message.model_version)
            except TritonError:
                place = self._place()
                raise
            if not model.config.decoupled:
                place = self._place()
            world.trace.sample(name)
            request = read_infer(message, lease)
            self.gate.forward(world, self.context, request)
            flight = _InFlight(self, message, model, request, place, lease)
            self._in_flight.add(flight)
            try:
                flight.submitted(world.submit(model, request, flight.deliver))
            except TritonError:
                self._in_flight.discard(flight)
                raise
        except TritonError as error:
            lease.release()
            reply = ModelStreamInferResponse(error_message=error.message)
            reply.infer_response.id = message.id
            self.send(reply, place)
            self.end(place)

    def _place(self) -> "_Place":
        place = _Place()
        self._ordered.append(place)
        return place

    # --- responses ---

    def send(self, message: Proto, place: "_Place | None") -> None:
        """Write a message now, or when it is its place's turn."""
        if place is None:
            self._written.append(message)
            self._rouse()
        else:
            place.messages.append(message)

    def end(self, place: "_Place | None") -> None:
        """Nothing more comes from this place: let those behind it write."""
        if place is not None:
            place.ended = True
            while self._ordered and self._ordered[0].ended:
                self._written.extend(self._ordered.popleft().messages)
        self._rouse()

    def fail(self, error: TritonError) -> None:
        """End the stream with an error."""
        if self.error is None:
            self.error = error
            self._rouse()

    def forget(self, flight: "_InFlight") -> None:
        self._in_flight.discard(flight)
        self._rouse()


class _Place:
    """A request's turn among those that are answered in order."""

    __slots__ = ("ended", "messages")

    def __init__(self) -> None:
        self.messages: list[Proto] = []
        self.ended = False


class _InFlight:
    """One request that a model works on."""

    def __init__(
        self,
        stream: Stream,
        message: Proto,
        model: LoadedModel,
        request: InferRequest,
        place: _Place | None,
        lease: Any,
    ) -> None:
        self._stream = stream
        self._model = model
        self._request = request
        self._place = place
        self._lease = lease
        self._shows_empty_final = bool(message.parameters) and wants_empty_final(message)
        self._call: Call | None = None
        self._ended = False

    def submitted(self, call: Call) -> None:
        self._call = call
        if self._ended:  # answered on the spot
            self._finish(call)

    def cancel(self) -> None:
        call = self._call
        if call is not None:
            call.cancelled = True
            if call.compute_end_ns:  # the model is done with it, and has not said so
                self._finish(call)

    def deliver(self, response: InferResponse | None, final: bool) -> None:
        stream = self._stream
        if response is not None:
            if (message := self._message(response, final)) is not None:
                stream.send(message, self._place)
        elif final and self._shows_empty_final:
            stream.send(self._bare(final), self._place)
        if final:
            self._ended = True
            stream.end(self._place)
            if self._call is not None:
                self._finish(self._call)

    def _finish(self, call: Call) -> None:
        self._call = None  # once is enough
        self._lease.release()
        self._stream.world.finish(call, self._model)
        self._stream.forget(self)

    def _message(self, response: InferResponse, final: bool) -> Proto | None:
        """What a response is on the wire; None for the error that ends a strict stream."""
        error = response.error
        if error is None:
            try:
                return self._answer(response, final)
            except TritonError as fault:
                error = fault
        if self._stream.strict:
            self._stream.fail(error)
            return None
        message = self._bare(final)
        message.error_message = error.message
        return message

    def _answer(self, response: InferResponse, final: bool) -> Proto:
        request = self._request
        if request.outputs:
            world = self._stream.world
            response.outputs = [requested(world, self._model, request, tensor) for tensor in response.outputs]
        message = ModelStreamInferResponse()
        fill(message.infer_response, request, response)
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
