"""The order in which libstdc++'s `std::sort` leaves indices by descending value: equal values do not keep theirs.

Theory of operation
===================

Triton sorts the indices of an output's values to find its highest classes, so clients see where `std::sort` puts equal
values. This is libstdc++'s introsort, step by step (bits/stl_algo.h), on indices:

1. Split. A part of more than sixteen elements is split in two around a pivot, the median of its second, middle and last
   element, which is first moved to the front (`_median_to_first`). The elements before the cut are not less than the
   pivot, those from it on are not greater; equal ones are exchanged too, which is why they lose their order
   (`_partition`). The right part is split first, then the left one; the order of the two does not change the result.
2. Insert. The whole array is then nearly in order, and an insertion sort finishes it. It keeps equal values in order,
   so an array of at most sixteen elements is sorted stably.

After 2 * log2(n) nested splits libstdc++ sorts a part by a heap instead. That is not done here: `descending` returns
None, and so it does where C++ would read outside of the array, as it may with NaN among the values.
"""

from collections.abc import Sequence

_THRESHOLD = 16


def descending(values: Sequence[float]) -> list[int] | None:
    """The indices of the values, the highest value first.

    None where C++ reads outside of the array, as it may with NaN among the values, or sorts by a heap, which it does
    for values laid out to be slow.
    """
    order = list(range(len(values)))
    try:
        if not _split(values, order):
            return None
        _insert(values, order)
    except IndexError:
        return None
    return order


def _split(values: Sequence[float], order: list[int]) -> bool:
    """Until no part that is not split has more than sixteen; whether that took no more splits than C++ allows."""
    parts = [(0, len(order), 2 * (len(order).bit_length() - 1))]
    while parts:
        first, last, splits = parts.pop()
        while last - first > _THRESHOLD:
            if splits == 0:
                return False
            splits -= 1
            _median_to_first(values, order, first, last)
            cut = _partition(values, order, first, last)
            parts.append((first, cut, splits))
            first = cut
    return True


def _median_to_first(values: Sequence[float], order: list[int], first: int, last: int) -> None:
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    x, y, z = (values[order[at]] for at in (a, b, c))
    if x > y:
        median = b if y > z else c if x > z else a
    else:
        median = a if x > z else c if y > z else b
    order[first], order[median] = order[median], order[first]


def _partition(values: Sequence[float], order: list[int], first: int, last: int) -> int:
    pivot = values[order[first]]
    first += 1
    while True:
        while values[order[first]] > pivot:
            first += 1
        last -= 1
        while pivot > values[order[last]]:
            last -= 1
        if first >= last:
            return first
        order[first], order[last] = order[last], order[first]
        first += 1


def _insert(values: Sequence[float], order: list[int]) -> None:
    for at in range(1, len(order)):
        index = order[at]
        value = values[index]
        to = at
        if at < _THRESHOLD and value > values[order[0]]:
            to = 0
        else:
            while value > values[order[to - 1]]:
                if to == 0:
                    raise IndexError  # C++ goes on before the array
                to -= 1
        order[to + 1 : at + 1] = order[to:at]
        order[to] = index
