"""Mutations of a JSON text: what a broken, careless or hostile client may send.

Each takes `draw` and bytes and returns bytes. None makes a text much longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

Mutation = Callable[[st.DrawFn, bytes], bytes]

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_MEMBER = re.compile(rb'"[^"\\]*":(?:"[^"\\]*"|-?\d[\d.eE+-]*|true|false|null|\[[^\][{}]*\])')
_STRING = re.compile(rb'"[^"\\]*"')
_NUMBERS = (
    *(b"1.0", b"4.0", b"1.5", b"-0", b"-0.0", b"0.0", b"1e0", b"1E+2", b"1e-2", b"-1", b"1e5", b"10e-1"),
    *(
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"1e",
        b"1e+",
        b"--1",
        b"-",
        b"0x10",
        b"1_0",
        b"1,",
        b"2147483648",
        b"-2147483649",
    ),
    *(
        b"4294967296",
        b"9223372036854775807",
        b"9223372036854775808",
        b"18446744073709551615",
        b"18446744073709551616",
    ),
    *(
        b"-9223372036854775808",
        b"-9223372036854775809",
        b"1e39",
        b"1e308",
        b"1e309",
        b"1e400",
        b"-1e400",
        b"1e-400",
    ),
    *(
        b"5e-324",
        b"2.2250738585072011e-308",
        b"0.1",
        b"0.30000000000000004",
        b"123456789012345678901234567890",
    ),
    *(
        b"3.4028236e38",
        b"1.7976931348623159e308",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"Inf",
        b"-NaN",
        b"nan",
        b"true",
    ),
    *(b'"1"', b"null", b"[]", b"{}", b"0.1e-1000000000", b"1e0000000001"),
)
_PIECES = (
    *(
        b" ",
        b"\n",
        b"\t",
        b"\r",
        b"\x0b",
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xc3\x28",
        b"\xef\xbb\xbf",
    ),
    *(
        b'"',
        b"\\",
        b"/",
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b"'",
        b"\\u0000",
        b"\\ud800",
        b"\\ud83d\\ude00",
        b"\\u12g4",
    ),
    *(
        b"\\x",
        b"\\/",
        b"\\b",
        b"\\U0041",
        b"//c\n",
        b"/**/",
        b"\xc2\xa0",
        b"\xe2\x80\xa8",
        b"1",
        b"e",
        b"-",
        b".",
    ),
)


def _position(draw: st.DrawFn, text: bytes) -> int:
    return draw(st.integers(0, max(len(text) - 1, 0)))


def _one_of(draw: st.DrawFn, pattern: re.Pattern[bytes], text: bytes) -> re.Match[bytes] | None:
    found = list(pattern.finditer(text))
    return draw(st.sampled_from(found)) if found else None


def _put(text: bytes, start: int, end: int, new: bytes) -> bytes:
    return text[:start] + new + text[end:]


def flip_a_byte(draw: st.DrawFn, text: bytes) -> bytes:
    at = _position(draw, text)
    return _put(text, at, at + 1, bytes([draw(st.integers(0, 255))]))


def truncate(draw: st.DrawFn, text: bytes) -> bytes:
    return text[: _position(draw, text)]


def insert_a_piece(draw: st.DrawFn, text: bytes) -> bytes:
    at = draw(st.integers(0, len(text)))
    return _put(text, at, at, draw(st.sampled_from(_PIECES)))


def delete_a_piece(draw: st.DrawFn, text: bytes) -> bytes:
    at = _position(draw, text)
    return _put(text, at, at + draw(st.integers(1, 4)), b"")


def append_a_piece(draw: st.DrawFn, text: bytes) -> bytes:
    return text + draw(st.sampled_from(_PIECES))


def respell_a_number(draw: st.DrawFn, text: bytes) -> bytes:
    found = _one_of(draw, _NUMBER, text)
    return text if found is None else _put(text, *found.span(), draw(st.sampled_from(_NUMBERS)))


def repeat_a_member(draw: st.DrawFn, text: bytes) -> bytes:
    """Write a key twice in one object: with its old value and with another one, in either order."""
    found = _one_of(draw, _MEMBER, text)
    if found is None:
        return text
    key = found[0].split(b":")[0]
    value = draw(st.sampled_from([b"1", b'"x"', b"null", b"[]", b"{}", found[0][len(key) + 1 :]]))
    pair = [found[0], key + b":" + value]
    return _put(text, *found.span(), b",".join(draw(st.permutations(pair))))


def respell_a_string(draw: st.DrawFn, text: bytes) -> bytes:
    """Replace a character of a string (or key) by its escape, or insert a piece into the string."""
    found = _one_of(draw, _STRING, text)
    if found is None:
        return text
    inner = found[0][1:-1]
    if inner and draw(st.booleans()):
        return _put(text, *found.span(), b'"\\u%04x%s"' % (inner[0], inner[1:]))
    return _put(text, *found.span(), b'"' + insert_a_piece(draw, inner) + b'"')


def wrap(draw: st.DrawFn, text: bytes) -> bytes:
    """Put the whole text into arrays or objects, a few levels deep (far from any limit of a stack)."""
    depth = draw(st.integers(1, 40))
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
    return opening * depth + text + closing * depth


MUTATIONS: tuple[Mutation, ...] = (
    respell_a_number,
    repeat_a_member,
    truncate,
    insert_a_piece,
    delete_a_piece,
    append_a_piece,
    respell_a_string,
    flip_a_byte,
    wrap,
)


@st.composite
def mutated(draw: st.DrawFn, text: bytes) -> bytes:
    """The text after one to three mutations."""
    for mutation in draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)):
        text = mutation(draw, text)
    return text
