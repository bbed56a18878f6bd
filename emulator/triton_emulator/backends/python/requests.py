"""A request as a model sees it, and the sender through which it answers."""

from functools import lru_cache
from time import time_ns
from typing import Any

from triton_emulator.backends.python.binding import MODULE, Bound, incompatible
from triton_emulator.backends.python.objects import (
    InferenceResponse,
    InferenceTrace,
    Tensor,
    TritonModelException,
)
from triton_emulator.engine.model import Call
from triton_emulator.engine.unordered import walk
from triton_emulator.protocol import json_dialect
from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.protocol.tensor import Tensor as WireTensor

_FINAL = 1
_RESCHEDULE = 2
#: the model's error code by number
_CODE = dict(enumerate(Code))


class InferenceRequest(Bound):
    """One inference request."""

    __module__ = MODULE
    __slots__ = ("_call", "_decoupled", "_flags", "_inputs", "_outputs", "_release", "_sender")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TritonModelException("BLS is not supported yet")

    @classmethod
    def received(cls, call: Call, outputs: frozenset[str], *, decoupled: bool) -> "InferenceRequest":
        """The request of `call`; `outputs` are all outputs of the model."""
        request = cls.__new__(cls)
        request._call = call
        request._decoupled = decoupled
        request._outputs = outputs
        request._inputs = None
        request._sender = None
        request._release = 1
        asked = call.request
        request._flags = asked.sequence_start | asked.sequence_end << 1 if asked.sequence_id else 0
        return request

    def inputs(self) -> list[Tensor]:
        inputs = self._inputs
        if inputs is None:
            received = Tensor.received
            inputs = self._inputs = [received(wire) for wire in _walked(self._call.request.inputs)]
        return inputs.copy()

    def request_id(self) -> str:
        return self._call.request.id

    def correlation_id(self) -> int | str:
        return self._call.request.sequence_id

    def requested_output_names(self) -> set[str]:
        return set(self.wanted())

    def parameters(self) -> str:
        parameters = self._call.request.parameters
        return json_dialect.write(parameters).decode("utf-8", "surrogateescape") if parameters else "{}"

    def flags(self) -> int:
        return self._flags

    def set_flags(self, *args: Any) -> None:
        self._flags = _unsigned("set_flags", self, args)

    def timeout(self) -> int:
        return self._call.request.timeout

    def trace(self) -> InferenceTrace:
        return InferenceTrace()

    def is_cancelled(self) -> bool:
        return self._call.cancelled

    def set_release_flags(self, *args: Any) -> None:
        self._release = _unsigned("set_release_flags", self, args)

    def get_response_sender(self) -> "InferenceResponseSender":
        if self._sender is None:
            self._sender = InferenceResponseSender.of(self)
        return self._sender

    def wanted(self) -> frozenset[str]:
        """The names of the outputs that the client asked for, all where it named none."""
        asked = self._call.request.outputs
        return frozenset(output.name for output in asked) if asked else self._outputs


def _unsigned(function: str, request: InferenceRequest, args: tuple[Any, ...]) -> int:
    """The one argument of a method that takes a uint32."""
    if len(args) != 1 or not isinstance(args[0], int) or not 0 <= args[0] < 1 << 32:
        signature = "(self: c_python_backend_utils.InferenceRequest, arg0: int) -> None"
        raise incompatible(function, (signature,), (request, *args), {})
    return args[0]


@lru_cache(maxsize=1024)
def _order(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(names.index(name) for name in walk(walk(names)))


def _walked(inputs: list[WireTensor]) -> list[WireTensor]:
    """The inputs in the order in which a model sees them.

    Triton fills one map of them in the client's order and a second one by walking the first; the model gets them by
    walking the second.
    """
    if len(inputs) < 2:
        return inputs
    return [inputs[at] for at in _order(tuple(wire.name for wire in inputs))]


def wire_response(request: InferenceRequest, response: InferenceResponse) -> InferResponse:
    """The engine's form of a model's response, with only the outputs that the client asked for."""
    call = request._call
    asked = call.request
    error = response._error
    if error is not None:
        return failure(call, TritonError(_CODE[error._code.value], error._message))
    wanted = request.wanted()
    outputs = [tensor.sent() for tensor in response._outputs if tensor._name in wanted]
    return InferResponse(asked.model_name, str(call.version), asked.id, outputs)


def failure(call: Call, error: TritonError) -> InferResponse:
    """A response that is an error."""
    return InferResponse(call.request.model_name, str(call.version), call.request.id, error=error)


class InferenceResponseSender(Bound):
    """Answers one request, once or, for a decoupled model, many times; from any thread, also after `execute`."""

    __module__ = MODULE
    __slots__ = ("_closed", "_request", "_sent", "__weakref__")

    _SIGNATURE = (
        "(self: c_python_backend_utils.InferenceResponseSender, "
        "response: c_python_backend_utils.InferenceResponse = None, flags: int = 0) -> None"
    )

    @classmethod
    def of(cls, request: InferenceRequest) -> "InferenceResponseSender":
        sender = cls.__new__(cls)
        sender._request = request
        sender._closed = False
        sender._sent = 0
        return sender

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.InferenceResponseSender: No constructor defined!")

    def send(self, response: Any = None, flags: Any = 0) -> None:
        if not (response is None or isinstance(response, InferenceResponse)) or not isinstance(flags, int):
            raise incompatible("send", (self._SIGNATURE,), (self, response, flags), {})
        if flags not in (_FINAL, 0):
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if flags == 0 and response is None:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        if not self._request._decoupled:
            self._check_single(response, flags)
        if self._closed:
            raise TritonModelException("Unable to send response. Response sender has been closed.")
        self._closed = flags == _FINAL
        self._sent += 1
        self.deliver(response, final=self._closed)

    def is_cancelled(self) -> bool:
        return self._request._call.cancelled

    def _check_single(self, response: InferenceResponse | None, flags: int) -> None:
        if response is not None and self._sent > 0:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send more than one response."
            )
        if response is None and flags == _FINAL and self._sent == 0:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send complete final before sending a response."
            )

    def deliver(self, response: InferenceResponse | None, *, final: bool) -> None:
        """Pass a response on to the engine."""
        call = self._request._call
        message = None if response is None else wire_response(self._request, response)
        if final and not call.compute_output_start_ns:
            call.compute_output_start_ns = call.compute_end_ns = time_ns()
        call.respond(message, final=final)
