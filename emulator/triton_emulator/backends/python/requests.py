"""`pb_utils.InferenceRequest`: a request that a model received, or one that it makes for another model."""

import asyncio
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from triton_emulator.backends.python import bls
from triton_emulator.backends.python.binding import (
    MODULE,
    Bound,
    cast_error,
    incompatible,
    is_sequence,
    text_of,
    truth_of,
)
from triton_emulator.backends.python.responses import InferenceResponseSender
from triton_emulator.backends.python.server import Server
from triton_emulator.backends.python.tensors import Tensor
from triton_emulator.backends.python.values import (
    REQUIRED,
    InferenceTrace,
    MemoryType,
    OlderTrace,
    PreferredMemory,
    TritonModelException,
    bind_arguments,
    parameters_text,
)
from triton_emulator.cxx.unordered_map import walk
from triton_emulator.engine.call import Call
from triton_emulator.protocol.infer_response import json_parameters
from triton_emulator.protocol.messages import InferRequest, RequestedOutput
from triton_emulator.protocol.personality import DEFAULT_VERSION, Personality, personality
from triton_emulator.protocol.tensor import Tensor as WireTensor

#: the flags of `set_release_flags`: the request is finished, or is to be executed again
RELEASE_ALL = 1
RELEASE_RESCHEDULE = 2

_ANY_VERSION = -1

_NO_TRACE = InferenceTrace._none()
_NO_OLDER_TRACE = OlderTrace._none()
_PREFERRED = PreferredMemory(MemoryType.TRITONSERVER_MEMORY_CPU)
#: the constructor's parameters in order: (name, default, accepted types)
_PARAMETERS: tuple[tuple[str, Any, Any], ...] = (
    ("request_id", "", str),
    ("correlation_id", 0, object),
    ("inputs", REQUIRED, object),
    ("requested_output_names", REQUIRED, object),
    ("model_name", REQUIRED, str),
    ("model_version", _ANY_VERSION, int),
    ("flags", 0, int),
    ("timeout", 0, int),
    ("preferred_memory", _PREFERRED, PreferredMemory),
    ("trace", _NO_TRACE, OlderTrace),
    ("parameters", None, object),
)
_NAMES = tuple(name for name, _, _ in _PARAMETERS)
_DEFAULTS = tuple(default for _, default, _ in _PARAMETERS)


@dataclass(slots=True)
class BlsAccess:
    """Where an instance's own requests go, and whether they are allowed: only between `initialize` and `finalize`."""

    server: Server | None
    allowed: bool = False
    #: whether the instance's own model is decoupled
    decoupled: bool = False


class InferenceRequest(Bound):
    """One inference request. Each instance of a model has a subclass with its own `_bls`."""

    __module__ = MODULE
    __slots__ = (
        "_call",
        "_decoupled",
        "_flags",
        "_inputs",
        "_outputs",
        "_parameters",
        "_release",
        "_sender",
        "_wire",
    )

    _bls = BlsAccess(None)
    _rules = personality(DEFAULT_VERSION)
    _SIGNATURE = (
        "c_python_backend_utils.InferenceRequest(request_id: str = '', correlation_id: object = 0, "
        "inputs: List[triton::backend::python::PbTensor], requested_output_names: List[str], model_name: str, "
        "model_version: int = -1, flags: int = 0, timeout: int = 0, "
        f"preferred_memory: c_python_backend_utils.PreferredMemory = {_PREFERRED!r}, "
        f"trace: c_python_backend_utils.InferenceTrace = {_NO_TRACE!r}, parameters: object = None)"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        values = bind_arguments(args, kwargs, _NAMES, _DEFAULTS)
        named = dict(zip(_NAMES, values, strict=True))
        named["request_id"], named["model_name"] = text_of(named["request_id"]), text_of(named["model_name"])
        if is_sequence(named["requested_output_names"]):
            named["requested_output_names"] = [text_of(name) for name in named["requested_output_names"]]
        if not _fit(named, self._rules):
            signature = self._SIGNATURE
            if not self._rules.text_sequence_ids:
                signature = signature.replace("correlation_id: object", "correlation_id: int")
            raise incompatible("__init__", (signature,), args, kwargs)
        self._parameters = parameters_text(named["parameters"])
        self._wire = _wire_request(named, json.loads(self._parameters))
        self._inputs: list[Tensor] | None = list(named["inputs"])
        self._flags: int = named["flags"]
        self._outputs = frozenset(output.name for output in self._wire.outputs)
        self._call: Call | None = None
        self._decoupled = False
        self._sender: InferenceResponseSender | None = None
        self._release = RELEASE_ALL

    @classmethod
    def _received(cls, call: Call, outputs: frozenset[str], decoupled: bool) -> "InferenceRequest":
        """The request of a call; `outputs` are the names of all outputs of the model."""
        request = cls.__new__(cls)
        wire = call.request
        request._call = call
        request._wire = wire
        request._decoupled = decoupled
        request._outputs = outputs
        request._inputs = None
        request._sender = None
        request._release = RELEASE_ALL
        request._flags = wire.sequence_start | wire.sequence_end << 1
        return request

    def inputs(self) -> list[Tensor]:
        inputs = self._inputs
        if inputs is None:
            received = Tensor._received
            inputs = self._inputs = [received(wire) for wire in _walked(self._wire)]
        return inputs.copy()

    def request_id(self) -> str:
        return self._wire.id

    def correlation_id(self) -> int | str:
        return self._wire.sequence_id

    def requested_output_names(self) -> set[str]:
        asked = self._wire.outputs
        return {output.name for output in asked} if asked else set(self._outputs)

    def parameters(self) -> str:
        if self._call is None:
            return self._parameters
        parameters = self._wire.parameters
        return json_parameters(parameters).decode("utf-8", "surrogateescape") if parameters else "{}"

    def flags(self) -> int:
        return self._flags

    def set_flags(self, *args: Any) -> None:
        self._flags = _unsigned("set_flags", self, args)

    def timeout(self) -> int:
        return self._wire.timeout

    def trace(self) -> OlderTrace:
        return _NO_TRACE if self._rules.trace_contexts else _NO_OLDER_TRACE

    def is_cancelled(self) -> bool:
        return self._call is not None and self._call.cancelled

    def set_release_flags(self, *args: Any) -> None:
        self._release = _unsigned("set_release_flags", self, args)

    def get_response_sender(self) -> InferenceResponseSender:
        if not (self._decoupled or self._rules.senders_everywhere):
            raise TritonModelException(
                "'get_response_sender' function must be called only when the model is using the decoupled transaction "
                "policy."
            )
        if self._sender is None:
            self._sender = InferenceResponseSender._of(self)
        return self._sender

    def exec(self, *args: Any, **kwargs: Any) -> Any:
        """Run the request and wait. Returns an InferenceResponse, or an iterator of them with `decoupled=True`."""
        return self._execute(_decoupled("exec", self, args, kwargs))

    def async_exec(self, *args: Any, **kwargs: Any) -> Any:
        """As `exec`, but returns a future of the running event loop."""
        decoupled = _decoupled("async_exec", self, args, kwargs)
        if self._bls.decoupled and not self._rules.decoupled_coroutines:
            raise TritonModelException("Async BLS request execution is not support in the decoupled API.")
        return asyncio.get_running_loop().run_in_executor(None, self._execute, decoupled)

    def _execute(self, decoupled: bool) -> Any:
        if not self._bls.allowed or self._bls.server is None:
            raise TritonModelException("BLS is only supported during the 'execute' function.")
        wire = self._wire
        if self._call is None:
            wire.inputs = [tensor._sent() for tensor in self._inputs or ()]
        wire.sequence_start, wire.sequence_end = bool(self._flags & 1), bool(self._flags & 2)
        return (bls.stream if decoupled else bls.run)(self._bls.server, wire, self._rules)


def _fit(named: dict[str, Any], rules: Personality) -> bool:
    """Whether pybind11 would accept the arguments."""
    sequence = named["correlation_id"]
    if not (rules.text_sequence_ids or (isinstance(sequence, int) and 0 <= sequence < 1 << 64)):
        return False
    types = all(isinstance(named[name], kind) for name, _, kind in _PARAMETERS)
    names, inputs = named["requested_output_names"], named["inputs"]
    return (
        types
        and named["correlation_id"] is not None
        and is_sequence(names)
        and all(isinstance(name, str) for name in names)
        and is_sequence(inputs)
        and all(tensor is None or isinstance(tensor, Tensor) for tensor in inputs)
        and 0 <= named["flags"] < 1 << 32
        and 0 <= named["timeout"] < 1 << 64
    )


def _wire_request(named: dict[str, Any], parameters: dict[str, Any]) -> InferRequest:
    """The request as the engine takes it. Raises TritonModelException for values that the real backend refuses."""
    correlation = named["correlation_id"]
    if not isinstance(correlation, int | str):
        raise TritonModelException("Correlation ID must be integer or string")
    # plain values, as C++ has them: another process does not know a model's own classes
    correlation = int(correlation) if isinstance(correlation, int) else text_of(correlation)
    if correlation is None or (isinstance(correlation, int) and not 0 <= correlation < 1 << 64):
        raise cast_error()
    owner = (
        f"request with id '{named['request_id']}' and model name '{named['model_name']}' should not be empty."
    )
    if any(tensor is None for tensor in named["inputs"]):
        raise TritonModelException(f"Input tensor for {owner}")
    if "" in named["requested_output_names"]:
        raise TritonModelException(f"Requested output name for {owner}")
    version = named["model_version"]
    return InferRequest(
        named["model_name"],
        "" if version == _ANY_VERSION else str(version),
        named["request_id"],
        [],  # filled when the request is executed: until then, a tensor shows what is written to its array
        [RequestedOutput(name, binary=True) for name in sorted(set(named["requested_output_names"]))],
        list(parameters.items()),
        correlation,
        timeout=int(named["timeout"]),
    )


def _decoupled(
    function: str, request: InferenceRequest, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    (value,) = bind_arguments(args, kwargs, ("decoupled",), (False,))
    decoupled = truth_of(value)
    if decoupled is None:
        signature = "(self: c_python_backend_utils.InferenceRequest, decoupled: bool = False) -> object"
        raise incompatible(function, (signature,), (request, *args), kwargs)
    return decoupled


def _unsigned(function: str, request: InferenceRequest, args: tuple[Any, ...]) -> int:
    """The argument of a method that takes one uint32."""
    if len(args) != 1 or not isinstance(args[0], int) or not 0 <= args[0] < 1 << 32:
        signature = "(self: c_python_backend_utils.InferenceRequest, arg0: int) -> None"
        raise incompatible(function, (signature,), (request, *args), {})
    return args[0]


@lru_cache(maxsize=1024)
def _order(names: tuple[str, ...], controls: tuple[str, ...]) -> tuple[int, ...]:
    listed = (*names, *controls)
    return tuple(listed.index(name) for name in walk([*walk(names), *controls]))


def _walked(request: InferRequest) -> list[WireTensor]:
    """The inputs in the order in which a model sees them.

    Triton puts them into a hash map in the client's order, then into a second one in the order of the first. A sequence
    batcher adds its controls to the second. The model gets the inputs in the order of the second map.
    """
    inputs, controls = request.inputs, request.controls
    if len(inputs) + len(controls) < 2:
        return [*inputs, *controls]
    listed = [*inputs, *controls]
    names, extra = tuple(wire.name for wire in inputs), tuple(wire.name for wire in controls)
    return [listed[at] for at in _order(names, extra)]
