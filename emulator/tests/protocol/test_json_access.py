"""Reading a JSON value as a type: the errors have the words of tritonserver 2.51.0."""

from collections.abc import Callable

import pytest

from triton_emulator.protocol.json_dialect import (
    JSONTypeError,
    Value,
    as_array,
    as_bool,
    as_double,
    as_int,
    as_object,
    as_string,
    as_uint,
    member,
    members,
    parse,
)

EVERY_KIND = [
    b"null",
    b"true",
    b'"1"',
    b"1",
    b"-1",
    b"4.0",
    b"1e1",
    b"9223372036854775808",
    b"18446744073709551616",
    b"[]",
    b"{}",
]

ACCESSORS: list[tuple[Callable[[Value], object], str, set[bytes]]] = [
    (as_string, "attempt to access JSON non-string as string", {b'"1"'}),
    (as_bool, "attempt to access JSON non-boolean as boolean", {b"true"}),
    (as_int, "attempt to access JSON non-signed-integer as signed-integer", {b"1", b"-1"}),
    (
        as_uint,
        "attempt to access JSON non-unsigned-integer as unsigned-integer",
        {b"1", b"9223372036854775808"},
    ),
    (
        as_double,
        "attempt to access JSON non-number as double",
        {b"1", b"-1", b"4.0", b"1e1", b"9223372036854775808", b"18446744073709551616"},
    ),
    (as_array, "attempt to access JSON non-array as array", {b"[]"}),
    (as_object, "attempt to access JSON non-object as object", {b"{}"}),
]


@pytest.mark.parametrize(
    "access, words, taken", ACCESSORS, ids=[access.__name__ for access, _, _ in ACCESSORS]
)
@pytest.mark.parametrize("body", EVERY_KIND)
def test_a_value_is_taken_as_its_own_kind_and_refused_as_any_other(
    access: Callable[[Value], object], words: str, taken: set[bytes], body: bytes
) -> None:
    value = parse(body)
    if body in taken:
        assert access(value) == value
    else:
        with pytest.raises(JSONTypeError) as refusal:
            access(value)
        assert str(refusal.value) == words


def test_a_whole_number_taken_as_double_is_a_float() -> None:
    assert (type(as_double(3)), as_double(2**64 - 1)) == (float, 2.0**64)


@pytest.mark.parametrize("body", [b"{}", b'{"id":1}', b"[]", b"5", b'"inputs"', b"null"])
def test_a_member_that_is_not_there_is_named(body: bytes) -> None:
    with pytest.raises(JSONTypeError) as refusal:
        member(parse(body), "inputs")
    assert str(refusal.value) == "attempt to access non-existing object member 'inputs'"


def test_a_member_is_the_first_of_its_name_and_may_be_null() -> None:
    assert member(parse(b'{"a":1,"a":2}'), "a") == 1
    assert member({"a": None}, "a") is None


@pytest.mark.parametrize("body", [b"[]", b"5", b"null"])
def test_only_an_object_has_members(body: bytes) -> None:
    with pytest.raises(JSONTypeError) as refusal:
        members(parse(body))
    assert str(refusal.value) == "attempt to get members for non-object"
