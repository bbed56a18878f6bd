"""`pb_utils.Tensor`: a named tensor over a numpy array of the model's, or over the bytes of a request."""

from typing import Any

import numpy as np

from triton_emulator.backends.python import dlpack
from triton_emulator.backends.python.binding import MODULE, Bound, as_python, incompatible, text_of
from triton_emulator.backends.python.triton_python_backend_utils import serialize_byte_tensor
from triton_emulator.backends.python.values import TritonModelException
from triton_emulator.protocol.datatypes import Array
from triton_emulator.protocol.tensor import Tensor as WireTensor

#: Triton's datatype by numpy dtype; other dtypes are refused
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
    """A named tensor: a model makes one from a numpy array, and gets one for each input of a request."""

    __module__ = MODULE
    __slots__ = ("_array", "_datatype", "_name", "_wire")

    _SIGNATURE = "c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) != 2 or kwargs or not isinstance(args[1], np.ndarray):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
        name, array = args
        if name.__class__ is not str or not name.isascii():
            name = text_of(name)
            if name is None:
                raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
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
        # A BYTES tensor is serialised now. Any other is serialised when it is sent, so later writes to its array count.
        self._wire: WireTensor | None = (
            WireTensor(name, "BYTES", array.shape, data=serialize_byte_tensor(array) or b"")
            if datatype == "BYTES"
            else None
        )

    @classmethod
    def _received(cls, wire: WireTensor) -> "Tensor":
        """A tensor of a request or of a BLS response."""
        tensor = cls.__new__(cls)
        tensor._name = wire.name
        tensor._datatype = wire.datatype
        tensor._wire = wire
        tensor._array = None
        return tensor

    @staticmethod
    def from_dlpack(*args: Any, **kwargs: Any) -> "Tensor":
        """A tensor from a name and a DLPack capsule, or an object that makes one. Raises TritonModelException."""
        name = text_of(args[0]) if len(args) == 2 and not kwargs else None
        if name is None:
            signature = "(self: str, arg0: object) -> c_python_backend_utils.Tensor"
            raise incompatible("from_dlpack", (signature,), args, kwargs)
        source = args[1]
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        try:
            datatype, shape, content = dlpack.take(dlpack.capsule_of(source))
        except dlpack.DLPackError as error:
            raise TritonModelException(str(error)) from None
        return Tensor._received(WireTensor(name, datatype, shape, data=content))

    def to_dlpack(self) -> Any:
        """A DLPack capsule over the tensor's memory."""
        if self._datatype == "BYTES":
            raise TritonModelException("DLPack does not have support for string tensors.")
        # 2.51: the bytes that the tensor arrived with, not what the model has written to its numpy array since
        array = self._elements() if self._wire is None else self._wire.array.copy()
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
        return as_python(self._name)

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

    def _sent(self) -> WireTensor:
        """The tensor for the engine, with the bytes that it had when it was first sent or received."""
        wire = self._wire
        if wire is None:
            array: Any = self._array
            wire = self._wire = WireTensor(self._name, self._datatype, array.shape, data=array.tobytes())
        return wire

    def _elements(self) -> Array:
        """The elements (BF16 as uint16), in memory that the model may write to."""
        if self._array is None:
            array = self._wire.array  # type: ignore[union-attr]
            self._array = array if array.flags.writeable else array.copy()
        return self._array
