"""Numbers as C++ reads them out of text."""

import re

_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_MOST_DIGITS = 40  # more digits than any 64-bit number has; Python refuses to read very many


def stoi(text: str, low: int = -(1 << 31), high: int = (1 << 31) - 1) -> int:
    """std::stoi: leading blanks are skipped, and what follows the digits is not looked at ("12abc" is 12).

    Raises ValueError where there is no number, OverflowError where it is not in `low`..`high`.
    """
    match = _INTEGER.match(text)
    if match is None:
        raise ValueError(text)
    digits = match[1].lstrip("+-0")
    if len(digits) > _MOST_DIGITS:
        raise OverflowError(text)
    value = int(digits or "0") * (-1 if match[1][0] == "-" else 1)
    if not low <= value <= high:
        raise OverflowError(text)
    return value
