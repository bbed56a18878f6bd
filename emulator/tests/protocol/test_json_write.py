"""JSON as the server writes it: doubles, strings, arrays and documents, byte for byte.

The doubles and the strings went through identity models of tritonserver 2.51.0 as binary tensors and came back as JSON.
"""

import math
from typing import Any

import numpy as np
import pytest

from triton_emulator.protocol.json_dialect import (
    format_double,
    parse,
    write,
    write_array,
    write_string,
    write_strings,
)

# fmt: off
FP64 = [
    (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (-1.0, "-1.0"), (0.1, "0.1"), (0.2, "0.2"), (0.3, "0.3"),
    (0.30000000000000004, "0.30000000000000007"), (0.3333333333333333, "0.3333333333333333"),
    (0.6666666666666666, "0.6666666666666666"), (1e-05, "0.00001"), (1e-06, "0.000001"),
    (1.5e-06, "0.0000015"), (1e-07, "1e-7"), (1.5e-07, "1.5e-7"), (123456.789, "123456.789"),
    (1000000000000000.0, "1000000000000000.0"), (1e+16, "10000000000000000.0"),
    (1e+20, "100000000000000000000.0"), (1.5e+20, "150000000000000000000.0"),
    (1.2345678901234568e+20, "123456789012345680000.0"), (1e+21, "1e21"), (1.5e+21, "1.5e21"),
    (1e+22, "1e22"), (1e+23, "9.999999999999999e22"), (-1e+100, "-1e100"),
    (1.7976931348623157e+308, "1.7976931348623157e308"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"), (5e-324, "5e-324"), (1.5e-323, "1.5e-323"),
    (9007199254740992.0, "9007199254740992.0"), (9007199254740994.0, "9007199254740994.0"),
    (9.223372036854776e+18, "9223372036854776000.0"), (1.8446744073709552e+19, "18446744073709553000.0"),
    (9007199254740991.0, "9007199254740991.0"), (4503599627370495.5, "4503599627370495.7"),
    (3.141592653589793, "3.141592653589793"), (2.718281828459045, "2.718281828459045"),
    (0.9999999999999999, "0.9999999999999999"), (1.0000000000000002, "1.0000000000000003"),
    (5e-05, "0.00005"), (100.0, "100.0"), (1000.0, "1000.0"), (12345678.9, "12345678.9"),
    (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (1e-320, "1e-320"),
    (9.5e-05, "0.000095"), (0.7, "0.7"), (0.05, "0.05"), (10000000000.0, "10000000000.0"),
]
FP32 = [
    (0.1, "0.10000000149011612"), (0.2, "0.20000000298023225"), (0.3, "0.30000001192092898"),
    (1e+20, "100000002004087730000.0"), (1e-05, "0.000009999999747378752"),
    (3.4028235e+38, "3.4028234663852887e38"), (1e-45, "1.401298464324817e-45"), (16777216.0, "16777216.0"),
    (0.5, "0.5"), (-2.5, "-2.5"), (0.33333334, "0.3333333432674408"), (65504.0, "65504.0"),
    (math.nan, "NaN"), (-math.inf, "-Infinity"),
]
# fmt: on


@pytest.mark.parametrize("value, text", FP64)
def test_a_double_is_written_with_the_servers_digits(value: float, text: str) -> None:
    for _ in ("worked out", "remembered"):
        assert format_double(value) == text
    assert write([value]) == f"[{text}]".encode()


def test_an_array_of_doubles_is_written_as_its_elements() -> None:
    array = np.array([value for value, _ in FP64])
    assert write_array(array).decode() == f"[{','.join(text for _, text in FP64)}]"


def test_single_floats_are_written_as_the_doubles_that_they_equal() -> None:
    array = np.array([value for value, _ in FP32], dtype=np.float32)
    assert write_array(array).decode() == f"[{','.join(text for _, text in FP32)}]"


def test_zero_keeps_its_sign_whichever_came_first() -> None:
    assert write_array(np.array([0.0, -0.0, 0.0, -0.0])) == b"[0.0,-0.0,0.0,-0.0]"


@pytest.mark.parametrize(
    "array, text",
    [
        (np.array([True, False]), b"[true,false]"),
        (np.array([-128, 127], dtype=np.int8), b"[-128,127]"),
        (np.array([255, 0], dtype=np.uint8), b"[255,0]"),
        (np.array([-32768], dtype=np.int16), b"[-32768]"),
        (np.array([65535], dtype=np.uint16), b"[65535]"),
        (np.array([-2147483648, 1], dtype=np.int32), b"[-2147483648,1]"),
        (np.array([4294967295], dtype=np.uint32), b"[4294967295]"),
        (np.array([-(2**63), 2**63 - 1]), b"[-9223372036854775808,9223372036854775807]"),
        (np.array([2**64 - 1], dtype=np.uint64), b"[18446744073709551615]"),
        (np.array([0.1], dtype=np.float16), b"[0.0999755859375]"),
        (np.array([], dtype=np.float32), b"[]"),
        (np.array([], dtype=np.int32), b"[]"),
        (np.array([[1, 2], [3, 4]]), b"[1,2,3,4]"),
        (np.array([[1, 2], [3, 4]]).T, b"[1,3,2,4]"),
        (np.array([[1.5, 2.5], [3.5, 4.5]])[:, ::-1], b"[2.5,1.5,4.5,3.5]"),
        (np.array(7), b"[7]"),
        (np.array([1, 256], dtype=">i4"), b"[1,256]"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else f"{value.dtype.str} {value.shape}",
)
def test_an_array_is_written_flat_in_c_order(array: np.ndarray[Any, Any], text: bytes) -> None:
    assert write_array(array) == text


@pytest.mark.parametrize("array", [np.array([b"a"], dtype=object), np.array([1j]), np.array(["a"])])
def test_an_array_of_anything_else_has_no_json_form(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(TypeError, match="JSON has no form for elements of type"):
        write_array(array)


def test_only_what_must_be_escaped_is_escaped() -> None:
    escaped = {0x22: b'\\"', 0x5C: b"\\\\", 8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}
    escaped |= {code: b"\\u00%02X" % code for code in range(0x20) if code not in escaped}
    for code in range(256):
        assert write_string(bytes([code])) == b'"' + escaped.get(code, bytes([code])) + b'"'
    assert write_string("\x1f\x0b") == b'"\\u001F\\u000B"'


@pytest.mark.parametrize(
    "text, written",
    [
        ("", b'""'),
        ("/\x7f", b'"/\x7f"'),
        ("é😀", b'"\xc3\xa9\xf0\x9f\x98\x80"'),
        (b"\xff\n\xfe", b'"\xff\\n\xfe"'),
        ("\udcff", b'"\xff"'),
        ("a\\nb", b'"a\\\\nb"'),
    ],
)
def test_a_string_is_written_as_its_bytes(text: str | bytes, written: bytes) -> None:
    assert write_string(text) == written


def test_a_bytes_tensor_is_written_as_an_array_of_strings() -> None:
    assert write_strings([]) == b"[]"
    assert write_strings([b"", b'say "hi"', b"\xff\0"]) == b'["","say \\"hi\\"","\xff\\u0000"]'


@pytest.mark.parametrize(
    "value, written",
    [
        (None, b"null"),
        (True, b"true"),
        (False, b"false"),
        (0, b"0"),
        (-(2**63), b"-9223372036854775808"),
        (2**64 - 1, b"18446744073709551615"),
        (1.0, b"1.0"),
        (np.float64(0.5), b"0.5"),
        ([], b"[]"),
        ((), b"[]"),
        ({}, b"{}"),
        ([[], {}, [[]], ({},)], b"[[],{},[[]],[{}]]"),
        (
            {"name": "m", "versions": ("1",), "n": {"a": [1, None]}},
            b'{"name":"m","versions":["1"],"n":{"a":[1,null]}}',
        ),
        ({"data": b"[1,2]", "x": [b"1", b""]}, b'{"data":[1,2],"x":[1,]}'),
        ({'a"\n': 1}, b'{"a\\"\\n":1}'),
    ],
)
def test_a_document_is_written_compactly_in_its_own_order(value: object, written: bytes) -> None:
    assert write(value) == written


def test_repeated_names_are_written_as_they_were_read() -> None:
    body = b'{"a":1,"b":{"c":[],"c":{}},"a":2}'
    assert write(parse(body)) == body


def test_a_deep_value_is_written_without_recursion() -> None:
    body = b"[" * 50_000 + b"{}" + b"]" * 50_000
    assert write(parse(body)) == body


@pytest.mark.parametrize("value", [object(), {1, 2}, [1j], {"a": bytearray(b"x")}])
def test_what_json_has_no_form_for_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="JSON has no form for"):
        write(value)
