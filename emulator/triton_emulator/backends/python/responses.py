"""How a model answers: `pb_utils.InferenceResponse` and `InferenceResponseSender`."""

import json
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from triton_emulator.backends.python.binding import MODULE, Bound, incompatible, is_sequence
from triton_emulator.backends.python.tensors import Tensor
from triton_emulator.backends.python.values import (
    TritonError,
    TritonModelException,
    bind_arguments,
    parameters_text,
)
from triton_emulator.cxx.numbers import INT64_MAX, INT64_MIN
from triton_emulator.engine.call import Call
from triton_emulator.protocol import errors
from triton_emulator.protocol.infer_response import json_parameters
from triton_emulator.protocol.messages import InferResponse, Parameter
from triton_emulator.protocol.personality import Personality

if TYPE_CHECKING:
    from triton_emulator.backends.python.requests import InferenceRequest

_FINAL = 1
#: the engine's error code by the model's number
_CODES = dict(enumerate(errors.Code))
_NUMBERS = {code: number for number, code in _CODES.items()}
_INTERNAL = TritonError.INTERNAL.value

_NO_OUTPUTS: list[Tensor] = []


class InferenceResponse(Bound):
    """A model's answer to one request: output tensors or an error."""

    __module__ = MODULE
    __slots__ = ("_error", "_outputs")

    _SIGNATURE = (
        "c_python_backend_utils.InferenceResponse(output_tensors: List[c_python_backend_utils.Tensor] = [], "
        "error: c_python_backend_utils.TritonError = None)"
    )

    #: JSON; "" for none
    _parameters = ""

    def __init__(
        self, output_tensors: Any = _NO_OUTPUTS, error: Any = None, *more: Any, **unknown: Any
    ) -> None:
        fits = not more and not unknown and (error is None or isinstance(error, TritonError))
        if not fits or not is_sequence(output_tensors):
            raise self._refusal(output_tensors, error, more, unknown)
        for tensor in output_tensors:
            if tensor.__class__ is not Tensor and not isinstance(tensor, Tensor):
                if tensor is None:
                    raise TritonModelException("Output tensor for inference response should not be empty.")
                raise self._refusal(output_tensors, error, more, unknown)
        self._outputs: list[Tensor] = list(output_tensors)
        self._error: TritonError | None = error

    @classmethod
    def _received(cls, outputs: list[Tensor], error: "TritonError | None") -> "InferenceResponse":
        """The response to a BLS request."""
        response = cls.__new__(cls)
        response._outputs = outputs
        response._error = error
        return response

    def output_tensors(self) -> list[Tensor]:
        return self._outputs

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def _refusal(self, outputs: Any, error: Any, more: tuple[Any, ...], unknown: dict[str, Any]) -> TypeError:
        if outputs is _NO_OUTPUTS:
            named = unknown if error is None else {"error": error, **unknown}
            return incompatible("__init__", (self._SIGNATURE,), more, named)
        # Python has bound `error` already, so we cannot know if it was given by position.
        given = (outputs, error) if error is not None or more else (outputs,)
        return incompatible("__init__", (self._SIGNATURE,), (*given, *more), unknown)


class _ParametrizedResponse(InferenceResponse):
    """The same with parameters, which versions since 2.55 have."""

    __module__ = MODULE
    __slots__ = ("_parameters",)

    _SIGNATURE = InferenceResponse._SIGNATURE.removesuffix(")") + ", parameters: object = None)"

    def __init__(
        self,
        output_tensors: Any = _NO_OUTPUTS,
        error: Any = None,
        parameters: Any = None,
        *more: Any,
        **unknown: Any,
    ) -> None:
        super().__init__(output_tensors, error, *more, **unknown)
        self._parameters = "" if parameters is None else parameters_text(parameters)

    def parameters(self) -> str:
        return self._parameters or "{}"


_ParametrizedResponse.__name__ = _ParametrizedResponse.__qualname__ = "InferenceResponse"


def response_class(rules: Personality) -> type[InferenceResponse]:
    """`pb_utils.InferenceResponse` of a version."""
    return _ParametrizedResponse if rules.responses_have_parameters else InferenceResponse


def received_response(response: InferResponse | None, rules: Personality) -> InferenceResponse:
    """The response to a BLS request; None is a final flag alone."""
    kind = response_class(rules)
    if response is None:
        return kind._received([], None)
    if response.error is not None:
        # until 2.56 the caller gets INTERNAL, whatever the code was
        code = _NUMBERS[response.error.code] if rules.keeps_codes_of_inner_errors else _INTERNAL
        return kind._received([], TritonError(response.error.message, type(TritonError.INTERNAL)(code)))
    found = kind._received([Tensor._received(wire) for wire in response.outputs], None)
    if isinstance(found, _ParametrizedResponse):
        found._parameters = json_parameters(response.parameters).decode("utf-8", "surrogateescape")
    return found


def wire_response(request: "InferenceRequest", response: InferenceResponse) -> InferResponse:
    """The engine's form of a model's response, with only the outputs that were requested."""
    call: Call = request._call  # type: ignore[assignment]
    asked = call.request
    error = response._error
    if error is not None:
        return failure(call, errors.TritonError(_CODES[error._code.value], error._message))
    if request._decoupled and not request._rules.decoupled_outputs_chosen:
        wanted: AbstractSet[str] = request._outputs
        for tensor in response._outputs:
            if tensor._name not in wanted:
                text = f"unexpected inference output '{tensor._name}' for model '{asked.model_name}'"
                return failure(call, errors.invalid_arg(text))
    else:
        wanted = {output.name for output in asked.outputs} if asked.outputs else request._outputs
    outputs = [tensor._sent() for tensor in response._outputs if tensor._name in wanted]
    message = InferResponse(asked.model_name, str(call.version), asked.id, outputs)
    if response._parameters:
        message.parameters = _sent_parameters(response._parameters)
    return message


def _sent_parameters(text: str) -> list[tuple[str, Parameter]]:
    """A response's parameters from their JSON. Raises TritonModelException for an integer of more than 64 bits."""
    parameters: list[tuple[str, Parameter]] = []
    for key, value in json.loads(text).items():
        if isinstance(value, str):
            parameters.append((key, value.partition("\0")[0]))
        elif isinstance(value, bool) or INT64_MIN <= value <= INT64_MAX:
            parameters.append((key, value))
        else:
            raise TritonModelException("Unsupported value type on parameters")
    return parameters


def failure(call: Call, error: errors.TritonError) -> InferResponse:
    """An error as the engine's response to a call."""
    return InferResponse(call.request.model_name, str(call.version), call.request.id, error=error)


class InferenceResponseSender(Bound):
    """Answers one request, on any thread, also after `execute`. A decoupled model may send many responses."""

    __module__ = MODULE
    __slots__ = ("_closed", "_request", "_sent")

    _closed: bool
    _request: "InferenceRequest"
    _sent: int

    _SIGNATURE = (
        "(self: c_python_backend_utils.InferenceResponseSender, "
        "response: c_python_backend_utils.InferenceResponse = None, flags: int = 0) -> None"
    )

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.InferenceResponseSender: No constructor defined!")

    @classmethod
    def _of(cls, request: "InferenceRequest") -> "InferenceResponseSender":
        sender = cls.__new__(cls)
        sender._request = request
        sender._closed = False
        sender._sent = 0
        return sender

    def send(self, *args: Any, **kwargs: Any) -> None:
        response, flags = bind_arguments(args, kwargs, ("response", "flags"), (None, 0))
        fits = response is None or isinstance(response, InferenceResponse)
        if not fits or not isinstance(flags, int) or flags < 0:
            raise incompatible("send", (self._SIGNATURE,), (self, *args), kwargs)
        if flags not in (_FINAL, 0):
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if flags == 0 and response is None:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        self._check_state(response, flags)
        self._closed = flags == _FINAL
        self._sent += 1
        self._deliver(response, final=self._closed)

    def is_cancelled(self) -> bool:
        return self._request.is_cancelled()

    def _check_state(self, response: InferenceResponse | None, flags: int) -> None:
        if self._request._call is None:
            raise TritonModelException(
                "Unable to send response. Response sender has no reference to the decoupled state of the model."
            )
        if not self._request._decoupled:
            if response is not None and self._sent > 0:
                raise TritonModelException(
                    "Unable to send response. Non-decoupled model cannot send more than one response."
                )
            if response is None and flags == _FINAL and self._sent == 0:
                raise TritonModelException(
                    "Unable to send response. Non-decoupled model cannot send complete final before sending a "
                    "response."
                )
        if self._closed:
            raise TritonModelException("Unable to send response. Response sender has been closed.")

    def _deliver(self, response: InferenceResponse | None, *, final: bool) -> None:
        call: Call = self._request._call  # type: ignore[assignment]
        message = None if response is None else wire_response(self._request, response)
        if final and not call.times.output_start:
            call.times.ended(call.now())
        call.respond(message, final=final)
