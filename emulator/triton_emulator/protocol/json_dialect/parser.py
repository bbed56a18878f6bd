"""The parser: the standard library's where it reads a document as Triton does, else the exact one.

The standard library's scanner is in C and reads the usual request in a few microseconds. It agrees with rapidjson on
every document that it accepts, except for four things, which are handled here: repeated names, the arithmetic of
numbers, lone surrogates written as escapes, and bytes after the end. What it refuses is read by the exact parser, which
knows the message and the offset.
"""

import json
import re

from .exact_parser import parse_exact
from .numbers import NumberTooBigError, decimal_numbers, whole_numbers
from .values import Value, make_object

# An escaped surrogate without its other half. An escaped backslash before it makes it no escape at all, which is
# for the exact parser to find out.
_LONE_SURROGATE = re.compile(
    rb"\\\\u[dD]"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_SPACE = " \t\n\r"

_decode = json.JSONDecoder(
    object_pairs_hook=make_object,
    parse_float=decimal_numbers.__getitem__,
    parse_int=whole_numbers.__getitem__,
).raw_decode


def parse(data: bytes | bytearray | memoryview, *, iterative: bool = False) -> Value:
    """The value of a JSON document. Raises JSONParseError with rapidjson's message and byte offset.

    Objects are dicts in document order, `DuplicateKeys` where a name is repeated; whole numbers are ints while 64 bits
    hold them, else floats; strings carry bytes that are not UTF-8 as lone surrogates (`raw_bytes` gives them back).
    `iterative` is the parser of newer versions, which has no recursion: its documents may nest deeper.
    """
    raw = data if isinstance(data, bytes) else bytes(data)
    try:
        text = raw.decode().lstrip(_SPACE)
        value, end = _decode(text)
    except (ValueError, RecursionError, NumberTooBigError):
        return parse_exact(raw, iterative=iterative)
    if (end != len(text) and text[end:].strip(_SPACE)) or (b"\\u" in raw and _LONE_SURROGATE.search(raw)):
        return parse_exact(raw, iterative=iterative)
    checked: Value = value
    return checked
