"""Reads the elements of a tensor from JSON: nested lists are flattened, integers wrap, floats narrow, as in Triton."""

from array import array
from collections.abc import Callable, Iterator

import numpy as np

from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.datatypes import DATATYPES, Array, Datatype
from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.protocol.json_access import unable

_MISMATCH = internal("Unable to parse 'data': Shape does not match true shape of 'data' field").message

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


def elements(name: str, datatype: str, values: list[js.Value], count: int) -> Array:
    """A flat array of the datatype's numpy type with `count` elements (for BYTES: as many as there are).

    Raises TritonError with Triton's text where the elements are too many, too few, of a wrong type, or of a datatype
    that cannot travel as JSON. `name` is the input's, for those texts.
    """
    row = DATATYPES.get(datatype)
    if row is None:
        raise invalid_arg(f"invalid datatype for input {name}")
    if row.json == "":
        raise invalid_arg(
            f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input {name}"
        )
    if row.json == "string":
        return strings(values)
    plain, wide = _PLAIN[row.json]
    if len(values) == count and plain.issuperset(map(type, values)):
        if row.name == "FP32":
            # narrows as C does, without a warning about infinity, and takes half the time of numpy's two steps
            return np.frombuffer(array("f", values), dtype=row.numpy)  # type: ignore[type-var]
        try:
            return _narrow(np.array(values, dtype=wide), row)
        except OverflowError:
            pass  # an integer that the element reader refuses, or a double spelled as a long integer
    return _narrow(np.array(_read(row, values, count), dtype=wide), row)


_STRINGS = frozenset({str})


def strings(values: list[js.Value]) -> Array:
    """The elements of a BYTES tensor as an object array of `bytes`."""
    try:
        leaves = values if _STRINGS.issuperset(map(type, values)) else flatten(values)
        found = [js.raw_bytes(js.as_string(value)) for value in leaves]
    except js.JSONTypeError as fault:
        # 2.51 sizes the strings before it reads them, under a name of its own
        raise internal(f"Unable to parse JSON bytes array: {fault}") from None
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return array


def flatten(values: list[js.Value]) -> Iterator[js.Value]:
    """The leaves of nested lists in document order, whatever the depth."""
    stack = [iter(values)]
    while stack:
        for value in stack[-1]:
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


def _read(row: Datatype, values: list[js.Value], count: int) -> list[object]:
    read_as = _READERS[row.json]
    found: list[object] = []
    try:
        for value in flatten(values):
            if len(found) >= count:
                raise internal(_MISMATCH)
            found.append(read_as(value))
    except js.JSONTypeError as fault:
        raise unable("data", fault) from None
    if len(found) != count:
        raise internal(_MISMATCH)
    return found
