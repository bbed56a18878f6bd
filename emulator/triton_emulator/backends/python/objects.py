"""The values of `pb_utils` that a model makes and reads: Tensor, InferenceResponse, TritonError and the enums.

They behave as the real backend's pybind11 classes do, down to the texts of their refusals.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_emulator.backends.python import dlpack
from triton_emulator.backends.python.binding import MODULE, Bound, BoundEnum, incompatible
from triton_emulator.backends.python.triton_python_backend_utils import serialize_byte_tensor
from triton_emulator.protocol.datatypes import Array
from triton_emulator.protocol.tensor import Tensor as WireTensor

class TritonModelException(Exception):  # noqa: N818 Triton's name
    """What a `pb_utils` call raises when it refuses its arguments' values."""


TritonModelException.__module__ = MODULE

_ErrorCode: Any = BoundEnum(
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
    module=MODULE,
    qualname="TritonError.__ErrorCode",
)
MemoryType: Any = BoundEnum(
    "MemoryType", {"TRITONSERVER_MEMORY_GPU": 0, "TRITONSERVER_MEMORY_CPU": 1}, module=MODULE
)
LogLevel: Any = BoundEnum(
    "LogLevel", {"INFO": 0, "WARNING": 1, "ERROR": 2, "VERBOSE": 3}, module=MODULE, qualname="Logger.LogLevel"
)
MetricKind: Any = BoundEnum("MetricKind", {"COUNTER": 0, "GAUGE": 1, "HISTOGRAM": 2}, module=MODULE)


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
        message, code = _bind(args, kwargs, ("message", "code"), (_REQUIRED, _ErrorCode.INTERNAL))
        if not isinstance(message, str | bytes) or not isinstance(code, _ErrorCode):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
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
}


def _datatype(dtype: Any) -> str:
    found = "BYTES" if dtype.char == "S" else _DATATYPE_BY_DTYPE.get(dtype)
    if found is None:
        raise TritonModelException("NumPy dtype is not supported.")
    return found


class Tensor(Bound):
    """A named tensor. Made by a model from a numpy array, or made for it from a request's input."""

    __module__ = MODULE
    __slots__ = ("_array", "_datatype", "_name", "_wire")

    _SIGNATURE = "c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) != 2 or kwargs or not isinstance(args[1], np.ndarray):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
        name, array = args
        if name.__class__ is not str:
            if not isinstance(name, str | bytes | bytearray):
                raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
            name = name if isinstance(name, str) else bytes(name).decode()
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        datatype = _DATATYPE_BY_DTYPE.get(array.dtype)
        if datatype is None:
            datatype = _datatype(array.dtype)
        if not array.data.c_contiguous:
            array = np.ascontiguousarray(array)
        self._name: str = name
        self._datatype = datatype
        self._array: Array | None = array
        # A BYTES tensor is serialised here and now, another one when it is sent: till then it follows its array
        self._wire: WireTensor | None = (
            WireTensor(name, "BYTES", array.shape, data=serialize_byte_tensor(array) or b"")
            if datatype == "BYTES"
            else None
        )

    @classmethod
    def received(cls, wire: WireTensor) -> "Tensor":
        """A tensor of a request or of a BLS response."""
        tensor = cls.__new__(cls)
        tensor._name = wire.name
        tensor._datatype = wire.datatype
        tensor._wire = wire
        tensor._array = None
        return tensor

    @staticmethod
    def from_dlpack(*args: Any, **kwargs: Any) -> "Tensor":
        """A tensor of a name and a DLPack capsule, or an object that has one. Raises TritonModelException."""
        if len(args) != 2 or kwargs or not isinstance(args[0], str):
            signature = "(self: str, arg0: object) -> c_python_backend_utils.Tensor"
            raise incompatible("from_dlpack", (signature,), args, kwargs)
        name, source = args
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        if not dlpack.is_capsule(source):
            if not (hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__")):
                # 2.51: the run of spaces is in the text
                raise TritonModelException(
                    "Provided tensor is not supported. Tensor must be a DLPack capsule         "
                    "or have `__dlpack__` and `__dlpack_device__` attributes"
                )
            source = source.__dlpack__()
        try:
            datatype, shape, content = dlpack.take(source)
        except dlpack.DLPackError as error:
            raise TritonModelException(str(error)) from None
        return Tensor.received(WireTensor(name, datatype, shape, data=content))

    def to_dlpack(self) -> Any:
        """A DLPack capsule over the tensor's memory."""
        if self._datatype == "BYTES":
            raise TritonModelException("DLPack does not have support for string tensors.")
        array = self._elements()
        return dlpack.export(self._datatype, array.shape, array)

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) > 1 or any(key != "stream" for key in kwargs):
            signature = "(self: c_python_backend_utils.Tensor, stream: object = None) -> capsule"
            raise incompatible("__dlpack__", (signature,), (self, *args), kwargs)
        return self.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CPU, 0

    def name(self, *args: Any) -> str:
        if args:
            raise incompatible("name", ("(self: c_python_backend_utils.Tensor) -> str",), (self, *args), {})
        return self._name

    def as_numpy(self) -> Array:
        array = self._array
        if array is None or self._datatype == "BF16":
            if self._datatype == "BF16":
                raise TritonModelException(
                    "Tensor dtype is BF16 and cannot be converted to NumPy. "
                    "Use to_dlpack() and from_dlpack() instead."
                )
            return self._elements()
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
        if array is None or self._datatype == "BYTES":
            return self._wire  # type: ignore[return-value]
        return WireTensor(self._name, self._datatype, array.shape, data=array.tobytes())

    def _elements(self) -> Array:
        """The elements (BF16 as uint16), in memory that is the model's own: it may write into it."""
        if self._array is None:
            array = self._wire.array  # type: ignore[union-attr]
            self._array = array if array.flags.writeable else array.copy()
        return self._array


_NO_OUTPUTS: list[Tensor] = []


class InferenceResponse(Bound):
    """What a model answers one request with: output tensors, or an error."""

    __module__ = MODULE
    __slots__ = ("_error", "_outputs")

    _SIGNATURE = (
        "c_python_backend_utils.InferenceResponse(output_tensors: List[c_python_backend_utils.Tensor] = [], "
        "error: c_python_backend_utils.TritonError = None)"
    )

    def __init__(
        self, output_tensors: Any = _NO_OUTPUTS, error: Any = None, *more: Any, **unknown: Any
    ) -> None:
        fits = not more and not unknown and (error is None or isinstance(error, TritonError))
        if not fits or not _is_sequence(output_tensors):
            raise self._refusal(output_tensors, error, more, unknown)
        for tensor in output_tensors:
            if tensor.__class__ is not Tensor and not isinstance(tensor, Tensor):
                if tensor is None:
                    raise TritonModelException("Output tensor for inference response should not be empty.")
                raise self._refusal(output_tensors, error, more, unknown)
        self._outputs: list[Tensor] = list(output_tensors)
        self._error: TritonError | None = error

    @classmethod
    def received(cls, outputs: list[Tensor], error: "TritonError | None") -> "InferenceResponse":
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
        # Which arguments were given by position can no longer be told: Python has bound them
        given = [outputs] if outputs is not _NO_OUTPUTS else []
        given += [error] if error is not None or more else []
        return incompatible("__init__", (self._SIGNATURE,), (*given, *more), unknown)


def _is_sequence(value: Any) -> bool:
    """What pybind11 takes for a std::vector: a sequence that is not a string."""
    return isinstance(value, list | tuple) or (isinstance(value, Sequence) and not isinstance(value, str | bytes))


class PreferredMemory(Bound):
    """Where a model wants the outputs of a BLS request; accepted, everything here is CPU memory."""

    __module__ = MODULE
    __slots__ = ("device_id", "memory_type")

    _SIGNATURE = (
        "c_python_backend_utils.PreferredMemory(preferred_memory_type: "
        "triton::backend::python::PreferredMemory::MemoryType, preferred_device_id: int = 0)"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        memory, device = _bind(args, kwargs, ("preferred_memory_type", "preferred_device_id"), (_REQUIRED, 0))
        if not isinstance(memory, MemoryType) or not isinstance(device, int):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
        self.memory_type = memory
        self.device_id = device


class InferenceTrace(Bound):
    """A request's trace; no trace is ever taken here."""

    __module__ = MODULE
    __slots__ = ()

    def get_context(self) -> None:
        return None
