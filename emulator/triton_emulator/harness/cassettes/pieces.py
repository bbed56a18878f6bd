"""Bytes and tensors as values of YAML, and back: short ones where they are, long ones in files beside."""

import base64
import binascii
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from triton_emulator.harness.cassettes.meaning import wire_form
from triton_emulator.protocol.datatypes import DATATYPES, decode_bytes, encode_bytes
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.tensor import Tensor

#: elements of a tensor, and bytes, up to which they are written where they are
_ELEMENTS = 64
_TEXT = 4096
_BINARY = 96
#: how names of files in `tensors` end
SUFFIX = ".bin"
#: Keeps bytes in a file beside; returns its name.
Keep = Callable[[bytes], str]
#: Reads such a file again. Raises ValueError where it is missing or damaged.
Fetch = Callable[[str], bytes]


def written(data: bytes, keep: Keep, text_size: int = 0, *, binary: bool = False) -> dict[str, Any]:
    """Bytes as a mapping: `text`, then `base64` or `file`, each where there is some.

    `text_size` is how many bytes at the start are text, with other bytes after them; 0 leaves that to the bytes. With
    `binary` none are text.
    """
    head, rest = (data[:text_size], data[text_size:]) if text_size else (data, b"")
    found: dict[str, Any] = {}
    text = _text(head) if len(head) <= _TEXT and not binary else None
    if text is None:
        rest = head + rest
    elif text or not rest:
        found["text"] = text
    if rest and len(rest) <= _BINARY:
        found["base64"] = base64.b64encode(rest).decode()
    elif rest:
        found["file"] = keep(rest)
    return found


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def read(given: Mapping[str, Any], fetch: Fetch) -> bytes:
    """The bytes that `written` has made a mapping of. Raises ValueError."""
    parts = [_field(given, "text", str, "").encode()]
    if "base64" in given:
        try:
            parts.append(base64.b64decode(_field(given, "base64", str), validate=True))
        except binascii.Error as fault:
            raise ValueError(f"base64: {fault}") from None
    if "file" in given:
        parts.append(fetch(_field(given, "file", str)))
    return b"".join(parts)


def _field(given: Mapping[str, Any], name: str, kind: type, otherwise: Any = None) -> Any:
    value = given.get(name, otherwise)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is a {kind.__name__}, not {value!r}")
    return value


def tensor_written(tensor: Tensor, keep: Keep) -> dict[str, Any]:
    """A tensor as a mapping: `datatype`, `shape`, and `data` (its elements in one dimension) or `file`.

    One in shared memory has `shared_memory` in place of its bytes.
    """
    found: dict[str, Any] = {"datatype": tensor.datatype, "shape": list(tensor.shape)}
    data = wire_form(tensor)
    elements = _elements(tensor.datatype, data)
    if not data and tensor.count:
        found["shared_memory"] = True  # whose bytes are the client's
    elif elements is not None:
        found["data"] = elements
    else:
        found["file"] = keep(data)
    return found


def _elements(datatype: str, data: bytes) -> list[Any] | None:
    """The elements of a short tensor, None where they would not give the same bytes again."""
    size = DATATYPES[datatype].size if datatype in DATATYPES else 0
    if datatype == "BYTES":
        try:
            elements: list[Any] = [element.decode() for element in decode_bytes(data)]
        except (TritonError, ValueError):
            return None
        if len(data) > _TEXT:
            return None
    elif not size or len(data) > _ELEMENTS * size or len(data) % size:
        return None
    else:
        elements = np.frombuffer(data, DATATYPES[datatype].numpy).tolist()
    return elements if _bytes(datatype, elements) == data else None


def _bytes(datatype: str, elements: list[Any]) -> bytes:
    if datatype == "BYTES":
        return encode_bytes([element.encode() for element in elements])
    return np.array(elements, dtype=DATATYPES[datatype].numpy).tobytes()


def tensor_read(name: str, given: Any, fetch: Fetch) -> tuple[str, tuple[int, ...], bytes]:
    """The datatype, shape and bytes of the tensor that a mapping stands for. Raises ValueError."""
    if not isinstance(given, dict):
        raise ValueError(f"input {name} is a mapping, not {given!r}")
    datatype = _field(given, "datatype", str)
    if datatype not in DATATYPES:
        raise ValueError(f"input {name}: datatype is one of {', '.join(DATATYPES)}, not {datatype!r}")
    shape = _field(given, "shape", list)
    if not all(type(dim) is int for dim in shape):
        raise ValueError(f"input {name}: shape is a list of numbers, not {shape!r}")
    if "file" in given:
        return datatype, tuple(shape), fetch(_field(given, "file", str))
    if "shared_memory" in given:
        return datatype, tuple(shape), b""
    elements = _field(given, "data", list)
    try:
        data = _bytes(datatype, elements)
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise ValueError(f"input {name}: data has an element that is no {datatype}") from None
    if len(elements) != prod(shape):
        raise ValueError(f"input {name}: data has {len(elements)} elements, and the shape has {prod(shape)}")
    return datatype, tuple(shape), data
