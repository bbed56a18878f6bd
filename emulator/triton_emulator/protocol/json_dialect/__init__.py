"""Triton's JSON: rapidjson 1.1.0 with `kParseNanAndInfFlag`, byte for byte in both directions."""

from .access import as_array, as_bool, as_double, as_int, as_object, as_string, as_uint, member, members
from .doubles import format_double
from .parser import parse
from .values import DuplicateKeys, JSONParseError, JSONTypeError, Value, raw_bytes
from .writer import write, write_array, write_string, write_strings

__all__ = [
    "DuplicateKeys",
    "JSONParseError",
    "JSONTypeError",
    "Value",
    "as_array",
    "as_bool",
    "as_double",
    "as_int",
    "as_object",
    "as_string",
    "as_uint",
    "format_double",
    "member",
    "members",
    "parse",
    "raw_bytes",
    "write",
    "write_array",
    "write_string",
    "write_strings",
]
