"""Numbers as C++ reads and converts them."""

import math

import pytest

from triton_emulator.cxx.numbers import (
    INT64_MAX,
    INT64_MIN,
    atoi,
    stod,
    stoi,
    to_int32,
    to_int64,
    to_uint32,
    to_uint64,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        (" \t\n\v\f\r+12", 12),
        ("-12", -12),
        ("12abc", 12),
        ("007", 7),
        ("0", 0),
        ("-0", 0),
        ("0x10", 0),
        ("2147483647", 2**31 - 1),
        ("-2147483648", -(2**31)),
        ("0" * 5000 + "5", 5),
    ],
)
def test_stoi_reads_the_number_at_the_start(text: str, value: int) -> None:
    assert stoi(text) == value


@pytest.mark.parametrize("text", ["", " ", "abc", "+", "--1", "- 1", "\u00a01", "\u0661"])
def test_stoi_refuses_a_text_without_a_number(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the text is all that it has)
        stoi(text)


@pytest.mark.parametrize("text", ["2147483648", "-2147483649", "9" * 5000])
def test_stoi_refuses_what_does_not_fit(text: str) -> None:
    with pytest.raises(OverflowError):
        stoi(text)


def test_stoi_has_the_bounds_of_other_types() -> None:
    assert stoi("9223372036854775807", INT64_MIN, INT64_MAX) == 2**63 - 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12 bytes", 12),
        ("", 0),
        ("x1", 0),
        ("-1", -1),
        ("2147483648", -(2**31)),
        ("4294967298", 2),
        ("9223372036854775807", -1),
        ("9" * 30, -1),
        ("-" + "9" * 30, 0),
    ],
)
def test_atoi_never_fails_and_keeps_32_bits(text: str, value: int) -> None:
    assert atoi(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        (" +1.", 1.0),
        (".5x", 0.5),
        ("1e3", 1000.0),
        ("1e", 1.0),
        ("-INF", -math.inf),
        ("0x10", 16.0),
        ("-0X.8p1,", -1.0),
        ("0x", 0.0),
    ],
)
def test_stod_reads_the_number_at_the_start(text: str, value: float) -> None:
    assert stod(text) == value


def test_stod_knows_nan_and_refuses_what_does_not_fit() -> None:
    assert math.isnan(stod("nan"))
    with pytest.raises(OverflowError):
        stod("1e999")
    with pytest.raises(OverflowError):
        stod("0x1p9999")
    with pytest.raises(ValueError):  # noqa: PT011
        stod(".e1")


@pytest.mark.parametrize("text", ["1e-310", "-4.9e-324", "1e-400", "1e-99999999999", "0x1p-2000"])
def test_stod_refuses_what_is_too_small_and_not_exact(text: str) -> None:
    with pytest.raises(OverflowError):
        stod(text)


@pytest.mark.parametrize("text", ["0x1p-1074", "0e-400", "0.000", "-0x0p-9999", "2.2250738585072014e-308"])
def test_stod_takes_small_numbers_that_are_exact_or_normal(text: str) -> None:
    assert abs(stod(text)) < 1e-300


def test_conversions_keep_the_lower_bits() -> None:
    assert [to_int32(value) for value in (2**31, -(2**31) - 1, 2**32 + 5)] == [-(2**31), 2**31 - 1, 5]
    assert [to_int64(value) for value in (2**63, -(2**63) - 1, 2**64 + 5)] == [-(2**63), 2**63 - 1, 5]
    assert (to_uint32(-1), to_uint64(-1)) == (2**32 - 1, 2**64 - 1)
