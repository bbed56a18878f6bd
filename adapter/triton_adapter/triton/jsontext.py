"""JSON as Triton speaks it: orjson where that is enough, the standard library for what it refuses."""

import json
from typing import Any

import orjson

from triton_adapter.errors import BadRequestError


def dumps(value: Any) -> bytes:
    """Write JSON. BadRequestError if it is nested deeper than can be written, TypeError if it is none."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if "Recursion" not in str(error):
            raise
        raise BadRequestError("a value is nested too deeply", code="invalid_value") from error


def loads(text: bytes | str) -> Any:
    """Parse JSON. ValueError if it is none.

    Triton writes NaN and Infinity bare, and passes invalid UTF-8 through (2.51): neither is JSON, both are answers.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
