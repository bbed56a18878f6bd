"""Reads JSON as protobuf's C++ library does, which reads the config in a load request. It accepts more than JSON.

Strings may be in single quotes and contain any character, keys may be without quotes, a comma may follow the last item
of an object or array, and a number may end in its point. An object is a list of pairs, because a key may come twice.
"""

import re
from typing import Any

_SPACE = re.compile(r"[ \t\n\v\f\r]*")
_NUMBER = re.compile(r"-?[0-9][-+0-9.eEx]*")
_BARE_KEY = re.compile(r"(?!true|false|null)[A-Za-z_$][A-Za-z0-9_$]*")
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_PLAIN = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_DEPTH = 100


class Pairs(list[tuple[str, Any]]):
    """An object: its keys and values in order."""


def parse(text: str) -> Any:
    """The value that the text holds: Pairs, list, str, int, float, bool or None. Raises ValueError."""
    text.encode()  # a text that is not UTF-8 is no JSON either
    reader = _Reader(text)
    value = reader.value(0)
    if reader.next():
        raise reader.fault("Parsing terminated before end of input.")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def fault(self, what: str) -> ValueError:
        return ValueError(f"{what} (at {self._at})")

    def next(self) -> str:
        """The character that comes after white space, "" at the end."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise self.fault("Message too deep.")
        first = self.next()
        if first in _PLAIN:
            return self._string()
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        if number := self._take(_NUMBER):
            return _number(number)
        raise self.fault("Expected a value.")

    def _object(self, depth: int) -> Pairs:
        self._at += 1
        pairs = Pairs()
        while (first := self.next()) != "}":
            key = self._string() if first in _PLAIN else self._take(_BARE_KEY)
            if not key and first not in _PLAIN:
                raise self.fault("Expected an object key or }.")
            if self.next() != ":":
                raise self.fault("Expected : between key:value pair.")
            self._at += 1
            pairs.append((key, self.value(depth + 1)))
            self._separator("}", "Expected , or } after key:value pair.")
        self._at += 1
        return pairs

    def _array(self, depth: int) -> list[Any]:
        self._at += 1
        items = []
        while self.next() != "]":
            items.append(self.value(depth + 1))
            self._separator("]", "Expected , or ] after array value.")
        self._at += 1
        return items

    def _separator(self, end: str, complaint: str) -> None:
        found = self.next()
        if found == ",":
            self._at += 1
        elif found != end:
            raise self.fault(complaint)

    def _string(self) -> str:
        quote = self._text[self._at]
        self._at += 1
        parts = []
        while True:
            parts.append(self._take(_PLAIN[quote]))
            mark, escaped = self._text[self._at : self._at + 1], self._text[self._at + 1 : self._at + 2]
            self._at += 1
            if mark == quote:
                return "".join(parts)
            if not escaped:
                raise self.fault("Closing quote expected in string.")
            self._at += 1
            parts.append(self._code_point() if escaped == "u" else _ESCAPED.get(escaped, escaped))

    def _code_point(self) -> str:
        code = self._hex()
        if 0xD800 <= code < 0xDC00 and self._text.startswith("\\u", self._at):
            self._at += 2
            low = self._hex()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00)
        if 0xD800 <= code < 0xE000:
            raise self.fault("Invalid surrogate.")
        return chr(code)

    def _hex(self) -> int:
        digits = self._take(_HEX)
        if not digits:
            raise self.fault("Illegal hex string.")
        return int(digits, 16)


def _number(text: str) -> int | float:
    digits = text.lstrip("-")
    if set(text) & set(".eE"):
        number = float(text)
    elif len(digits) > 1 and digits[0] == "0":
        raise ValueError("Octal/hex numbers are not valid JSON values.")
    else:
        return int(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("Number exceeds the range of double.")
    return number


def printable(data: bytes) -> str:
    """What the library writes of a string that is not UTF-8: it leaves out every character that is broken.

    A first byte stands for as many bytes as it announces, up to the first that is none of them. So a letter after the
    byte 0xe9 is left out with it.
    """
    kept = bytearray()
    at = 0
    while at < len(data):
        size = _SIZES[data[at] >> 3]
        end = at + 1
        while end < min(at + size, len(data)) and 0x80 <= data[end] < 0xC0:
            end += 1
        whole = data[at:end]
        if len(whole) == size:
            kept += whole.decode("utf-8", "ignore").encode()
            at = end
        else:
            at = end + 1 if size else end
    return kept.decode()


#: how many bytes a character has, by the upper five bits of its first byte; 0 for a byte that begins none
_SIZES = (1,) * 16 + (0,) * 8 + (2,) * 4 + (3,) * 2 + (4,) + (0,)
