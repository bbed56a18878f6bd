"""Triton's tensor datatypes: names, sizes, numpy types, and the bytes of a BYTES tensor."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Buffer = bytes | bytearray | memoryview
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Datatype:
    """One row of the datatype table.

    `size` is bytes per element (0 for BYTES, whose elements vary). `numpy` is the type of the array that holds
    the elements: BF16, which numpy lacks, is held as its raw uint16; BYTES as an object array of `bytes`.
    """

    name: str
    config_name: str
    size: int
    numpy: np.dtype[Any]
    #: which reader of the JSON dialect its elements go through: "bool", "int", "uint", "double", "string",
    #: or "" for a type that cannot travel as JSON
    json: str


_ROWS = (
    Datatype("BOOL", "TYPE_BOOL", 1, np.dtype(np.bool_), "bool"),
    Datatype("UINT8", "TYPE_UINT8", 1, np.dtype(np.uint8), "uint"),
    Datatype("UINT16", "TYPE_UINT16", 2, np.dtype("<u2"), "uint"),
    Datatype("UINT32", "TYPE_UINT32", 4, np.dtype("<u4"), "uint"),
    Datatype("UINT64", "TYPE_UINT64", 8, np.dtype("<u8"), "uint"),
    Datatype("INT8", "TYPE_INT8", 1, np.dtype(np.int8), "int"),
    Datatype("INT16", "TYPE_INT16", 2, np.dtype("<i2"), "int"),
    Datatype("INT32", "TYPE_INT32", 4, np.dtype("<i4"), "int"),
    Datatype("INT64", "TYPE_INT64", 8, np.dtype("<i8"), "int"),
    Datatype("FP16", "TYPE_FP16", 2, np.dtype("<f2"), ""),
    Datatype("FP32", "TYPE_FP32", 4, np.dtype("<f4"), "double"),
    Datatype("FP64", "TYPE_FP64", 8, np.dtype("<f8"), "double"),
    Datatype("BYTES", "TYPE_STRING", 0, np.dtype(np.object_), "string"),
    Datatype("BF16", "TYPE_BF16", 2, np.dtype("<u2"), ""),
)

DATATYPES: dict[str, Datatype] = {row.name: row for row in _ROWS}
BY_CONFIG_NAME: dict[str, Datatype] = {row.config_name: row for row in _ROWS}

_LENGTH = struct.Struct("<I")


def encode_bytes(elements: Iterable[bytes]) -> bytes:
    """The wire form of a BYTES tensor: each element after its length as a little-endian uint32."""
    pack = _LENGTH.pack
    return b"".join([part for element in elements for part in (pack(len(element)), element)])


class TruncatedLength(ValueError):
    """A BYTES buffer ends inside a length; `available` bytes of the four are there."""

    def __init__(self, available: int) -> None:
        super().__init__(f"{available} bytes of a length")
        self.available = available


class TruncatedElement(ValueError):
    """A BYTES buffer ends inside an element of `length` bytes; `available` are there."""

    def __init__(self, length: int, available: int) -> None:
        super().__init__(f"{available} bytes of {length}")
        self.length = length
        self.available = available


def decode_bytes(buffer: Buffer) -> list[bytes]:
    """The elements of a BYTES tensor's wire form.

    Raises TruncatedLength or TruncatedElement where the buffer ends too early.
    """
    view = bytes(buffer)
    end = len(view)
    elements: list[bytes] = []
    at = 0
    while at < end:
        if end - at < 4:
            raise TruncatedLength(end - at)
        (length,) = _LENGTH.unpack_from(view, at)
        at += 4
        if length > end - at:
            raise TruncatedElement(length, end - at)
        elements.append(view[at : at + length])
        at += length
    return elements
