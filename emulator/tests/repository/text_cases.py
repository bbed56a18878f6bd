"""Odd texts of a `config.pbtxt`. A real server's answers to them are in `recorded/texts.json` (`record_texts.py`).

Each text is what follows after one of the lines below in the config of a model `m`. An ensemble loads fast; a model of
the Python backend may have a sequence batcher, which has the only fields of floats.
"""

from dataclasses import dataclass

_INPUT = b'input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } '
_TENSORS = _INPUT + b'output { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } '
MEMBER = b'backend: "python" ' + _TENSORS
_ENSEMBLE = (
    b'platform: "ensemble" '
    + _TENSORS
    + b'ensemble_scheduling { step { model_name: "good" model_version: -1 '
    b'input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" } } }\n'
)
_PYTHON = b'backend: "python" max_batch_size: 2 ' + _TENSORS + b"\n"


@dataclass(frozen=True)
class TextCase:
    """A text, and the line before it. `name` is the text itself, as Python writes its bytes."""

    text: bytes
    before: bytes = _ENSEMBLE

    @property
    def name(self) -> str:
        return repr(self.text)[2:-1]

    @property
    def config(self) -> bytes:
        return self.before + self.text


_STRINGS = [
    rb'""', rb"''", rb'"a" "b"', rb"""'a'"b" 'c'""", b'"a"\n# c\n"b"', rb'"\q"', rb'"\?"', rb'"\a\b\f\n\r\t\v\\\'\""',
    rb'"\1"', rb'"\12"', rb'"\123"', rb'"\1234"', rb'"\303\251"', rb'"\501"', rb'"\8"', rb'"\x"', rb'"\x4"',
    rb'"\x41"', rb'"\x414"', rb'"\xg"', rb'"\X41"', rb'"\xc3\xa9"', rb'"\u0041"', rb'"\u00e9"', rb'"\u41"',
    rb'"\u12G4"', rb'"\ud83d\ude00"', rb'"\ud83d"', rb'"\ude00"', rb'"\ud83dx"', rb'"\ud83d\u0041"', rb'"\U0001F600"',
    rb'"\U0001f60"', rb'"\U00110000"', rb'"\U001fffff"', rb'"\U00200000"', rb'"\Uffffffff"', rb'"\U0000d83d\ude00"',
    b'"caf\xe9"', b'"caf\xe9 au lait"', b'"\xc3\xa9\xff\xfe"', b'"\xe2\x82"', b'"\xf0\x9f\x98 "', b'"\xed\xa0\x80"',
    b'"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"', b'"\xef\xbb\xbf"', b'"\x01"', b'"\t"', b'"\x7f"', b'"\r"', b'"a\x00b"',
    b'"a\nb"', b'"a', b"'a", b'"a\\', b'"a\\\n"', rb'"\0"', rb'"<>&\u2028\u00ad"', rb"'\"'", rb'"#"', b"a", b"1",
    b"`a`",
]  # fmt: skip
_INTEGERS = [
    b"4", b"+4", b"-1", b"- 1", b"-# c\n1", b"--1", b"0", b"-0", b"00", b"007", b"08", b"09.5", b"0x1F", b"0X1f",
    b"-0x1", b"0x", b"0xg", b"0x1.", b"07.", b"4.0", b"4.", b".4", b"4e0", b"1e", b"1e+", b"1f", b"4 5", b"4a",
    b"4_0", b"4L", b"0b1", b"1.2.3", b"1e5.5", b"2147483647", b"2147483648", b"-2147483648", b"-2147483649",
    b"0x7fffffff", b"017777777777", b"020000000000", b"99999999999999999999999", b'"4"', b"'4'", b"true", b"inf",
    b"[4]", b"[]", b"{}", b"", b"\xc2\xa04", b"4\xc2\xa0", b"$", b"(4)", b"\xd9\xa4",
]  # fmt: skip
_LONG_INTEGERS = [
    b"[]", b"1", b"[1]", b"[1,2]", b"[1 2]", b"[1,]", b"[,1]", b"[1;2]", b"[[1]]", b"[1", b"1 versions: 2",
    b"1, versions: [2], versions: 3", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809", b"0x7FFFFFFFFFFFFFFF", b"0777777777777777777777", b"01000000000000000000000",
    b"18446744073709551616", b"[0]", b"[0, 0]", b"[7, 1, 7]",
]  # fmt: skip
_UNSIGNED = [
    b"0", b"-0", b"-1", b"4294967295", b"4294967296", b"18446744073709551615", b"18446744073709551616",
    b"0xFFFFFFFFFFFFFFFF", b"0x10000000000000000", b"01777777777777777777777", b"02000000000000000000000", b"1.0",
]  # fmt: skip
_FLOATS = [
    b"1, -1, 0, -0, 0.5, -.5", b"1., 1e3, 1E-3, 1.5f, 2F, 1e+2f", b"inf, -inf, INF, nan, -nan, NaN",
    b"infinity, -Infinity, iNf, 1e39, -1e39, 1e999",
    b"3.4028235e38, 3.4028235677973366e38, 3.40282357e38, 1e-46, 0.1, 16777217",
    b"18446744073709551615, 18446744073709551616, 99999999999999999999999, 0.0, 00.5, 1e-400",
]  # fmt: skip
_NO_FLOATS = [
    b"0x10", b"010", b"08", b"+1", b"1e", b"1e-", b"-nope", b"inff", b'"1"', b"1.5.2", b"1.5x", b".", b"-",
    b"- # c\n 1", b"a.5", b"{}", b"1ff", b"INFINITE",
]  # fmt: skip
_BOOLEANS = [
    b"true", b"True", b"t", b"false", b"False", b"f", b"TRUE", b"yes", b"0", b"1", b"01", b"0x1", b"2", b"-1", b"1.0",
    b'"true"', b"", b"true false",
]  # fmt: skip
_ENUMS = [
    b"PRIORITY_MAX", b"priority_max", b"PRIORITY_NOPE", b"1", b"0x2", b"02", b"3", b"-1", b"2147483647",
    b"2147483648", b"-2147483649", b'"PRIORITY_MAX"', b"1.0", b"+1", b"<>", b"- 1",
]  # fmt: skip
_TEXTS = [
    b"foo: 1", b"foo", b"Name: 1", b"name", b"name:", b":", b"{", b"}", b">", b"[", b"]", b"1: 2", b"-",
    b'"name": "m"', b'name: "m"', b'name: "m";', b'name: "m",', b'name: "m";;', b'name: "m",;', b';name: "m"',
    b'name "m"', b'name = "m"', b'name: "" name: "m"', b'name: "m" name: ""', b'name: "m" name: "m"', b'name: "\xff"',
    b"name: m", b"name: {}", b"max_batch_size: 0 max_batch_size: 0 max_batch_size: 0x0",
    b"max_batch_size:-# c\n\t -1", b"optimization {} optimization {}", b"optimization: {}", b"optimization: <>",
    b"optimization <}", b"optimization {>", b"optimization [{}]", b"optimization: [{}]", b"optimization",
    b"optimization {", b"optimization: 1", b"optimization { graph { level: 1 } graph: <> }",
    b"version_policy { all {} latest {} }", b"version_policy { all {} all {} }",
    b"version_policy { latest {} } version_policy {}", b"dynamic_batching {}", b"input: [ ]", b"input: [ {} ]",
    b"input: [ {}, <> ]", b"input: [ {}, ]", b"input [{} {}]", b"input [ 1 ]", b"input {}", b"parameters { }",
    b'parameters { key: "a" }', b'parameters { value { string_value: "x" } }', b'parameters { key: "" key: "a" }',
    b'parameters { key: "a" key: "a" }', b"parameters { value {} value {} }", b'metric_tags { value: "" value: "b" }',
    b'parameters { key: "a", value: < string_value: "1" >; }',
    b'parameters [ { key: "a" value { string_value: "1" } }, { key: "a" value { string_value: "2" } } ]',
    b'parameters { key: "a" value { string_value: "1" } } parameters { key: "a" }',
    b'parameters { key: "a" Value {} }', b'parameters: { "a": "b" }',
    b'parameters { key: "\xff" value { string_value: "x" } }', b"[a.b] {}", b"[a.b]: 1", b"[a] ", b"[a.b",
    b"[type.googleapis.com/a.B] { }", b"[1]", b"[a.1]", b"[a . b]", b"[.a]", b"# c", b"#", b"#\xff\xfe\n", b'# "\n',
    b"# \x00 x\n", b"# a\r# b\rfoo: 1", b"// c\n", b"/* c */", b"\xef\xbb\xbf", b"\xc2\xa0", b"\xe2\x80\x8b", b"\x00",
    b"\x01", b"\x1b\x1c \x01", b"\x01\n\x02\nname: 1", b"\x7f", b"\x85", b"\v\f\r\n", b"\t\tfoo: 1", b"a\tfoo\t: 1",
    b"name\n\n:\n\n\t1", b"name# c\n:# c\n1", b'name\xc2\xa0: "m"', "naïve: 1".encode(), b"model_metrics {}",
    b"instance_group [{ count: 1 kind: KIND_CPU }]", b"_name: 1", b"name1: 1", b"a.b: 1", b"a.5: 1", b"a .5: 1",
    b"a{" * 50, b"optimization {\n" * 3, b'name: "m" \\', b"name: @", b"cc_model_filenames { key: 'a' value: 'b' } ,",
    b'input { name: "\\q" dims: 0x dims: 08 data_type: TYPE_NOPE }', b'name: "\\q" max_batch_size: "\\w" foo: 1',
]  # fmt: skip


def _sequence(field: bytes) -> TextCase:
    return TextCase(b"sequence_batching { " + field + b" }", _PYTHON)


def _controls(values: bytes) -> TextCase:
    """Three controls, which have two floats each."""
    pairs = zip(*[iter(values.split(b", "))] * 2, strict=True)
    kinds = (b"START", b"END", b"READY")
    return _sequence(
        b" ".join(
            b'control_input { name: "%b" control { kind: CONTROL_SEQUENCE_%b fp32_false_true: [ %b, %b ] } }'
            % (kind, kind, *pair)
            for kind, pair in zip(kinds, pairs, strict=True)
        )
    )


TEXTS = [
    *(TextCase(b'parameters { key: "k" value { string_value: ' + each + b" } }") for each in _STRINGS),
    *(TextCase(b"max_batch_size: " + each) for each in _INTEGERS),
    *(TextCase(b"version_policy { specific { versions: " + each + b" } }") for each in _LONG_INTEGERS),
    *(TextCase(b'input { name: "Z" data_type: TYPE_FP32 dims: ' + each + b" }") for each in (b"[1, -1]", b"1 dims: 2")),
    *(TextCase(b"optimization { gather_kernel_buffer_threshold: " + each + b" }") for each in _UNSIGNED),
    *(TextCase(b"optimization { eager_batching: " + each + b" }") for each in _BOOLEANS),
    *(TextCase(b"optimization { priority: " + each + b" }") for each in _ENUMS),
    *(TextCase(each) for each in _TEXTS),
    *(_controls(each) for each in _FLOATS),
    *(_sequence(b"direct { minimum_slot_utilization: " + each + b" }") for each in _NO_FLOATS),
    _sequence(b"direct { minimum_slot_utilization: 0 minimum_slot_utilization: 0.0 minimum_slot_utilization: 1.5 }"),
    _sequence(b"direct { minimum_slot_utilization: nan minimum_slot_utilization: 1 }"),
    _sequence(b"direct { minimum_slot_utilization: -0.0 minimum_slot_utilization: 1 }"),
    _sequence(b"direct {} oldest {}"),
]  # fmt: skip
