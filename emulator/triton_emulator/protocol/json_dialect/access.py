"""Reads a JSON value as a type; raises JSONTypeError with Triton's text when it is of another type.

The texts and the type checks are those of Triton's JSON wrapper. The server puts a prefix before them
(`Unable to parse 'shape': ...`), which the caller adds.
"""

from collections.abc import Iterable

from .values import DuplicateKeys, JSONTypeError, Pair, Value

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


def as_string(value: Value) -> str:
    """A string."""
    if isinstance(value, str):
        return value
    raise JSONTypeError("attempt to access JSON non-string as string")


def as_bool(value: Value) -> bool:
    """A boolean; 0 and 1 are not."""
    if isinstance(value, bool):
        return value
    raise JSONTypeError("attempt to access JSON non-boolean as boolean")


def as_int(value: Value) -> int:
    """A whole number in [-2^63, 2^63); 4.0 and true are not."""
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    raise JSONTypeError("attempt to access JSON non-signed-integer as signed-integer")


def as_uint(value: Value) -> int:
    """A whole number in [0, 2^64); 4.0, -1 and true are not."""
    if isinstance(value, int) and not isinstance(value, bool) and value in _UINT64:
        return value
    raise JSONTypeError("attempt to access JSON non-unsigned-integer as unsigned-integer")


def as_double(value: Value) -> float:
    """Any number, whole or not, as a float; true is not a number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise JSONTypeError("attempt to access JSON non-number as double")


def as_array(value: Value) -> list[Value]:
    """An array."""
    if isinstance(value, list):
        return value
    raise JSONTypeError("attempt to access JSON non-array as array")


def as_object(value: Value) -> dict[str, Value]:
    """An object."""
    if isinstance(value, dict):
        return value
    raise JSONTypeError("attempt to access JSON non-object as object")


def member(value: Value, name: str) -> Value:
    """The first member of this name. A value that is not an object has no members, and the text is the same."""
    if isinstance(value, dict) and name in value:
        return value[name]
    raise JSONTypeError(f"attempt to access non-existing object member '{name}'")


def members(value: Value) -> Iterable[Pair]:
    """Every member of an object in document order, repeated names included."""
    if isinstance(value, DuplicateKeys):
        return value.pairs
    if isinstance(value, dict):
        return value.items()
    raise JSONTypeError("attempt to get members for non-object")
