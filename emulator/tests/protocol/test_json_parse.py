"""Parsed JSON: values, order, repeated names, strings that are not UTF-8, and accepted texts that are not JSON."""

from collections.abc import Callable

import pytest

from triton_emulator.protocol.json_dialect import DuplicateKeys, Value, members, parse, raw_bytes
from triton_emulator.protocol.json_dialect.exact_parser import MAX_DEPTH, parse_exact

Parser = Callable[[bytes], Value]
both_parsers = pytest.mark.parametrize("read", [parse, parse_exact], ids=["parse", "exact parser"])


@both_parsers
@pytest.mark.parametrize(
    "body, value",
    [
        (b"null", None),
        (b"true", True),
        (b"false", False),
        (b"7", 7),
        (b'""', ""),
        (b"[]", []),
        (b"{}", {}),
        (b"[ ]", []),
        (b"{\t\n\r }", {}),
        (b" \t\n\r[ 1 ,\t2\n,\r3 ] \t\n\r", [1, 2, 3]),
        (b'\n{ "a" : { "b" : [ null , [ ] ] } , "" : false }', {"a": {"b": [None, []]}, "": False}),
        (b"[[],{},[[]],[{}]]", [[], {}, [[]], [{}]]),
        (
            b'{"text_input":"hello","max_tokens":16,"stream":false}',
            {"text_input": "hello", "max_tokens": 16, "stream": False},
        ),
    ],
)
def test_json_becomes_python_values(read: Parser, body: bytes, value: Value) -> None:
    assert read(body) == value


@both_parsers
def test_members_stay_in_document_order(read: Parser) -> None:
    document = read(b'{"z":1,"a":2,"m":3}')
    assert list(members(document)) == [("z", 1), ("a", 2), ("m", 3)]


@both_parsers
def test_a_repeated_name_finds_the_first_and_shows_all(read: Parser) -> None:
    document = read(b'{"a":1,"b":2,"a":{"c":3,"c":4},"\\u0061":5}')
    assert isinstance(document, DuplicateKeys)
    assert (document["a"], document["b"], list(document)) == (1, 2, ["a", "b"])
    assert (
        repr(list(members(document)))
        == "[('a', 1), ('b', 2), ('a', DuplicateKeys([('c', 3), ('c', 4)])), ('a', 5)]"
    )


@both_parsers
@pytest.mark.parametrize(
    "body, raw",
    [
        (rb'"\"\\\/\b\f\n\r\t"', b'"\\/\b\f\n\r\t'),
        (rb'"\u0000"', b"\0"),
        (rb'"a\u0000b"', b"a\0b"),
        (rb'"\u00e9\u20AC\uFFFF"', b"\xc3\xa9\xe2\x82\xac\xef\xbf\xbf"),
        (rb'"\ud83d\ude00\uDBFF\uDFFF"', b"\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"),
        (b'"\x7f/\xc3\xa9\xf0\x9f\x98\x80"', b"\x7f/\xc3\xa9\xf0\x9f\x98\x80"),
        (b'"\xff\xfe"', b"\xff\xfe"),
        (b'"a\xc3"', b"a\xc3"),
        (b'"\xed\xb0\x80"', b"\xed\xb0\x80"),
        (b'"\xc0\x80"', b"\xc0\x80"),
        (rb'"\udc00"', b"\xed\xb0\x80"),
        (rb'"\ud83d\ude00\ude00"', b"\xf0\x9f\x98\x80\xed\xb8\x80"),
        (rb'"\\ud83d\ude00"', b"\\ud83d\xed\xb8\x80"),
        (rb'"\\ud83d"', b"\\ud83d"),
        (rb'"\\\ud83d\ude00"', b"\\\xf0\x9f\x98\x80"),
        (b'"\xff\\n\\ud83d\\ude00\\u00e9\\udfff"', b"\xff\n\xf0\x9f\x98\x80\xc3\xa9\xed\xbf\xbf"),
    ],
)
def test_a_string_has_the_bytes_that_the_server_gives_its_model(
    read: Parser, body: bytes, raw: bytes
) -> None:
    text = read(body)
    assert isinstance(text, str)
    assert raw_bytes(text) == raw
    assert read(b"{" + body + b":1}") == {text: 1}


@both_parsers
@pytest.mark.parametrize(
    "mark", [b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xef\xbb", b"\xbb\xbf", b"\xef\xbf"]
)
def test_any_part_of_a_byte_order_mark_is_skipped(read: Parser, mark: bytes) -> None:
    assert read(mark + b' {"a":1}') == {"a": 1}


@both_parsers
@pytest.mark.parametrize("body", [b"{}\0", b"{}\0garbage", b"{} \n\0{}", b"{}\0\xff"])
def test_a_nul_byte_ends_the_document(read: Parser, body: bytes) -> None:
    assert read(body) == {}


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_is_accepted(wrap: Callable[[bytes], bytes]) -> None:
    assert parse(wrap(b'{"a":[1,2.5,"\xff"]}')) == {"a": [1, 2.5, "\udcff"]}
    assert parse(wrap(b'{"a":[1,2.5]}')) == {"a": [1, 2.5]}


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_deep_nesting_is_read_without_recursion(opening: bytes, closing: bytes) -> None:
    containers = opening.count(b"[") + opening.count(b"{")
    levels = MAX_DEPTH // containers
    value = parse(opening * levels + b"1" + closing * levels)
    for _ in range(levels * containers):
        assert isinstance(value, (list, dict))
        assert len(value) == 1
        value = value[0] if isinstance(value, list) else value["a"]
    assert value == 1


def test_the_iterative_parser_reads_a_document_of_any_depth() -> None:
    depth = MAX_DEPTH + 50_000
    value = parse(b"[" * depth + b"]" * depth, iterative=True)
    levels = 0
    while isinstance(value, list):
        levels, value = levels + 1, value[0] if value else None
    assert levels == depth
