"""Properties of every document: reading undoes writing, both parsers agree, and the only exception is a refusal."""

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from triton_emulator.protocol.json_dialect import (
    JSONParseError,
    Value,
    format_double,
    parse,
    raw_bytes,
    write,
    write_array,
    write_strings,
)
from triton_emulator.protocol.json_dialect.exact_parser import parse_exact

quick = settings(max_examples=150, deadline=None)

# Both the server and Python read up to fifteen digits exactly.
decimals = st.integers(-(10**12), 10**12).map(lambda eighths: eighths / 8)
integers = st.integers(-(2**63), 2**64 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.binary().map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
values = st.recursive(
    st.none() | st.booleans() | integers | decimals | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)

TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b'"a"',
        b'"b":',
        b"\\",
        b"\\n",
        b"\\u",
        b"\\u00e9",
        b"\\ud83d",
        b"\\ude00",
    ),
    *(
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"E5",
        b"+",
        b"17",
        b"99999999999999999999",
        b"308",
        b"0.1",
        b"NaN",
        b"Inf",
        b"inity",
    ),
    *(
        b"true",
        b"null",
        b"fals",
        b" ",
        b"\n",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"//",
        b"'",
    ),
)
documents = st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join)


def outcome(read: Any, body: bytes) -> str:
    """The value with its types, its order and its repeated names, or the refusal."""
    try:
        return repr(read(body))
    except JSONParseError as refusal:
        return f"refused: {refusal}"


@quick
@given(values)
def test_reading_undoes_writing(value: Value) -> None:
    assert repr(parse(write(value))) == repr(value)


@quick
@given(values)
def test_the_standard_library_reads_what_is_written(value: Value) -> None:
    written = write(value).decode("utf-8", "surrogateescape")
    assert json.loads(written) == value


@quick
@given(values, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_both_parsers_read_any_layout_of_json_equally(value: Value, indent: Any, ascii_only: bool) -> None:
    body = raw_bytes(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert outcome(parse, body) == outcome(parse_exact, body)


@quick
@given(
    documents
    | documents.map(lambda body: b'{"a":[' + body + b"]}")
    | documents.map(lambda body: b'["' + body + b'"]')
)
def test_both_parsers_agree_on_anything_like_json(body: bytes) -> None:
    assert outcome(parse, body) == outcome(parse_exact, body)


@quick
@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert outcome(parse, body) == outcome(parse_exact, body)


@quick
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_written_double_reads_back_as_itself(value: float) -> None:
    """The reader here rounds correctly. The server's own does not."""
    assert float(format_double(value)) == value


@quick
@given(st.lists(st.floats(width=32)) | st.lists(st.floats()))
def test_an_array_of_floats_is_its_doubles(elements: list[float]) -> None:
    written = ",".join(map(format_double, elements))
    assert write_array(np.array(elements, dtype=np.float64)).decode() == f"[{written}]"


@quick
@given(st.lists(st.binary()))
def test_the_strings_of_a_tensor_come_back(items: list[bytes]) -> None:
    strings = parse(write_strings(items))
    assert isinstance(strings, list)
    assert [raw_bytes(str(text)) for text in strings] == items
