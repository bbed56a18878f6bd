"""Shapes: how many elements one has, and its text in Triton's errors."""

from collections.abc import Iterable, Sequence

from triton_emulator.cxx.numbers import INT64_MAX, UINT64_MAX, to_int64

#: a dim that may be any
VARIABLE = -1


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


def wrapped_count(dims: Iterable[int]) -> int:
    """The product of the dims, wrapped at each step: the exact product of a hundred thousand dims takes seconds."""
    count = 1
    for dim in dims:
        count = count * dim & UINT64_MAX
    return count if count <= INT64_MAX else to_int64(count)


def shape_text(dims: Iterable[int]) -> str:
    """A shape as Triton prints it: `[2,-1]`."""
    return f"[{','.join(map(str, dims))}]"
