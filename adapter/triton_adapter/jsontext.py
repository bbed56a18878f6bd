"""JSON as Triton writes it: read and written by orjson, by the standard library where orjson refuses."""

import json
from typing import Any

import orjson

from triton_adapter.errors import BadRequestError


def dumps(value: Any) -> bytes:
    """Write JSON. BadRequestError if that cannot be done: the value is the caller's."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        told = str(error)
        if "Recursion" in told:
            why = "a value is nested too deeply"
        elif "surrogates" in told:
            why = "a text holds half of a surrogate pair, which is not valid Unicode"
        else:
            why = "a value cannot be written as JSON"
        raise BadRequestError(why, code="invalid_value") from error


def loads(text: bytes | str) -> Any:
    """Parse JSON. ValueError if it is not JSON.

    Triton writes NaN and Infinity bare, and passes invalid UTF-8 through (2.51): neither is valid JSON, but both occur
    in its answers.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        try:
            found = json.loads(text)
            # Half of a surrogate pair raises UnicodeEncodeError, a ValueError: it could not be passed on to a client.
            json.dumps(found, ensure_ascii=False).encode()
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return found
