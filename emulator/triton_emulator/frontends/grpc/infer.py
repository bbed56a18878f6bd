"""ModelInfer: one request, one answer."""

import asyncio
from collections.abc import Callable
from typing import Any

from triton_emulator.engine.call import Call
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.frontends.grpc.infer_request import c_string, read_infer
from triton_emulator.frontends.grpc.infer_response import ModelInferResponse, fill
from triton_emulator.frontends.grpc.messages import message_class, parser
from triton_emulator.frontends.grpc.metadata import Gate
from triton_emulator.frontends.outputs import requested
from triton_emulator.protocol.errors import internal, unsupported
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.session.shared_memory import Lease
from triton_emulator.session.world import World

_parse = parser(message_class("ModelInferRequest"))


async def model_infer(gate: Gate, data: bytes, context: Any) -> bytes:
    """The bytes of a ModelInferResponse. Raises TritonError; on cancellation the model learns of it at once."""
    message = _parse(data)
    world = gate.admit("inference", context)
    name = c_string(message.model_name)
    model = world.model(name, message.model_version)
    if model.config.decoupled:
        raise unsupported("ModelInfer RPC doesn't support models with decoupled transaction policy")
    world.trace.sample(name)
    lease = world.system_shared_memory.lease()
    pending = _Pending()
    try:
        request = read_infer(message, lease)
        gate.forward(world, context, request)
        call = world.submit(model, request, pending.deliver)
    except BaseException:
        lease.release()
        raise
    if not pending.ended:
        try:
            await pending.wait()
        except asyncio.CancelledError:  # the client has gone, or its deadline has passed
            call.cancelled = True
            pending.abandon(call, lambda: _finish(world, model, call, lease))
            raise
    try:
        return _answer(world, model, request, pending.response)
    finally:
        _finish(world, model, call, lease)


class _Pending:
    """The answer of a model that gives one: the first response, which is there once the last has come."""

    __slots__ = ("_then", "_waiter", "ended", "response")

    def __init__(self) -> None:
        self.response: InferResponse | None = None
        self.ended = False
        self._then: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def deliver(self, response: InferResponse | None, final: bool) -> None:
        if self.response is None:
            self.response = response
        if final:
            self.ended = True
            if self._then is not None:
                self._then()
            elif self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def wait(self) -> "asyncio.Future[None]":
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def abandon(self, call: Call, then: Callable[[], None]) -> None:
        """Nobody waits for it any more: do the rest once the model is done with the call, which may be now."""
        if self.ended or call.compute_end_ns:
            then()
        else:
            self._then = then


def _finish(world: World, model: LoadedModel, call: Call, lease: Lease) -> None:
    lease.release()
    world.finish(call, model)


def _answer(world: World, model: LoadedModel, request: InferRequest, response: InferResponse | None) -> bytes:
    if response is None:
        raise internal(f"model '{model.name}' sent no response")
    if response.error is not None:
        raise response.error
    if request.outputs:
        response.outputs = [requested(world, model, request, tensor) for tensor in response.outputs]
    message = ModelInferResponse()
    fill(message, request, response)
    answer: bytes = message.SerializeToString()
    return answer
