r"""Writes values as JSON text, in the layout of rapidjson's compact writer.

Escapes are the fewest that JSON allows: `"`, `\` and the control characters, the latter as `\b \f \n \r \t` or
`\u00XX` with upper-case digits. Everything else is written as it is: also `/`, 0x7f and bytes that are not UTF-8.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from .access import members
from .doubles import texts
from .memo import Memo
from .values import raw_bytes

_SPECIAL = re.compile(rb'["\\\x00-\x1f]')
_ESCAPES = {bytes([code]): b"\\u00%02X" % code for code in range(0x20)} | {
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
}


def write(value: Any) -> bytes:
    """The value as compact JSON.

    Tuples are arrays. `bytes` are values that are JSON text already (from `write_array`, for example) and are put in as
    they are. Raises TypeError for a value that JSON has no form for.
    """
    out: list[bytes] = []
    todo: list[Any] = [
        value
    ]  # what is still to be written, the next one last: no recursion, so any depth will do
    while todo:
        item = todo.pop()
        if isinstance(item, bytes):
            out.append(item)
        elif isinstance(item, str):
            out.append(write_string(item))
        elif isinstance(item, dict):
            todo += (b"}", b"")
            for name, element in reversed(tuple(members(item))):
                todo += (element, _names[name], b",")
            todo[-1] = b"{"  # in place of the comma before the first
        elif isinstance(item, (list, tuple)):
            todo += (b"]", b"")
            for element in reversed(item):
                todo += (element, b",")
            todo[-1] = b"["
        else:
            out.append(_write_scalar(item))
    return b"".join(out)


def _write_scalar(value: Any) -> bytes:
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return texts[value].encode()
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def write_string(text: str | bytes) -> bytes:
    """The string, or the string with these bytes, in quotes and escaped."""
    raw = raw_bytes(text) if isinstance(text, str) else text
    return b'"%b"' % (_SPECIAL.sub(_escape, raw) if _SPECIAL.search(raw) else raw)


def _escape(match: re.Match[bytes]) -> bytes:
    return _ESCAPES[match[0]]


# With the colon: the same few names stand in every answer.
_names: Memo[str, bytes] = Memo(lambda name: write_string(name) + b":", keep=lambda name: len(name) <= 64)


def write_strings(items: Sequence[bytes]) -> bytes:
    """The elements of a BYTES tensor as an array of strings."""
    return b"[%b]" % b",".join(map(write_string, items))


#: elements that are written at a time, so that other threads can run in between
_PIECE = 1 << 14


def write_array(array: npt.NDArray[Any]) -> bytes:
    """The elements of an array of booleans, integers or floats, in C order, as one flat array.

    Floats of 16 and 32 bits are written as the doubles that they equal. Raises TypeError for other element types.
    """
    if array.size > _PIECE:
        flat = array.ravel()
        pieces = (write_array(flat[at : at + _PIECE])[1:-1] for at in range(0, flat.size, _PIECE))
        return b"[%b]" % b",".join(pieces)
    elements = array.ravel().tolist()
    match array.dtype.kind:
        case "f":
            return f"[{','.join(map(texts.__getitem__, elements))}]".encode()
        case "i" | "u" | "b":
            # Python's own text of such a list, but for spaces and capitals, is the array.
            return repr(elements).replace(" ", "").lower().encode()
        case _:
            raise TypeError(f"JSON has no form for elements of type {array.dtype}")
