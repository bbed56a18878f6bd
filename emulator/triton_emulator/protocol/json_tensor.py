"""Reads the elements of a tensor from JSON: nested lists are flattened, integers wrap, floats narrow, as in Triton."""

from array import array
from collections.abc import Callable, Iterator

import numpy as np

from triton_emulator.cxx.numbers import INT64_MAX, to_uint64
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.datatypes import DATATYPES, Array, Datatype
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.json_access import unable
from triton_emulator.protocol.personality import NO_LIMIT, Personality

_READERS: dict[str, Callable[[js.Value], object]] = {
    "bool": js.as_bool,
    "int": js.as_int,
    "uint": js.as_uint,
    "double": js.as_double,
    "string": js.as_string,
}

#: per reader: the Python types that need no check of each element, and the wide numpy type for them
_PLAIN: dict[str, tuple[frozenset[type], type]] = {
    "bool": (frozenset({bool}), np.bool_),
    "int": (frozenset({int}), np.int64),
    "uint": (frozenset({int}), np.uint64),
    "double": (frozenset({int, float}), np.float64),
}


def elements(
    name: str,
    datatype: str,
    values: list[js.Value],
    count: int,
    rules: Personality,
    limit: int = NO_LIMIT,
) -> Array:
    """A flat array of the datatype's numpy type with `count` elements (for BYTES: as many as there are).

    Raises TritonError with Triton's text where the elements are too many, too few, of a wrong type, of a datatype that
    cannot travel as JSON, or more than `limit` bytes. `name` is the input's, for those texts.
    """
    row = DATATYPES.get(datatype)
    if row is None:
        raise invalid_arg(f"invalid datatype for input {name}")
    if row.size * count > limit:
        check_size(name, row, count, rules)
    if row.json == "":
        raise invalid_arg(
            f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input {name}"
        )
    if row.json == "string":
        return _limited_strings(name, values, rules, limit)
    plain, wide = _PLAIN[row.json]
    if len(values) == count and plain.issuperset(map(type, values)):
        if row.name == "FP32":
            # narrows as C does, without a warning about infinity, and takes half the time of numpy's two steps
            return np.frombuffer(array("f", values), dtype=row.numpy)  # type: ignore[type-var]
        try:
            return _narrow(np.array(values, dtype=wide), row)
        except OverflowError:
            pass  # an integer that the element reader refuses, or a double spelled as a long integer
    return _narrow(np.array(_read(row, values, count, rules), dtype=wide), row)


def check_size(name: str, row: Datatype, count: int, rules: Personality) -> None:
    """Raise INVALID_ARG where the version refuses an input of `count` elements: it has too many bytes.

    A negative count is one of 64 bits without a sign, as it is in Triton.
    """
    if rules.checks_shapes and count > INT64_MAX // row.size:
        raise invalid_arg(
            f"byte size overflow for input '{name}': element count ({count}) * data type size ({row.size}) "
            f"exceeds maximum allowed size ({INT64_MAX})"
        )
    if rules.http_max_input_size < NO_LIMIT:
        raise _too_large(name, to_uint64(count * row.size), rules.http_max_input_size)


def _too_large(name: str, size: int, limit: int) -> TritonError:
    return invalid_arg(
        f"JSON input '{name}' has a byte_size ({size} bytes) that exceeds the maximum allowed value of {limit} bytes. "
        "Use --http-max-input-size to increase the limit."
    )


def _limited_strings(name: str, values: list[js.Value], rules: Personality, limit: int) -> Array:
    """`strings`; raises where the version refuses so many bytes, or none."""
    found = strings(values, rules)
    if not found.size:
        if rules.no_strings:
            raise internal(rules.no_strings)
    elif limit < NO_LIMIT and (size := encoded_size(found)) > limit:
        raise _too_large(name, size, limit)
    return found


def encoded_size(strings: Array) -> int:
    """The bytes of a flat BYTES array, each element with its length before it."""
    return sum(map(len, strings)) + 4 * strings.size


_STRINGS = frozenset({str})


def strings(values: list[js.Value], rules: Personality) -> Array:
    """The elements of a BYTES tensor as an object array of `bytes`."""
    try:
        leaves = values if _STRINGS.issuperset(map(type, values)) else flatten(values, rules)
        found = [js.raw_bytes(js.as_string(value)) for value in leaves]
    except js.JSONTypeError as fault:
        # 2.51 sizes the strings before it reads them, under a name of its own
        raise internal(f"Unable to parse JSON bytes array: {fault}") from None
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return array


def flatten(values: list[js.Value], rules: Personality) -> Iterator[js.Value]:
    """The leaves of nested lists in document order. Raises INVALID_ARG at the first that the version finds too deep."""
    deepest = rules.json_nesting_limit
    stack = [iter(values)]
    while stack:
        for value in stack[-1]:
            if len(stack) >= deepest:
                raise invalid_arg(f"JSON nesting depth exceeds maximum allowed limit ({deepest})")
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def _narrow(wide: Array, row: Datatype) -> Array:
    if wide.dtype == row.numpy:
        return wide
    with np.errstate(over="ignore"):  # 2.51: an FP32 beyond the range becomes infinity
        return wide.astype(row.numpy)


def _read(row: Datatype, values: list[js.Value], count: int, rules: Personality) -> list[object]:
    read_as = _READERS[row.json]
    found: list[object] = []
    try:
        for value in flatten(values, rules):
            if len(found) >= count:
                raise internal("Shape does not match true shape of 'data' field")
            found.append(read_as(value))
    except js.JSONTypeError as fault:
        raise unable("data", fault) from None
    except TritonError as fault:
        raise TritonError(fault.code, f"Unable to parse 'data': {fault.message}") from None
    if len(found) != count:
        raise internal(rules.too_few_elements)
    return found
