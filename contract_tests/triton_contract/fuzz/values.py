"""Hypothesis strategies of tensor elements: as JSON values and as little-endian bytes, by datatype."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

INTEGERS = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
SIZES = {
    "BOOL": 1,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
    **{name: int(name.removeprefix("U").removeprefix("INT")) // 8 for name in INTEGERS},
}
DATATYPES = (*SIZES, "BYTES")
NOT_IN_JSON = ("FP16", "BF16")

# Words that the contract's models act on, words that are special in JSON, and control characters.
_WORDS = (
    *(
        "",
        "a",
        "hello world",
        "text:a;text:b",
        "both:x",
        "empty",
        "error:INTERNAL:no",
        "raise:oops",
        "words:a,b",
    ),
    *(
        "many:2",
        "floats:0.5,1e20",
        "number:5",
        "INTERNAL:bad",
        '"',
        "\\",
        "/",
        "\n",
        "\t",
        "\x00",
        "\x7f",
        "é",
        "漢字",
        "😀",
    ),
)
texts = st.one_of(st.sampled_from(_WORDS), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
junk: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 1.5, "", "x", "1", [], {}, [1], [[]], ["x"], {"a": 1}),
        *(
            2**31,
            2**32,
            2**63 - 1,
            2**63,
            2**64 - 1,
            2**64,
            -(2**63),
            -(2**63) - 1,
            1e300,
            1e-300,
            -0.0,
            1e39,
        ),
        *(float("nan"), float("inf"), float("-inf"), [None], [{}], {"name": "INPUT0"}),
    ]
)
"""Values of the wrong type for most fields. None of them could make a server reserve much memory."""


def element(datatype: str) -> st.SearchStrategy[Any]:
    """One element as a JSON value of the right type, in its range."""
    if datatype in INTEGERS:
        low, high = INTEGERS[datatype]
        return st.one_of(st.integers(max(low, -9), 9), st.sampled_from([low, high]), st.integers(low, high))
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return texts
    return st.one_of(
        st.integers(-9, 9),
        st.floats(width=64 if datatype == "FP64" else 32),
        st.sampled_from([0.5, 0.1, 1e-7, 1e20, 1e21]),
    )


@st.composite
def blob(draw: st.DrawFn, datatype: str, count: int) -> bytes:
    """The bytes of `count` elements, little endian."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(each)) + each for each in draw(_items(count)))
    if datatype == "BOOL":
        return bytes(draw(st.lists(st.sampled_from([0, 1]), min_size=count, max_size=count)))
    size = count * SIZES.get(datatype, 4)
    return draw(st.binary(min_size=size, max_size=size))


def _items(count: int) -> st.SearchStrategy[list[bytes]]:
    item = st.one_of(texts.map(str.encode), st.binary(max_size=4))
    return st.lists(item, min_size=count, max_size=count)
