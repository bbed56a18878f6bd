"""Reads typed members of a parsed document; errors have the prefix that Triton puts before the fault."""

from collections.abc import Callable
from typing import Final, TypeVar

from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.datatypes import Buffer
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.personality import Personality

T = TypeVar("T")


class Absent:
    """The type of ABSENT, which stands for a member that is not there; null is a value."""


ABSENT: Final = Absent()


def parse_document(data: Buffer, rules: Personality) -> js.Value:
    """The JSON of a request; a syntax error is INTERNAL (HTTP 500) in Triton. Raises INVALID_ARG as `check_size`."""
    if len(data) > rules.http_max_input_size:
        check_size(len(data), rules)
    try:
        return js.parse(data, iterative=rules.iterative_json)
    except js.JSONParseError as fault:
        raise internal(f"failed to parse the request JSON buffer: {fault}") from None


def check_size(size: int, rules: Personality) -> None:
    """Raise INVALID_ARG where the version refuses a JSON of `size` bytes."""
    limit = rules.http_max_input_size
    if rules.json_too_large and size > limit:
        raise invalid_arg(rules.json_too_large.format(size=size, limit=limit))


def unable(what: str, fault: Exception) -> TritonError:
    return internal(f"Unable to parse '{what}': {fault}")


def find(holder: js.Value, key: str) -> "js.Value | Absent":
    """The first member of that name; nothing is found in what is not an object."""
    if isinstance(holder, dict):
        return holder.get(key, ABSENT)
    return ABSENT


def there(value: "js.Value | Absent", key: str) -> js.Value:
    """The value; raises JSONTypeError where there is none under that key."""
    if isinstance(value, Absent):
        raise js.JSONTypeError(f"attempt to access non-existing object member '{key}'")
    return value


def as_text(value: js.Value) -> str:
    """A string up to its first NUL, as Triton uses it; raises JSONTypeError for another type."""
    return js.as_string(value).partition("\0")[0]


def read(read_as: Callable[[js.Value], T], value: "js.Value | Absent", what: str) -> T:
    """`read_as(value)`; raises INTERNAL `Unable to parse '<what>': ...` where the type is another, or nothing there."""
    try:
        return read_as(there(value, what))
    except js.JSONTypeError as fault:
        raise unable(what, fault) from None


def member(read_as: Callable[[js.Value], T], holder: js.Value, key: str) -> T:
    """A member that must be there; raises INTERNAL as `read` does."""
    try:
        return read_as(js.member(holder, key))
    except js.JSONTypeError as fault:
        raise unable(key, fault) from None
