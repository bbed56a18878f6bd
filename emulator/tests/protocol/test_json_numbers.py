"""Numbers as tritonserver 2.51.0 reads them.

Each literal went to an FP64 identity model of the real server as JSON and came back as eight bytes.
"""

import math

import pytest

from triton_emulator.protocol.json_dialect import Value, parse
from triton_emulator.protocol.json_dialect.exact_parser import parse_exact
from triton_emulator.protocol.json_dialect.numbers import decimal_number

# fmt: off
EXACT = [
    ("-0.0", "-0x0.0p+0"),
    ("0.0", "0x0.0p+0"),
    ("0.1", "0x1.999999999999ap-4"),
    ("0.30000000000000004", "0x1.3333333333334p-2"),
    ("1.2345678901234567", "0x1.3c0ca428c59fbp+0"),
    ("9007199254740991.5", "0x1.0000000000000p+53"),
    ("9007199254740993.0", "0x1.0000000000000p+53"),
    ("99999999999999999.5", "0x1.6345785d8a000p+56"),
    ("18446744073709551615.5", "0x1.0000000000000p+64"),
    ("18446744073709551616.5", "0x1.0000000000000p+64"),
    ("0.1234567890123456789", "0x1.f9add3746f65fp-4"),
    ("0.0000001234567890123456789", "0x1.091f1667f0596p-23"),
    ("0.00000000000000000000000000000000000000123456789012345678", "0x1.ae2f22c33f119p-130"),
    ("8.41", "0x1.0d1eb851eb852p+3"),
    ("0.7", "0x1.6666666666666p-1"),
    ("1e22", "0x1.0f0cf064dd592p+73"),
    ("1e23", "0x1.52d02c7e14af6p+76"),
    ("5e-324", "0x0.0000000000001p-1022"),
    ("4.9e-324", "0x0.0000000000001p-1022"),
    ("2.4e-324", "0x0.0p+0"),
    ("1e-400", "0x0.0p+0"),
    ("1e-99999999999", "0x0.0p+0"),
    ("1.7976931348623157e308", "0x1.fffffffffffffp+1023"),
    ("1e308", "0x1.1ccf385ebc8a0p+1023"),
    ("0.1e309", "0x1.1ccf385ebc8a0p+1023"),
    ("9.9e308", "inf"),
    ("-9.9e308", "-inf"),
    ("3.1415926535897932384626433832795", "0x1.921fb54442d18p+1"),
    ("2.718281828459045", "0x1.5bf0a8b145769p+1"),
    ("6.02214076e23", "0x1.fe185ca57c517p+78"),
    ("1E+2", "0x1.9000000000000p+6"),
    ("1e0000000000000000000002", "0x1.9000000000000p+6"),
    ("18446744073709551616", "0x1.0000000000000p+64"),
    ("-9223372036854775809", "-0x1.0000000000000p+63"),
    ("0.000000000000000000000000000000", "0x0.0p+0"),
    ("1e-308", "0x0.730d67819e8d2p-1022"),
    ("1.5e-310", "0x0.01b9cd1295941p-1022"),
    ("7.2057594037927933e16", "0x1.0000000000000p+56"),
    ("4503599627370497.5", "0x1.0000000000002p+52"),
    ("9007199254740992.1", "0x1.0000000000000p+53"),
    ("179769313486231570000000000000e279", "0x1.fffffffffffffp+1023"),
]

# The server does not read with full precision: its result is a neighbour of the nearest double.
A_NEIGHBOUR = [
    ("0.95367431640625001", "0x1.e847fffffffffp-1"),  # the nearest is 0x1.e848000000000p-1
    ("123456789.12345678901", "0x1.d6f34547e6b76p+26"),  # the nearest is 0x1.d6f34547e6b75p+26
    ("123456789012345678901234567890.5", "0x1.8ee90ff6c373dp+96"),  # the nearest is 0x1.8ee90ff6c373ep+96
    ("123e-25", "0x1.dbd54cc3ff4edp-77"),  # the nearest is 0x1.dbd54cc3ff4eep-77
    ("2.2250738585072011e-308", "0x1.0000000000000p-1022"),  # the nearest is 0x0.fffffffffffffp-1022
    ("12345678901234567e-320", "0x1.5ac6f804d717dp-1010"),  # the nearest is 0x1.5ac6f804d717cp-1010
    ("1.602176634e-19", "0x1.7a4da290c1654p-63"),  # the nearest is 0x1.7a4da290c1653p-63
    ("123456789012345678901234567890", "0x1.8ee90ff6c373dp+96"),  # the nearest is 0x1.8ee90ff6c373ep+96
    ("-123456789012345678901234567890e-10", "-0x1.56a95319d63e0p+63"),  # the nearest is -0x1.56a95319d63e1p+63
    ("1" + "0" * 308, "0x1.1ccf385ebc89fp+1023"),  # the nearest is 0x1.1ccf385ebc8a0p+1023
    ("17976931348623157" + "0" * 292, "0x1.ffffffffffff9p+1023"),  # the nearest is 0x1.fffffffffffffp+1023
    ("1" * 308, "0x1.fa53f26f88124p+1019"),  # the nearest is 0x1.fa53f26f8811cp+1019
]

# Not JSON; a fraction or an exponent after a name counts from zero.
NAMED = [
    ("Inf", "inf"),
    ("Infinity", "inf"),
    ("-Inf", "-inf"),
    ("-Infinity", "-inf"),
    ("NInf", "inf"),
    ("NaInf", "inf"),
    ("-NInf", "-inf"),
    ("NaN", "nan"),
    ("-NaN", "nan"),
    ("Inf.5", "0x1.0000000000000p-1"),
    ("-Inf.25e1", "-0x1.4000000000000p+1"),
    ("NaN.5", "0x1.0000000000000p-1"),
    ("Infe5", "0x0.0p+0"),
    ("NaNe3", "0x0.0p+0"),
    ("Infinity.5E-1", "0x1.999999999999ap-5"),
]
# fmt: on


@pytest.mark.parametrize("literal, expected", EXACT + A_NEIGHBOUR + NAMED)
def test_a_literal_becomes_the_servers_double(literal: str, expected: str) -> None:
    for read in (parse, parse_exact):
        value = read(literal.encode())
        assert isinstance(value, float)
        assert value.hex() == expected


@pytest.mark.parametrize("literal, expected", EXACT + A_NEIGHBOUR)
def test_a_literal_is_read_equally_in_every_place(literal: str, expected: str) -> None:
    document = parse(f'{{"data": [ {literal}\t,{literal}]}}'.encode())
    assert document == {"data": [float.fromhex(expected)] * 2}


@pytest.mark.parametrize("literal, expected", A_NEIGHBOUR)
def test_the_neighbour_is_not_what_python_reads(literal: str, expected: str) -> None:
    assert float(literal) != float.fromhex(expected)
    assert math.isclose(float(literal), float.fromhex(expected), rel_tol=1e-13)


@pytest.mark.parametrize(
    "literal, expected",
    [
        ("0", 0),
        ("-0", 0),
        ("1", 1),
        ("-1", -1),
        ("2147483648", 2**31),
        ("-2147483649", -(2**31) - 1),
        ("4294967296", 2**32),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2**63),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("100000000000000000", 10**17),
        ("-999999999999999999", -(10**18) + 1),
    ],
)
def test_a_whole_number_stays_an_integer_while_64_bits_hold_it(literal: str, expected: int) -> None:
    for read in (parse, parse_exact):
        value = read(literal.encode())
        assert (type(value), value) == (int, expected)


@pytest.mark.parametrize(
    "literal", ["4.0", "1e1", "1E0", "-0.0", "18446744073709551616", "-9223372036854775809"]
)
def test_a_point_an_exponent_or_a_65th_bit_makes_a_float(literal: str) -> None:
    for read in (parse, parse_exact):
        assert type(read(literal.encode())) is float


def test_a_number_of_many_digits_is_read_in_linear_time() -> None:
    """Python refuses to turn more than 4300 digits into an integer, and would take quadratic time."""
    expected: list[tuple[bytes, Value]] = [
        (b"0." + b"3" * 100_000, 1 / 3),
        (b"1e-" + b"9" * 100_000, 0.0),
        (b"1e" + b"0" * 100_000, 1.0),
        (b"0." + b"0" * 100_000 + b"1", 0.0),
    ]
    for literal, value in expected:
        assert parse(literal) == parse_exact(literal) == value


@pytest.mark.parametrize("text", ["1.2.3", "1.5e5e5000000000000", "0x1.000000000000000p0"])
def test_what_is_no_number_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a number|could not convert"):
        decimal_number(text)
