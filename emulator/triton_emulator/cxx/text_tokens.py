"""The tokens of protobuf's text format, as its C++ library reads them (3.21), and what they mean.

A text is a `str` with one character per byte (Latin-1), because regular expressions are fast on it.
"""

import re

from triton_emulator.cxx.numbers import UINT64_MAX

END, NAME, INTEGER, FLOAT, STRING, SYMBOL = range(6)

_SKIPPED = re.compile(r"(?:[ \t\n\v\f\r]++|#[^\0\n]*+\n?)*+")
_CONTROLS = re.compile(r"[\0-\x1f]+")
_LETTERS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LETTER = re.compile(r"[A-Za-z_]")
_DIGITS = re.compile(r"[0-9]*")
_OCTAL = re.compile(r"[0-7]*")
_HEX = re.compile(r"[0-9a-fA-F]*")
_FRACTION = re.compile(r"\.[0-9]*")
_EXPONENT = re.compile(r"[eE][-+]?")
_PLAIN = {quote: re.compile(rf"[^\0\n\\{quote}]*") for quote in "\"'"}
_SIMPLE_ESCAPES = frozenset("abfnrtv\\?'\"01234567")
#: the digits that may follow `\x`, `\u` and `\U`, how many there must be, and the fault of fewer
_DIGIT_ESCAPES = {
    "x": (re.compile(r"[0-9a-fA-F]?"), 1, "Expected hex digits for escape sequence."),
    "u": (re.compile(r"[0-9a-fA-F]{0,4}"), 4, "Expected four hex digits for \\u escape sequence."),
    "U": (
        re.compile(r"(?:0(?:0(?:[01][0-9a-fA-F]{0,5})?)?)?"),
        8,
        "Expected eight hex digits up to 10ffff for \\U escape sequence",
    ),
}
_ESCAPED = re.compile(
    r"\\(?:(?:u|U0000)(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<four>[0-9a-fA-F]{4})|U(?P<eight>[0-9a-fA-F]{8})"
    r"|x(?P<hex>[0-9a-fA-F]{0,2})|(?P<octal>[0-7]{1,3})|(?P<one>.))",
    re.DOTALL,
)
_MEANING = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LONGEST_NUMBER = 70  # more digits than any 64-bit number has, in octal too, after its zeros


class Tokenizer:
    """The current token of a text: its `kind`, its `token` (the text), and where it begins."""

    def __init__(self, text: str) -> None:
        self.faults: list[tuple[int, str]] = []
        self._text = text
        self._end = 0
        self.kind = SYMBOL
        self.token = ""
        self.start = 0
        self.next()

    def next(self) -> None:
        """Go to the next token."""
        text, before, kind_before = self._text, self._end, self.kind
        at = self._skip(_SKIPPED, before)
        while at < len(text) and text[at] < " ":
            self.note(at, "Invalid control characters encountered in text.")
            at = self._skip(_SKIPPED, self._skip(_CONTROLS, at))
        self.start = at
        first = text[at : at + 1]
        if found := _LETTERS.match(text, at):
            self.kind, self._end = NAME, found.end()
        elif first.isdecimal() or (first == "." and text[at + 1 : at + 2] in _ASCII_DIGITS):
            if first == "." and kind_before == NAME and at == before:
                self.note(at, "Need space between identifier and decimal point.")
            self._number(at)
        elif first in _PLAIN:
            self.kind, self._end = STRING, self._string(at + 1, first)
        else:
            if first > "\x7f":
                self.note(at, f"Interpreting non ascii codepoint {ord(first)}.")
            self.kind, self._end = (SYMBOL, at + 1) if first else (END, at)
        self.token = text[at : self._end]

    def note(self, at: int, what: str) -> None:
        self.faults.append((at, what))

    def _skip(self, pattern: re.Pattern[str], at: int) -> int:
        found = pattern.match(self._text, at)
        return found.end() if found else at

    def _number(self, at: int) -> None:
        text = self._text
        is_float = False
        if text[at : at + 2] in ("0x", "0X"):
            end = self._skip(_HEX, at + 2)
            if end == at + 2:
                self.note(end, '"0x" must be followed by hex digits.')
        elif text[at] == "0" and text[at + 1 : at + 2] in _ASCII_DIGITS:
            end = self._skip(_OCTAL, at)
            if text[end : end + 1] in _ASCII_DIGITS:
                self.note(end, "Numbers starting with leading zero must be in octal.")
                end = self._skip(_DIGITS, end)
        else:
            is_float, end = self._decimal(at)
        following = text[end : end + 1]
        if _LETTER.match(following):
            self.note(end, "Need space between number and identifier.")
        elif following == "." and is_float:
            self.note(end, "Already saw decimal point or exponent; can't have another one.")
        elif following == ".":
            self.note(end, "Hex and octal numbers must be integers.")
        self.kind, self._end = (FLOAT if is_float else INTEGER), end

    def _decimal(self, at: int) -> tuple[bool, int]:
        """Whether a decimal number is a float, and where it ends."""
        whole = self._skip(_DIGITS, at)
        end = self._skip(_FRACTION, whole)
        is_float = end > whole
        if exponent := _EXPONENT.match(self._text, end):
            is_float, end = True, self._skip(_DIGITS, exponent.end())
            if end == exponent.end():
                self.note(end, '"e" must be followed by exponent.')
        if self._text[end : end + 1] in ("f", "F"):
            is_float, end = True, end + 1
        return is_float, end

    def _string(self, at: int, quote: str) -> int:
        """Where the string ends whose first character is at `at`."""
        text = self._text
        while True:
            at = self._skip(_PLAIN[quote], at)
            mark = text[at : at + 1]
            if mark == quote:
                return at + 1
            if mark == "\n":
                self.note(at, "String literals cannot cross line boundaries.")
                return at
            if mark != "\\":
                self.note(at, "Unexpected end of string.")
                return at
            at += 1
            escape = text[at : at + 1]
            if escape in _SIMPLE_ESCAPES:
                at += 1
            elif escape in _DIGIT_ESCAPES:
                digits, wanted, fault = _DIGIT_ESCAPES[escape]
                end = self._skip(digits, at + 1)
                if end - at - 1 < wanted:
                    self.note(end, fault)
                at = end
            else:
                self.note(at, "Invalid escape sequence in string literal.")


_ASCII_DIGITS = frozenset("0123456789")


def integer_of(token: str) -> int | None:
    """The value of an integer token, None for one that no 64-bit number can hold."""
    base = 16 if token[:2] in ("0x", "0X") else 8 if token[0] == "0" else 10
    digits = token[2 if base == 16 else 0 :].lstrip("0")
    if len(digits) > _LONGEST_NUMBER:
        return None
    try:
        value = int(digits or "0", base)
    except ValueError:  # a digit 8 or 9 in an octal number
        return None
    return value if value <= UINT64_MAX else None


def float_of(token: str) -> float:
    """The value of a float token. One with a fault has no exponent after its "e"."""
    return float(token.rstrip("fF").rstrip("+-").rstrip("eE"))


def bytes_of(token: str) -> str:
    """What a string token means, one character per byte."""
    body = token[1:-1] if len(token) > 1 and token[-1] == token[0] else token[1:]
    return _ESCAPED.sub(_meaning, body) if "\\" in body else body


def _meaning(found: re.Match[str]) -> str:
    if found["high"]:
        high, low = int(found["high"], 16), int(found["low"], 16)
        return _utf8(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
    if digits := found["four"] or found["eight"]:
        return _utf8(int(digits, 16))
    if found["hex"] is not None:
        return chr(int(found["hex"] or "0", 16))
    if found["octal"]:
        return chr(int(found["octal"], 8) & 0xFF)
    return _MEANING.get(found["one"], found["one"])


def _utf8(code: int) -> str:
    """A code point as UTF-8, one character per byte. A lone surrogate is written too, a larger number as an escape."""
    if code > 0x10FFFF:
        return f"\\U{code:08x}"
    return chr(code).encode("utf-8", "surrogatepass").decode("latin-1")
