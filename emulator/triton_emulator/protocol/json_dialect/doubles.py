"""Doubles to text, by rapidjson 1.1.0's Grisu2: digits that read back as the same double, nearly always the fewest.

Python's `repr` is no substitute: it has the digits nearest to the double, and Grisu2 does not. Of random doubles
between 0 and 1 a quarter end in another digit (0.30000000000000004 is written 0.30000000000000007), which a client that
compares texts can see. The layout of the digits ("Prettify") differs as well: `1e21` and `1e-7`, but
`100000000000000000000.0` and `0.000001`.
"""

import math
import struct
from bisect import bisect_left

from .memo import Memo

_HIDDEN_BIT = 1 << 52
_EXACT_MAX = 2**53 - 1
_HALF = 1 << 63  # rounds a 128-bit product to its upper 64 bits

# Powers of ten as 64-bit significand and binary exponent: 10^(-348 + 8 i), rounded to nearest.
_FIRST_POWER, _POWER_STEP, _POWER_COUNT = -348, 8, 87


def _power_of_ten(decimal_exponent: int) -> tuple[int, int]:
    numerator, denominator = 10 ** max(decimal_exponent, 0), 10 ** max(-decimal_exponent, 0)
    exponent = numerator.bit_length() - denominator.bit_length() - 64
    while True:
        above, below = numerator << max(-exponent, 0), denominator << max(exponent, 0)
        significand = (2 * above + below) // (2 * below)
        if significand >> 64 == 0:
            return significand, exponent
        exponent += 1


_POWERS = tuple(_power_of_ten(_FIRST_POWER + _POWER_STEP * i) for i in range(_POWER_COUNT))
_TEN = tuple(10**n for n in range(20))


def format_double(value: float) -> str:
    """The server's text of a double: `0.1`, `-0.0`, `1e21`, `NaN`, `-Infinity`."""
    return texts[value]


def _format(value: float) -> str:
    if value.is_integer() and abs(value) <= _EXACT_MAX:
        # No other number within half a unit of a whole one below 2^53 has as few digits, so Grisu2 ends there too.
        return repr(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    digits, exponent = shortest(abs(value))
    text = prettify(str(digits), exponent)
    return "-" + text if value < 0 else text


def shortest(value: float) -> tuple[int, int]:
    """Grisu2's decimal `digits * 10^exponent` of a positive finite double."""
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    significand, exponent = bits & (_HIDDEN_BIT - 1), bits >> 52
    if exponent:
        significand, exponent = significand | _HIDDEN_BIT, exponent - 1075
    else:
        exponent = -1074

    # The double and the middles between it and its neighbours, as 64-bit significands of one exponent.
    above = 2 * significand + 1
    shift = 64 - above.bit_length()
    if significand == _HIDDEN_BIT:  # the neighbour below is half as far away
        lower = (4 * significand - 1) << (shift - 1)
    else:
        lower = (above - 2) << shift
    exponent -= 1 + shift

    power, power_exponent, decimal_exponent = _scaling_power(exponent)
    middle = (((significand << (shift + 1)) * power) + _HALF) >> 64
    high = (((above << shift) * power + _HALF) >> 64) - 1
    width = high - (((lower * power) + _HALF) >> 64) - 1
    return _digits(high, width, high - middle, -(exponent + power_exponent + 64), decimal_exponent)


def _scaling_power(binary_exponent: int) -> tuple[int, int, int]:
    """The power of ten that brings a significand of this exponent into range.

    Its significand, its binary exponent, and the decimal exponent that undoes it.
    """
    index = (math.ceil((-61 - binary_exponent) * 0.30102999566398114 + 347) >> 3) + 1
    return (*_POWERS[index], -(_FIRST_POWER + _POWER_STEP * index))


def _digits(high: int, width: int, above_middle: int, point: int, decimal_exponent: int) -> tuple[int, int]:
    """The fewest digits that lie in (high - width, high], moved towards the middle.

    `point` is the number of bits after the binary point of `high`, `width` and `above_middle`.
    """
    one = 1 << point
    if high & (one - 1) <= width:
        places = 0
        while high % (_TEN[places + 1] << point) <= width:
            places += 1
        step = _TEN[places] << point
        digits, rest = divmod(high, step)
        decimal_exponent += places
    else:
        # With this many decimal places there is certainly a number in the interval; with fewer, perhaps.
        places = bisect_left(_TEN, one // width + 1)
        while places > 1 and ((high * _TEN[places - 1]) & (one - 1)) < width * _TEN[places - 1]:
            places -= 1
        scaled = high * _TEN[places]
        digits, rest, step = scaled >> point, scaled & (one - 1), one
        width *= _TEN[places]
        # 2.51: rapidjson 1.1.0 has powers of ten for eight places here and takes zero for the rest, so after more
        # places the last digit stays as far from the middle as it was found.
        above_middle *= _TEN[places] if places < 9 else 0
        decimal_exponent -= places
    while (
        rest < above_middle
        and width - rest >= step
        and (rest + step < above_middle or above_middle - rest > rest + step - above_middle)
    ):
        digits -= 1
        rest += step
    return digits, decimal_exponent


def prettify(digits: str, exponent: int) -> str:
    """The layout of `digits * 10^exponent`: plain up to 21 digits before and 6 zeros after the point, else with `e`."""
    point = len(digits) + exponent
    if 0 <= exponent and point <= 21:
        return digits + "0" * exponent + ".0"
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    if len(digits) == 1:
        return f"{digits}e{point - 1}"
    return f"{digits[0]}.{digits[1:]}e{point - 1}"


texts: Memo[float, str] = Memo(_format, keep=lambda value: value != 0.0 and value == value)  # noqa: PLR0124
"""`texts[value]` is `format_double(value)`, remembered. Zero is not kept: -0.0 and 0.0 are one key but two texts."""
