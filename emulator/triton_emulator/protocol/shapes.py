"""Shapes: how many elements one has, and its text in Triton's errors."""

from collections.abc import Iterable, Sequence

from triton_emulator.cxx.numbers import INT64_MAX, UINT64_MAX, to_int64

#: a dim that may be any
VARIABLE = -1
#: what `checked_count` returns for a shape with another negative dim, and for one with too many elements
INVALID, OVERFLOWN = -2, -3


def element_count(shape: Iterable[int]) -> int:
    """The product of a shape's dims as an exact integer (1 for a scalar's empty shape)."""
    count = 1
    for dim in shape:
        count *= dim
    return count


def triton_count(dims: Sequence[int]) -> int:
    """The number of elements as 2.51 computes it (common GetElementCount): 0 without dims, -1 with a variable dim.

    A product of more than 64 bits wraps.
    """
    if VARIABLE in dims:
        return VARIABLE
    return wrapped_count(dims) if dims else 0


def checked_count(dims: Iterable[int]) -> int:
    """The number of elements as 2.58 computes it: 0 without dims, VARIABLE, INVALID or OVERFLOWN at the first such dim.

    So it is 0 at a dim of 0, whatever comes after it.
    """
    count = 0
    for dim in dims:
        if dim == 0:
            return 0
        if dim < 0:
            return VARIABLE if dim == VARIABLE else INVALID
        count = dim if count == 0 else count * dim
        if count > INT64_MAX:
            return OVERFLOWN
    return count


def plain_count(dims: Iterable[int]) -> int:
    """The product of dims that are not negative; 0 where it has more than 63 bits."""
    count = 1
    for dim in dims:
        count *= dim
        if count > INT64_MAX:
            return 0
    return count


def wrapped_count(dims: Iterable[int]) -> int:
    """The product of the dims, wrapped at each step: the exact product of a hundred thousand dims takes seconds."""
    count = 1
    for dim in dims:
        count = count * dim & UINT64_MAX
    return count if count <= INT64_MAX else to_int64(count)


def shape_text(dims: Iterable[int]) -> str:
    """A shape as Triton prints it: `[2,-1]`."""
    return f"[{','.join(map(str, dims))}]"
