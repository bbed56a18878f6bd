"""Strings of a config that are not UTF-8: Triton keeps them as they are in the file.

Protobuf's C++ library reads any bytes into a string, and its Python library holds text only. So a byte that is no UTF-8
is held as one character from the end of the last private plane, which other texts do not use.
"""

import re

from triton_emulator.cxx.protobuf_json import printable

_BASE = 0x10FE00
_TO_PRIVATE = {0xDC00 + byte: _BASE + byte for byte in range(0x80, 0x100)}
_HELD = frozenset(map(chr, _TO_PRIVATE.values()))
_HELD_BYTE = re.compile(rb"\xf4\x8f([\xba\xbb][\x80-\xbf])")
_TO_SURROGATE = {_BASE + byte: 0xDC00 + byte for byte in range(0x80, 0x100)}


def from_bytes(data: bytes) -> str:
    """The value of a string field."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape").translate(_TO_PRIVATE)


def from_text(text: str) -> str:
    """The value of a string field for a text with lone surrogates where its bytes are no UTF-8, as a folder's name."""
    return text if text.isascii() else text.translate(_TO_PRIVATE)


def to_text(value: str) -> str:
    """A string field's value as a text that has lone surrogates where its bytes are no UTF-8."""
    return value if value.isascii() else value.translate(_TO_SURROGATE)


def holds_raw(data: bytes) -> bool:
    """Whether a serialized message has a string whose bytes are no UTF-8."""
    return b"\xf4\x8f\xba" in data or b"\xf4\x8f\xbb" in data


def to_bytes(data: bytes) -> bytes:
    """The bytes of a string field, from the UTF-8 of its value."""
    return _HELD_BYTE.sub(lambda held: bytes((0x80 + ((held[1][0] & 1) << 6) + (held[1][1] & 0x3F),)), data)


def as_logged(text: str) -> str:
    """A text for a log, which cannot take lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def as_shown(value: str) -> str:
    """A string field's value in a config that is shown as JSON: protobuf leaves out what is no UTF-8."""
    if value.isascii() or _HELD.isdisjoint(value):
        return value
    return printable(to_text(value).encode("utf-8", "surrogateescape"))
