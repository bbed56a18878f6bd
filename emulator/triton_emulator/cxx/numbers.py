"""Numbers as C++ reads them from text and converts them: leading blanks are skipped, and so is all after the number."""

import math
import re
import sys
from decimal import Decimal
from fractions import Fraction

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1

_BLANKS = r"[ \t\n\v\f\r]*"
_INTEGER = re.compile(_BLANKS + r"([+-]?)0*([0-9]*)(?<=[0-9])")
_HEXADECIMAL = r"0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?"
_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_DOUBLE = re.compile(
    _BLANKS + rf"([+-]?(?:(?P<hexadecimal>{_HEXADECIMAL})|{_DECIMAL}|(?P<no_number>inf|nan)))", re.IGNORECASE
)
_MOST_DIGITS = 40  # more than any 64-bit number has: Python refuses to read very many


def stoi(text: str, low: int = INT32_MIN, high: int = INT32_MAX) -> int:
    """std::stoi, and with other bounds std::stol and its like: "12abc" is 12.

    Raises ValueError where there is no number (std::invalid_argument), OverflowError where it is not in `low`..`high`
    (std::out_of_range).
    """
    value = _leading_integer(text)
    if value is None:
        raise ValueError(text)
    if not low <= value <= high:
        raise OverflowError(text)
    return value


def atoi(text: str) -> int:
    """Atoi of glibc: 0 where there is no number, the lower 32 bits of one that is too large (at most 64 bits)."""
    value = _leading_integer(text) or 0
    return to_int32(max(INT64_MIN, min(value, INT64_MAX)))


def stod(text: str) -> float:
    """std::stod: "0x10" is 16.0, "1.5abc" is 1.5.

    Raises ValueError if there is no number, and OverflowError if it is too large or too small for a double. For glibc a
    number is too small if it is below the normal doubles and would be rounded.
    """
    found = _DOUBLE.match(text)
    if found is None:
        raise ValueError(text)
    value = _double(found)
    if not found["no_number"] and (math.isinf(value) or _underflows(found, value)):
        raise OverflowError(text)
    return value


def _double(found: re.Match[str]) -> float:
    """The number of a match of `_DOUBLE`."""
    if not found["hexadecimal"]:
        return float(found[1])
    try:
        return float.fromhex(found[1])
    except OverflowError:
        return -math.inf if found[1].startswith("-") else math.inf


def _underflows(found: re.Match[str], value: float) -> bool:
    """Whether the number of a match of `_DOUBLE` is too small; `value` is what it became.

    A hexadecimal number that was rounded to another one than 0 is not found.
    """
    if abs(value) >= sys.float_info.min:
        return False
    mantissa = re.split("[pP]" if found["hexadecimal"] else "[eE]", found[1])[0]
    if value == 0:
        return re.search("[1-9a-fA-F]", mantissa) is not None
    return not found["hexadecimal"] and Fraction(Decimal(found[1])) != Fraction(value)


def to_int32(value: int) -> int:
    """Conversion to int32_t: the lower 32 bits, with their sign."""
    return (value - INT32_MIN) % (1 << 32) + INT32_MIN


def to_int64(value: int) -> int:
    """Conversion to int64_t: the lower 64 bits, with their sign."""
    return (value - INT64_MIN) % (1 << 64) + INT64_MIN


def to_uint32(value: int) -> int:
    """Conversion to uint32_t: the lower 32 bits."""
    return value % (1 << 32)


def to_uint64(value: int) -> int:
    """Conversion to uint64_t: the lower 64 bits."""
    return value % (1 << 64)


def _leading_integer(text: str) -> int | None:
    """The number at the start of a text; one of very many digits is cut to one that is still too large for 64 bits."""
    found = _INTEGER.match(text)
    if found is None:
        return None
    magnitude = int(found[2][:_MOST_DIGITS] or "0")
    return -magnitude if found[1] == "-" else magnitude
