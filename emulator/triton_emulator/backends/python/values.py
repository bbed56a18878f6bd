"""The small values of `pb_utils`: TritonError, the enums, PreferredMemory, InferenceTrace.

They behave as the real backend's pybind11 classes do, down to the texts of their refusals.
"""

import json
from typing import Any

from triton_emulator.backends.python.binding import MODULE, Bound, bound_enum, incompatible, text_of


class TritonModelException(Exception):
    """Raised by `pb_utils` functions that refuse the values of their arguments."""


TritonModelException.__module__ = MODULE

_ErrorCode = bound_enum(
    "__ErrorCode",
    {
        "UNKNOWN": 0,
        "INTERNAL": 1,
        "NOT_FOUND": 2,
        "INVALID_ARG": 3,
        "UNAVAILABLE": 4,
        "UNSUPPORTED": 5,
        "ALREADY_EXISTS": 6,
        "CANCELLED": 7,
    },
    owner="TritonError",
)
MemoryType = bound_enum("MemoryType", {"TRITONSERVER_MEMORY_GPU": 0, "TRITONSERVER_MEMORY_CPU": 1})
LogLevel = bound_enum("LogLevel", {"INFO": 0, "WARNING": 1, "ERROR": 2, "VERBOSE": 3}, owner="Logger")
MetricKind = bound_enum("MetricKind", {"COUNTER": 0, "GAUGE": 1, "HISTOGRAM": 2})


class TritonError(Bound):
    """An error that a model answers a request with; `code` decides the HTTP status."""

    __module__ = MODULE
    __slots__ = ("_code", "_message")

    UNKNOWN = _ErrorCode.UNKNOWN
    INTERNAL = _ErrorCode.INTERNAL
    NOT_FOUND = _ErrorCode.NOT_FOUND
    INVALID_ARG = _ErrorCode.INVALID_ARG
    UNAVAILABLE = _ErrorCode.UNAVAILABLE
    UNSUPPORTED = _ErrorCode.UNSUPPORTED
    ALREADY_EXISTS = _ErrorCode.ALREADY_EXISTS
    CANCELLED = _ErrorCode.CANCELLED

    _SIGNATURE = (
        "c_python_backend_utils.TritonError(message: str, "
        "code: c_python_backend_utils.TritonError.__ErrorCode = <__ErrorCode.INTERNAL: 1>)"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        message, code = bind_arguments(args, kwargs, ("message", "code"), (REQUIRED, _ErrorCode.INTERNAL))
        text = text_of(message)
        if text is None or not isinstance(code, _ErrorCode):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
        self._message = text
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> Any:
        return self._code


REQUIRED: Any = object()


def bind_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...], defaults: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The values of the parameters `names`; all are REQUIRED, which has no valid type, if the call does not fit.

    Each caller checks the types, so it then raises the error that it raises for a wrong type.
    """
    given = len(args)
    if given > len(names):
        return (REQUIRED,) * len(names)
    values = [*args, *defaults[given:]]
    for key, value in kwargs.items():
        if key not in names[given:]:
            return (REQUIRED,) * len(names)
        values[names.index(key)] = value
    return tuple(values)


class PreferredMemory(Bound):
    """Where a model wants the outputs of a BLS request. It is accepted and ignored: all memory here is CPU memory."""

    __module__ = MODULE
    __slots__ = ()

    _SIGNATURE = (
        "c_python_backend_utils.PreferredMemory(preferred_memory_type: "
        "triton::backend::python::PreferredMemory::MemoryType, preferred_device_id: int = 0)"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        memory, device = bind_arguments(
            args, kwargs, ("preferred_memory_type", "preferred_device_id"), (REQUIRED, 0)
        )
        if not isinstance(memory, MemoryType) or not isinstance(device, int):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)


class OlderTrace(Bound):
    """A request's trace; no trace is ever taken here. Until 2.43 it is called InferenceTrace."""

    __module__ = MODULE
    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.InferenceTrace: No constructor defined!")

    @classmethod
    def _none(cls) -> "OlderTrace":
        return cls.__new__(cls)


class InferenceTrace(OlderTrace):
    """The same; it tells the context that a trace belongs to."""

    __module__ = MODULE
    __slots__ = ()

    def get_context(self) -> None:
        return None


OlderTrace.__name__ = OlderTrace.__qualname__ = "InferenceTrace"


def parameters_text(parameters: Any) -> str:
    """The JSON of a request's or a response's parameters. Raises TritonModelException for those that none may have."""
    if parameters is None:
        return "{}"
    if not isinstance(parameters, dict):
        # 2.51: the mangled name of the C++ type is in the text
        raise TritonModelException(f"Expect N8pybind114dictE, got {type(parameters)}")
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise TritonModelException(f"Expect parameters keys to have type str, found type {type(key)}")
        if not isinstance(value, bool | int | str):
            raise TritonModelException(
                f"Expect parameters values to have type bool/int/str, found type {type(value)}"
            )
    return json.dumps(parameters)
