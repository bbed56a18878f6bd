"""Requests that are not sent, because the real server would take the machine's memory for them.

2.51 reserves (and clears) what a shape promises before it reads the `data`: a shape of [2147483648] is 8 GB of FP32,
and it dies where they are not to be had (case infer/shape/json-of-minus-one-elements).
"""

from __future__ import annotations

import json
import re
from typing import Any

from .request import Request

ELEMENTS_MOST = 1_000_000
_LARGE = re.compile(r"\d{4}")


def is_light(request: Request) -> bool:
    """Whether no input of the request has both `data` and a shape of more than ELEMENTS_MOST elements.

    Where Python cannot read the JSON the server still might: then there must be no large number in it.
    """
    text = request.body.decode("utf-8", "replace").lstrip("\ufeff")
    heavy: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        # Every key counts, for which of two equal ones the server takes is its own affair.
        if any(name == "data" for name, _ in pairs):
            heavy.extend(_elements(value) > ELEMENTS_MOST for name, value in pairs if name == "shape")

    try:
        json.JSONDecoder(object_pairs_hook=look).raw_decode(text)
    except (ValueError, RecursionError):
        return not _LARGE.search(text)
    return not any(heavy)


def _elements(shape: Any) -> int:
    product = 1
    for size in shape if isinstance(shape, list) else ():
        product *= size if isinstance(size, int) else 1
    return product
