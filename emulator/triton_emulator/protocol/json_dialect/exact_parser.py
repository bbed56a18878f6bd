r"""The exact parser: rapidjson 1.1.0's grammar with `kParseNanAndInfFlag`, its messages and its byte offsets.

`parser.parse` uses it for the documents that the fast parser cannot read with certainty.

Theory of operation
===================

The document is read token by token, each by one regular expression with possessive quantifiers, so that the time is
linear in its length (about a microsecond for each token on a common machine). There is no recursion, so a document may
nest deeply: `parse_exact` keeps the containers around the present one on a stack, `outer`, and the items read so far in
`items`. It alternates between two steps:

1. Read a value (`_read_value`). A container that is not empty is only opened: it is pushed, and its first value (after
   its name, in an object) is read next.
2. Add the value to the container, and look at what follows. A comma asks for the next value; a closing bracket makes
   the container a value in its own turn, and step 2 is repeated with that one.

An error is the first fault in rapidjson's order of reading, with the offset at which rapidjson stops: not always the
fault's own place. The patterns that find these offsets (`_BROKEN_WORD`, `_BROKEN_ESCAPE`, `_SIGN`) run only then.

What this grammar has and JSON does not (all seen on 2.51):

- a NUL byte ends the document: what follows is not looked at;
- the bytes EF BB BF of a byte order mark are skipped at the start one by one: any of them may be missing;
- `NaN`, `Inf` and `Infinity`, with or without a sign, and, because of how it looks for them, `NInf` and `NaInf`; a
  fraction or an exponent may follow and then counts from zero (`Inf.5` is 0.5);
- a low surrogate may stand alone: `"\udc00"` becomes its three bytes, which are not UTF-8;
- a string's bytes need not be UTF-8.
"""

import math
import re
import sys
from typing import Any, Final

from .numbers import NumberTooBigError, decimal_numbers, whole_numbers
from .values import JSONParseError, Value, make_object, text_of

MAX_DEPTH = 100_000
"""Containers within containers. The real server still answers at this depth and overflows its stack, which ends the
process, soon after (at 110,000 on the machine where it was tried). A deeper document gets the error of a parser that
was stopped. The iterative parser has no such limit."""

EMPTY = "The document is empty."
NOT_SINGULAR = "The document root must not be followed by other values."
INVALID_VALUE = "Invalid value."
MISSING_NAME = "Missing a name for object member."
MISSING_COLON = "Missing a colon after a name of object member."
MISSING_COMMA_OR_BRACE = "Missing a comma or '}' after an object member."
MISSING_COMMA_OR_BRACKET = "Missing a comma or ']' after an array element."
BAD_HEX = "Incorrect hex digit after \\u escape in string."
BAD_SURROGATE = "The surrogate pair in string is invalid."
BAD_ESCAPE = "Invalid escape character in string."
MISSING_QUOTE = "Missing a closing quotation mark in string."
TOO_BIG = "Number too big to be stored in double."
MISSING_FRACTION = "Miss fraction part in number."
MISSING_EXPONENT = "Miss exponent in number."
TERMINATED = "Terminate parsing due to Handler error."

_BYTE_ORDER_MARK = re.compile(rb"\xef?\xbb?\xbf?")
_NUMBER_NAME = re.compile(r"[NaInfity]+")
_SIGN = re.compile(rb"[+-]?")
_SPACE = re.compile(rb"[ \t\n\r]*+")
_AFTER_VALUE = re.compile(rb"[ \t\n\r]*+([,\]}]?)")
_NAME = re.compile(rb'[ \t\n\r]*+"([^"\\\x00-\x1f]*+)"[ \t\n\r]*+:')
_VALUE = re.compile(
    rb"""[ \t\n\r]*+(?:
        "(?P<string>[^"\\\x00-\x1f]*+)"
      | (?P<literal> -?
            (?:0|[1-9][0-9]*+|NaN|(?:Na?)?Inf(?:inity|(?!i)))
            (?P<fraction>\.[0-9]++)?+
            (?P<exponent>[eE][+-]?[0-9]++)?+ )
        (?P<number>[.eE]?)
      | (?P<word>true|false|null)
      | (?P<empty>\[[ \t\n\r]*+\]|\{[ \t\n\r]*+\})
      | (?P<open>[\[{])
      | (?P<quote>")
    )""",
    re.VERBOSE,
)
# How far into a word the server reads before it meets a byte that does not belong there.
_BROKEN_WORD = re.compile(
    rb"n(?:ul?)?|t(?:ru?)?|f(?:a(?:ls?)?)?|-?(?:Na?)?(?:I(?:n(?:f(?:i(?:n(?:it?)?)?)?)?)?)?"
)
_STRING_BODY = re.compile(
    rb"""(?: [^"\\\x00-\x1f]++
           | \\["\\/bfnrt]
           | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
           | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
         )*+""",
    re.VERBOSE,
)
_BROKEN_ESCAPE = (
    # The first of these that matches at a backslash says what is wrong there.
    (re.compile(rb"\\(?!u)"), BAD_ESCAPE),
    (re.compile(rb"\\u(?![0-9a-fA-F]{4})"), BAD_HEX),
    (re.compile(rb"\\u....\\u(?![0-9a-fA-F]{4})", re.DOTALL), BAD_HEX),
    (re.compile(rb""), BAD_SURROGATE),
)
_ESCAPE = re.compile(rb"\\(?:u([dD][89abAB]..)\\u(....)|u(....)|(.))", re.DOTALL)
_ESCAPED = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_WORDS: dict[bytes, Value] = {b"true": True, b"false": False, b"null": None}

_ARRAY: Final[list[Value]] = []
_OBJECT: Final[dict[str, Value]] = {}
"""What `_read_value` returns for a container that is only opened; they are compared by identity."""


def parse_exact(raw: bytes, *, iterative: bool = False) -> Value:
    """The document's value. Raises JSONParseError.

    `iterative` is rapidjson with `kParseIterativeFlag`, which looks at a document's first byte before it reads a value.
    """
    position = _end_of(_BYTE_ORDER_MARK, raw, 0)
    position = _end_of(_SPACE, raw, position)
    if raw[position : position + 1] in (b"", b"\0"):
        raise JSONParseError(EMPTY, position)
    if iterative and raw[position : position + 1] in (b",", b":", b"]", b"}"):
        raise JSONParseError(EMPTY, position)
    deepest = sys.maxsize if iterative else MAX_DEPTH

    # `items` are those of the container that is being read, `name` is the member's whose value comes next (None in
    # an array); `outer` has both for the containers around it.
    items: list[Any] = []
    name: str | None = None
    outer: list[tuple[list[Any], str | None]] = []
    while True:
        value, position = _read_value(raw, position)
        if value is _ARRAY or value is _OBJECT:
            if len(outer) == deepest:
                raise JSONParseError(TERMINATED, position - 1)
            outer.append((items, name))
            items, name = [], None
            if value is _OBJECT:
                name, position = _read_name(raw, position)
            continue
        while True:
            if not outer:
                return _end_of_document(raw, position, value)
            items.append(value if name is None else (name, value))
            after = _match(_AFTER_VALUE, raw, position)
            mark, position = after[1], after.end()
            if mark == b",":
                if name is not None:
                    name, position = _read_name(raw, position)
                break
            if mark != (b"]" if name is None else b"}"):
                message = MISSING_COMMA_OR_BRACKET if name is None else MISSING_COMMA_OR_BRACE
                raise JSONParseError(message, position - len(mark))
            value = items if name is None else make_object(items)
            items, name = outer.pop()


def _end_of_document(raw: bytes, position: int, value: Value) -> Value:
    position = _end_of(_SPACE, raw, position)
    if raw[position : position + 1] in (b"", b"\0"):
        return value
    raise JSONParseError(NOT_SINGULAR, position)


def _read_value(raw: bytes, position: int) -> tuple[Value, int]:
    match = _VALUE.match(raw, position)
    if match is None:
        position = _end_of(_SPACE, raw, position)
        raise JSONParseError(INVALID_VALUE, _end_of(_BROKEN_WORD, raw, position))
    value: Value
    match match.lastgroup:
        case "string":
            value = text_of(match["string"])
        case "number":
            return _read_number(match), match.start("number")
        case "quote":
            return _read_string(raw, match.end())
        case "word":
            value = _WORDS[match["word"]]
        case "empty":
            value = [] if match["empty"][:1] == b"[" else {}
        case _:
            value = _ARRAY if match["open"] == b"[" else _OBJECT
    return value, match.end()


def _read_name(raw: bytes, position: int) -> tuple[str, int]:
    """A member's name, and the position after the colon."""
    match = _NAME.match(raw, position)
    if match is not None:
        return text_of(match[1]), match.end()
    position = _end_of(_SPACE, raw, position)
    if raw[position : position + 1] != b'"':
        raise JSONParseError(MISSING_NAME, position)
    name, position = _read_string(raw, position + 1)
    position = _end_of(_SPACE, raw, position)
    if raw[position : position + 1] != b":":
        raise JSONParseError(MISSING_COLON, position)
    return name, position + 1


def _read_string(raw: bytes, start: int) -> tuple[str, int]:
    """The string whose opening quote stands before `start`, and the position after its closing quote."""
    end = _end_of(_STRING_BODY, raw, start)
    stop = raw[end : end + 1]
    if stop == b'"':
        body = raw[start:end]
        return text_of(_ESCAPE.sub(_unescape, body) if b"\\" in body else body), end + 1
    if stop == b"\\":
        raise JSONParseError(next(text for broken, text in _BROKEN_ESCAPE if broken.match(raw, end)), end)
    # 2.51: a control character is reported as a bad escape, though there is none.
    raise JSONParseError(MISSING_QUOTE if stop in (b"", b"\0") else BAD_ESCAPE, end)


def _unescape(match: re.Match[bytes]) -> bytes:
    high, low, unit, character = match.groups()
    if character is not None:
        return _ESCAPED.get(character, character)
    if unit is not None:
        return chr(int(unit, 16)).encode("utf-8", "surrogatepass")
    return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00).encode()


def _read_number(match: re.Match[bytes]) -> int | float:
    literal, fraction, exponent, more = match.group("literal", "fraction", "exponent", "number")
    text = literal.decode()
    if "N" in text or "I" in text:
        if not (fraction or exponent or more):
            return math.nan if text.endswith("NaN") else -math.inf if text.startswith("-") else math.inf
        text = _NUMBER_NAME.sub("0", text)
    try:
        value = decimal_numbers[text] if fraction or exponent else whole_numbers[text]
    except NumberTooBigError:
        raise JSONParseError(TOO_BIG, match.start("literal")) from None
    if more and not exponent:
        if more != b".":
            raise JSONParseError(MISSING_EXPONENT, _end_of(_SIGN, match.string, match.end()))
        if not fraction:
            raise JSONParseError(MISSING_FRACTION, match.end())
    return value


def _match(pattern: re.Pattern[bytes], raw: bytes, position: int) -> re.Match[bytes]:
    """The match of a pattern that matches anything, if need be nothing."""
    match = pattern.match(raw, position)
    assert match is not None  # noqa: S101
    return match


def _end_of(pattern: re.Pattern[bytes], raw: bytes, position: int) -> int:
    return _match(pattern, raw, position).end()
