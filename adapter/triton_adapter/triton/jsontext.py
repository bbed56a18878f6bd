"""JSON as Triton speaks it: orjson where that is enough, the standard library for what it refuses."""

import json
from typing import Any

import orjson

dumps = orjson.dumps


def loads(text: bytes | str) -> Any:
    """Parse JSON. ValueError if it is none.

    Triton writes NaN and Infinity bare, and passes invalid UTF-8 through (2.51): neither is JSON, both are answers.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        return json.loads(text)
