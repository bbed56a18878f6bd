"""How many elements a shape has, in the ways in which versions count them."""

import pytest

from triton_emulator.protocol.shapes import (
    INVALID,
    OVERFLOWN,
    VARIABLE,
    checked_count,
    plain_count,
    triton_count,
)

MOST = 2**63 - 1


@pytest.mark.parametrize(
    "dims, count",
    [
        ([], 0),
        ([3], 3),
        ([2, 3], 6),
        ([1, MOST], MOST),
        ([0], 0),
        ([0, -2], 0),
        ([0, MOST, 2], 0),
        ([-1], VARIABLE),
        ([-1, 0], VARIABLE),
        ([2, -1], VARIABLE),
        ([-2], INVALID),
        ([-2, 0], INVALID),
        ([-2, -1], INVALID),
        ([-1, -2], VARIABLE),
        ([2, MOST], OVERFLOWN),
        ([2, MOST, 0], OVERFLOWN),
        ([2, MOST, -1], OVERFLOWN),
        ([7, 7905747460161236407], OVERFLOWN),
    ],
)
def test_the_first_dim_that_decides_is_the_one_that_counts_from_2_58_on(dims: list[int], count: int) -> None:
    assert checked_count(dims) == count


@pytest.mark.parametrize(
    "dims, count",
    [
        ([], 0),
        ([2, 3], 6),
        ([-1, 0], VARIABLE),
        ([-2, 2], -4),
        ([2**32, 2**32], 0),
        ([7, 7905747460161236407], 1),
    ],
)
def test_before_2_58_a_product_wraps(dims: list[int], count: int) -> None:
    assert triton_count(dims) == count


@pytest.mark.parametrize(
    "dims, count", [([], 1), ([2, 3], 6), ([1, MOST], MOST), ([2, MOST], 0), ([2, MOST, 0], 0), ([0], 0)]
)
def test_a_product_that_no_tensor_has_is_0_to_the_reader_of_plain_inputs(dims: list[int], count: int) -> None:
    assert plain_count(dims) == count


def test_a_hundred_thousand_dims_are_counted_at_once() -> None:
    assert plain_count([3] * 100_000) == 0
    assert checked_count([3] * 100_000) == OVERFLOWN
