"""Replaces single values in a JSON text and leaves every other byte as it is.

Parsing the text and writing it again would hide what is compared: the order of keys, the form of numbers, escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from json.decoder import JSONDecoder

MASK = '"<masked>"'
_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"[^\s,\]}]+")
_STRING = JSONDecoder(strict=False)
Pattern = tuple[str, ...]


def mask(text: str, pointers: Iterable[str]) -> str:
    """The text with the value at each pointer replaced by MASK; `*` matches any key or index.

    >>> mask('{"a":[{"t":1.50},{"t":2}]}', ["/a/*/t"])
    '{"a":[{"t":"<masked>"},{"t":"<masked>"}]}'

    Text that is not JSON is returned as it is.
    """
    patterns = [tuple(pointer.strip("/").split("/")) for pointer in pointers]
    spans: list[tuple[int, int]] = []
    try:
        _value(text, _skip(text, 0), (), patterns, spans)
    except (ValueError, IndexError):
        return text
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + MASK + text[end:]
    return text


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _matches(path: tuple[str, ...], patterns: list[Pattern]) -> bool:
    return any(
        len(path) == len(pattern) and all(want in ("*", key) for want, key in zip(pattern, path, strict=True))
        for pattern in patterns
    )


def _value(
    text: str, at: int, path: tuple[str, ...], patterns: list[Pattern], spans: list[tuple[int, int]]
) -> int:
    """Read one value from `at`, add its span to `spans` when a pattern matches its path, and return its end."""
    wanted = _matches(path, patterns)
    inner: list[tuple[int, int]] = [] if wanted else spans
    opening = text[at]
    if opening == '"':
        _, end = _STRING.raw_decode(text, at)
    elif opening in "{[":
        end = _members(text, at, path, patterns, inner)
    else:
        scalar = _SCALAR.match(text, at)
        if scalar is None:
            raise ValueError(at)
        end = scalar.end()
    if wanted:
        spans.append((at, end))
    return end


def _members(
    text: str, at: int, path: tuple[str, ...], patterns: list[Pattern], spans: list[tuple[int, int]]
) -> int:
    closing = "}" if text[at] == "{" else "]"
    at = _skip(text, at + 1)
    index = 0
    while text[at] != closing:
        key = str(index)
        if closing == "}":
            key, at = _STRING.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        at = _skip(text, _value(text, at, (*path, key), patterns, spans))
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1
    return at + 1
