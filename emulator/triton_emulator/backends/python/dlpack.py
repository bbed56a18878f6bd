"""Makes and reads DLPack capsules of CPU tensors; numpy's own capsules cannot hold BF16.

A capsule is a Python object with a pointer to a DLManagedTensor, a C struct with a function that frees it. A capsule
that is not read yet has the name "dltensor"; whoever reads it renames it to "used_dltensor" and calls that function
when the memory is no longer needed. C holds no references to Python objects, so `_OUT` keeps them alive until then.
"""

import ctypes
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_emulator.backends.python.binding import cast_error, is_sequence
from triton_emulator.protocol.shapes import element_count

_LOG = logging.getLogger(__name__)

CPU = 1
_CUDA = 2
_CPU_PINNED = 3
#: how many numbers a device has: its type and its id
_DEVICE_NUMBERS = 2

#: DLPack's (type code, bits) by datatype
_TYPE = {
    "BOOL": (6, 8),
    "UINT8": (1, 8),
    "UINT16": (1, 16),
    "UINT32": (1, 32),
    "UINT64": (1, 64),
    "INT8": (0, 8),
    "INT16": (0, 16),
    "INT32": (0, 32),
    "INT64": (0, 64),
    "FP16": (2, 16),
    "FP32": (2, 32),
    "FP64": (2, 64),
    "BF16": (4, 16),
}
_DATATYPE = {row: name for name, row in _TYPE.items()}


class DLPackError(Exception):
    """A capsule that cannot be read; the text is the real backend's."""


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_DLManagedTensor))
_DLManagedTensor._fields_ = (
    ("tensor", _DLTensor),
    ("context", ctypes.c_void_p),
    ("deleter", _Deleter),
)
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


def _python_api(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


# These functions take a capsule's address: a capsule that is being destroyed must not be used as an object.
_new = _python_api("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_is_valid = _python_api("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_pointer = _python_api("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_set_name = _python_api("PyCapsule_SetName", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)

_FRESH = b"dltensor"
_USED = b"used_dltensor"
#: what each exported tensor keeps alive, by the address of its struct
_OUT: dict[int, tuple[Any, ...]] = {}


def _delete(managed: Any) -> None:
    _OUT.pop(ctypes.addressof(managed.contents), None)


def _destroy(capsule: int) -> None:
    """Called when a capsule is destroyed: frees the tensor if nothing has read it."""
    if _is_valid(capsule, _FRESH):
        _OUT.pop(_pointer(capsule, _FRESH), None)


_DELETE = _Deleter(_delete)
_DESTROY = _Destructor(_destroy)
_DESTROY_ADDRESS = ctypes.cast(_DESTROY, ctypes.c_void_p)


def export(datatype: str, shape: Sequence[int], buffer: Any) -> Any:
    """A capsule over a C-contiguous numpy array. The array is kept alive until the capsule's reader frees it."""
    dims = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    managed = _DLManagedTensor()
    code, bits = _TYPE[datatype]
    managed.tensor = _DLTensor(buffer.ctypes.data, CPU, 0, len(shape), code, bits, 1, dims, None, 0)
    managed.deleter = _DELETE
    address = ctypes.addressof(managed)
    _OUT[address] = (managed, dims, buffer)
    return _new(address, _FRESH, _DESTROY_ADDRESS)


def capsule_of(source: Any) -> Any:
    """The capsule of `source`: itself, or what its `__dlpack__` returns.

    Raises DLPackError, and whatever the object raises.
    """
    if _is_capsule(source):
        return source
    if not (hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__")):
        # 2.51: the run of spaces is in the text
        raise DLPackError(
            "Provided tensor is not supported. Tensor must be a DLPack capsule         "
            "or have `__dlpack__` and `__dlpack_device__` attributes"
        )
    if isinstance(source, np.ndarray):
        _LOG.warning(
            "tritonserver 2.51 ends a model's process that gives numpy's own arrays to Tensor.from_dlpack()"
        )
    device = source.__dlpack_device__()
    if not is_sequence(device) or len(device) != _DEVICE_NUMBERS:
        raise cast_error()
    if not all(isinstance(number, int) for number in device):
        raise cast_error()
    if device[0] == _CUDA:
        raise DLPackError("Failed to get current CUDA device id.")
    _check_device(device[0])
    capsule = source.__dlpack__(stream=None)
    if not _is_capsule(capsule):
        raise TypeError(f"Object of type '{type(capsule).__name__}' is not an instance of 'capsule'")
    return capsule


def _is_capsule(value: Any) -> bool:
    return type(value).__name__ == "PyCapsule"


def _check_device(kind: int) -> None:
    if kind not in (CPU, _CPU_PINNED):
        raise DLPackError(f"DLDevice type {kind} is not support by Python backend.")


def take(capsule: Any) -> tuple[str, tuple[int, ...], bytes]:
    """The datatype, shape and bytes of a capsule's tensor. The capsule is marked as used. Raises DLPackError."""
    if not _is_valid(id(capsule), _FRESH):
        raise DLPackError("The DLPack capsule has been used before.")
    managed = _DLManagedTensor.from_address(_pointer(id(capsule), _FRESH))
    tensor = managed.tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    _check_contiguous(tensor, shape)
    _check_device(tensor.device_type)
    datatype = _DATATYPE.get((tensor.code, tensor.bits))
    if datatype is None or tensor.lanes != 1:
        raise DLPackError(f'DType code "{tensor.code}" is not supported.')
    size = element_count(shape) * tensor.bits // 8
    content = ctypes.string_at(tensor.data + tensor.byte_offset, size) if size else b""
    _set_name(id(capsule), _USED)
    if managed.deleter:
        managed.deleter(managed)
    return datatype, shape, content


def _check_contiguous(tensor: _DLTensor, shape: tuple[int, ...]) -> None:
    if not tensor.strides:
        return
    expected = 1
    for axis in range(tensor.ndim - 1, 0, -1):
        if tensor.strides[axis] != expected:
            raise DLPackError(
                "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are "
                "supported."
            )
        expected *= shape[axis]
