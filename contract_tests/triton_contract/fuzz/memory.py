"""Filters out requests for which the real server would take all of the machine's memory.

2.51 reserves and clears memory for the whole shape before it reads the `data`. A shape of [2147483648] is 8 GB of FP32,
and the server dies when it does not get them (case infer/shape/json-of-minus-one-elements).
"""

from __future__ import annotations

import json
import re
from math import prod
from typing import Any

from .request import Request

ELEMENTS_MOST = 1_000_000
_LARGE = re.compile(r"\d{4}")


def is_light(request: Request) -> bool:
    """Whether no input of the request has both `data` and a shape of more than ELEMENTS_MOST elements.

    The server may be able to read JSON that Python cannot. Such a request must not contain a large number.
    """
    text = request.body.decode("utf-8", "replace").lstrip("\ufeff")
    heavy: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        # Every key counts: which of two equal keys the server uses is not known here.
        if any(name == "data" for name, _ in pairs):
            heavy.extend(_elements(value) > ELEMENTS_MOST for name, value in pairs if name == "shape")

    try:
        json.JSONDecoder(object_pairs_hook=look).raw_decode(text)
    except (ValueError, RecursionError):
        return not _LARGE.search(text)
    return not any(heavy)


def _elements(shape: Any) -> int:
    return prod(size for size in shape if isinstance(size, int)) if isinstance(shape, list) else 1
