"""The values of `pb_utils` that a model makes and reads: Tensor, InferenceResponse, TritonError and the enums.

They behave as the real backend's pybind11 classes do, down to the texts of their refusals.
"""

from enum import Enum
from typing import Any

import numpy as np

from triton_emulator.backends.python.binding import incompatible
from triton_emulator.backends.python.triton_python_backend_utils import serialize_byte_tensor
from triton_emulator.protocol.datatypes import Array
from triton_emulator.protocol.errors import Code
from triton_emulator.protocol.tensor import Tensor as WireTensor

_MODULE = "c_python_backend_utils"


class TritonModelException(Exception):  # noqa: N818 Triton's name
    """What a `pb_utils` call raises when it refuses its arguments' values."""


TritonModelException.__module__ = _MODULE


class _BoundEnum(Enum):
    """An enum as pybind11 binds it: converts to int, equal only to its own members."""

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__


#: number, code: TRITONSERVER_Error_Code in Triton's order
_CODES = {code.name: number for number, code in enumerate(Code)}
_ErrorCode: Any = _BoundEnum(
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
    module=_MODULE,
    qualname="TritonError.__ErrorCode",
)
MemoryType: Any = _BoundEnum(
    "MemoryType", {"TRITONSERVER_MEMORY_GPU": 0, "TRITONSERVER_MEMORY_CPU": 1}, module=_MODULE
)
LogLevel: Any = _BoundEnum(
    "LogLevel", {"INFO": 0, "WARNING": 1, "ERROR": 2, "VERBOSE": 3}, module=_MODULE, qualname="Logger.LogLevel"
)
MetricKind: Any = _BoundEnum("MetricKind", {"COUNTER": 0, "GAUGE": 1, "HISTOGRAM": 2}, module=_MODULE)


class TritonError:
    """An error that a model answers a request with; `code` decides the HTTP status."""

    __module__ = _MODULE
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
        message, code = _bind(args, kwargs, ("message", "code"), (_REQUIRED, _ErrorCode.INTERNAL))
        if not isinstance(message, str | bytes) or not isinstance(code, _ErrorCode):
            raise incompatible("__init__", (self._SIGNATURE,), (self, *args), kwargs)
        self._message = message if isinstance(message, str) else message.decode()
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> Any:
        return self._code


_REQUIRED: Any = object()


def _bind(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...], defaults: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The values of `names`, all `_REQUIRED` (which fits no type) where the call does not fit the signature."""
    refused = (_REQUIRED,) * len(names)
    if len(args) > len(names):
        return refused
    values = dict(zip(names, defaults, strict=True)) | dict(zip(names, args, strict=False))
    given = names[: len(args)]
    for key, value in kwargs.items():
        if key in given or key not in names:
            return refused
        values[key] = value
    return tuple(values.values())


#: Triton's datatype by numpy dtype; what is not here is refused
_DATATYPE_BY_DTYPE: dict[Any, str] = {
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.uint16): "UINT16",
    np.dtype(np.uint32): "UINT32",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.int8): "INT8",
    np.dtype(np.int16): "INT16",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float16): "FP16",
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
    np.dtype(np.object_): "BYTES",
    np.dtype(np.bytes_): "BYTES",
}


def _datatype(dtype: Any) -> str:
    found = _DATATYPE_BY_DTYPE.get(dtype)
    if found is None:
        if dtype.char == "S":
            return "BYTES"
        raise TritonModelException("NumPy dtype is not supported.")
    return found


class Tensor:
    """A named tensor. Made by a model from a numpy array, or made for it from a request's input."""

    __module__ = _MODULE
    __slots__ = ("_array", "_datatype", "_name", "_wire")

    _SIGNATURE = "c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) != 2 or kwargs or not isinstance(args[1], np.ndarray) or not isinstance(args[0], str):
            raise incompatible("__init__", (self._SIGNATURE,), (self, *args), kwargs)
        self._name, array = args
        if not self._name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        datatype = _DATATYPE_BY_DTYPE.get(array.dtype)
        if datatype is None:
            datatype = _datatype(array.dtype)
        self._datatype: str = datatype
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        self._array: Array | None = array
        # A BYTES tensor is serialised here and now, another one when it is sent: changes to the array count till then
        self._wire: WireTensor | None = (
            WireTensor(self._name, "BYTES", array.shape, data=_serialised(array)) if datatype == "BYTES" else None
        )

    @classmethod
    def received(cls, wire: WireTensor) -> "Tensor":
        """A request's input."""
        tensor = cls.__new__(cls)
        tensor._name = wire.name
        tensor._datatype = wire.datatype
        tensor._wire = wire
        tensor._array = None
        return tensor

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        array = self._array
        if array is None:
            array = self._received_array()
            self._array = array
        return array

    def is_cpu(self) -> bool:
        return True

    def shape(self) -> list[int]:
        return list(self._array.shape if self._array is not None else self._wire.shape)  # type: ignore[union-attr]

    def triton_dtype(self) -> Any:
        # 2.51: the enum that this returns is not bound, so every call fails
        raise TypeError(
            "Unable to convert function return value to a Python type! The signature was\n"
            "\t(self: c_python_backend_utils.Tensor) -> TRITONSERVER_datatype_enum"
        )

    def sent(self) -> WireTensor:
        """The tensor as it leaves the model: a snapshot, for the model may go on writing into its array."""
        array = self._array
        if self._datatype == "BYTES" or array is None:
            return self._wire  # type: ignore[return-value]
        return WireTensor(self._name, self._datatype, array.shape, data=array.tobytes())

    def _received_array(self) -> Array:
        wire: WireTensor = self._wire  # type: ignore[assignment]
        if wire.datatype == "BF16":
            raise TritonModelException(
                "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
            )
        array = wire.array
        # The model gets a copy of its own, as from the real backend: it may write into it
        return array if array.flags.writeable else array.copy()


def _serialised(array: Array) -> bytes:
    return serialize_byte_tensor(array) or b""


class InferenceResponse:
    """What a model answers one request with: output tensors, or an error."""

    __module__ = _MODULE
    __slots__ = ("_error", "_outputs")

    _SIGNATURE = (
        "c_python_backend_utils.InferenceResponse(output_tensors: List[c_python_backend_utils.Tensor] = [], "
        "error: c_python_backend_utils.TritonError = None)"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        outputs, error = _bind(args, kwargs, ("output_tensors", "error"), ([], None))
        if not _is_sequence(outputs) or not (error is None or isinstance(error, TritonError)):
            raise incompatible("__init__", (self._SIGNATURE,), (self, *args), kwargs)
        for tensor in outputs:
            if not isinstance(tensor, Tensor):
                if tensor is None:
                    raise TritonModelException("Output tensor for inference response should not be empty.")
                raise incompatible("__init__", (self._SIGNATURE,), (self, *args), kwargs)
        self._outputs: list[Tensor] = list(outputs)
        self._error: TritonError | None = error

    def output_tensors(self) -> list[Tensor]:
        return self._outputs

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "__getitem__") and not isinstance(value, str | bytes | dict))


class PreferredMemory:
    """Where a model wants the outputs of a BLS request; accepted, everything here is CPU memory."""

    __module__ = _MODULE
    __slots__ = ("device_id", "memory_type")

    _SIGNATURE = (
        "c_python_backend_utils.PreferredMemory(preferred_memory_type: "
        "triton::backend::python::PreferredMemory::MemoryType, preferred_device_id: int = 0)"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        memory, device = _bind(args, kwargs, ("preferred_memory_type", "preferred_device_id"), (_REQUIRED, 0))
        if not isinstance(memory, MemoryType) or not isinstance(device, int):
            raise incompatible("__init__", (self._SIGNATURE,), (self, *args), kwargs)
        self.memory_type = memory
        self.device_id = device


class InferenceTrace:
    """A request's trace; no trace is ever taken here."""

    __module__ = _MODULE
    __slots__ = ()

    def get_context(self) -> None:
        return None
