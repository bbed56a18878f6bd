"""Number literals to numbers, by rapidjson 1.1.0's arithmetic.

Triton 2.51 does not ask rapidjson for full precision: a long literal may become a neighbour of the nearest double, and
a client that compares results bit by bit can see that. So the digits are added up here as in the server. In short: a
whole number stays an integer if it fits 64 bits. Otherwise its digits are added to an integer until it passes 2^53,
then to a double until seventeen are significant, and one multiplication or division by a power of ten finishes it.
"""

import re

from .memo import Memo

_INT64_DIGITS = 18  # a whole number of at most this many digits fits 64 bits, with either sign
_UINT64_MAX = 2**64 - 1
_INT64_MIN_MAGNITUDE = 2**63
_EXACT_MAX = 2**53 - 1  # up to here a digit is still added to the integer
_SIGNIFICANT_MAX = 17
_TENTH_OF_DOUBLE_MAX = 1.7976931348623157e307
_POWERS_OF_TEN = tuple(float(f"1e{n}") for n in range(309))
_LITERAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")

# A literal this short and without an exponent has at most 15 digits: its digits and its power of ten are both exact
# doubles, so one division rounds once, and that is what float() returns.
_SHORT_DECIMAL = 16


class NumberTooBigError(Exception):
    """The literal's magnitude does not fit a double, as rapidjson computes it."""


def whole_number(literal: str) -> int | float:
    """The value of `-?[0-9]+`: an int where 64 bits hold it, else a float. Raises NumberTooBigError."""
    if len(literal) <= _INT64_DIGITS:
        return int(literal)
    negative = literal[0] == "-"
    significand, overflow = _gather_whole(literal[negative:], negative)
    value = _gather_overflow(significand, overflow) if overflow else significand
    return -value if negative else value


def decimal_number(literal: str) -> float:
    """The value of a literal with a fraction or an exponent. Raises NumberTooBigError, ValueError for no number."""
    if len(literal) <= _SHORT_DECIMAL and "e" not in literal and "E" not in literal:
        return float(literal)
    match = _LITERAL.fullmatch(literal)
    if match is None:
        raise ValueError(f"not a number: {literal[:40]!r}")
    negative, digits, fraction, exponent = match.groups()
    significand, overflow = _gather_whole(digits, bool(negative))
    if overflow:
        # More than seventeen digits are significant already: the fraction adds nothing.
        magnitude, scale = _gather_overflow(significand, overflow), 0
    else:
        magnitude, scale = _gather_fraction(significand, len(digits), fraction or "")
    if exponent:
        # 2.51: the digits after the point make room for a larger exponent, so 9.9e308 passes, and becomes Infinity.
        scale += _exponent_value(exponent, 308 - scale)
    value = _scaled(magnitude, scale)
    return -value if negative else value


def _gather_whole(digits: str, negative: bool) -> tuple[int, str]:
    """The leading digits as an integer of 64 bits, and the digits left over."""
    if len(digits) <= _INT64_DIGITS:
        return int(digits), ""
    limit = _INT64_MIN_MAGNITUDE if negative else _UINT64_MAX
    for length in (20, 19):
        if len(digits) >= length and (value := int(digits[:length])) <= limit:
            return value, digits[length:]
    return int(digits[:_INT64_DIGITS]), digits[_INT64_DIGITS:]


def _gather_overflow(significand: int, rest: str) -> float:
    value = float(significand)
    for digit in rest:
        if value >= _TENTH_OF_DOUBLE_MAX:
            raise NumberTooBigError
        value = value * 10.0 + int(digit)
    return value


def _gather_fraction(significand: int, whole_digits: int, fraction: str) -> tuple[float, int]:
    """The digits on both sides of the point as one double, and the power of ten that it is to be scaled by."""
    # The first digit before the point is never counted, and neither are zeros before the first other digit.
    significant = whole_digits - 1
    digits = fraction if significand else fraction.lstrip("0")
    used = 0
    if significand <= _EXACT_MAX:
        # Sixteen digits in all may or may not pass 2^53; where they do not, a seventeenth is added.
        used = min(16 - (whole_digits if significand else 0), len(digits))
        significand = significand * 10**used + int(digits[:used] or "0")
        if significand <= _EXACT_MAX and used < len(digits):
            significand = significand * 10 + int(digits[used])
            used += 1
        significant += used
    value = float(significand)
    for digit in digits[used : used + max(0, _SIGNIFICANT_MAX - significant)]:
        value = value * 10.0 + int(digit)
        used += 1
    return value, len(digits) - len(fraction) - used


def _exponent_value(exponent: str, largest: int) -> int:
    digits = exponent.lstrip("+-").lstrip("0") or "0"
    if exponent[0] == "-":
        return -int(digits[:10])  # more digits are no further below the smallest double
    if len(digits) > 9 or int(digits) > largest:
        raise NumberTooBigError
    return int(digits)


def _scaled(value: float, power: int) -> float:
    if power >= 0:
        return value * _POWERS_OF_TEN[power]
    if power >= -308:
        return value / _POWERS_OF_TEN[-power]
    if power >= -616:
        return value / _POWERS_OF_TEN[308] / _POWERS_OF_TEN[-power - 308]
    return 0.0


def _is_short(literal: str) -> bool:
    return len(literal) <= 32


# Remembered, because tests send the same few numbers again and again.
whole_numbers: Memo[str, int | float] = Memo(whole_number, keep=_is_short)
decimal_numbers: Memo[str, float] = Memo(decimal_number, keep=_is_short)
