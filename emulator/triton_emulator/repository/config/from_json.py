"""Reads a model's configuration from the JSON of a load request, by the rules of protobuf's C++ library.

Python's `json_format` has other rules. It refuses, and 2.51 accepts: a value where a list is wanted, lists in such a
list, "true" and "1" for a boolean, null in a list or a map. It accepts, and 2.51 refuses: "1.0" for an integer, true
for a float, the number of an unknown enum value written as text.
"""

import math
import re
import struct
from typing import Any

from triton_emulator.cxx.protobuf_json import Pairs, parse
from triton_emulator.repository.schema import Proto, new_config

_INTEGER = re.compile(r"[+-]?[0-9]+")
_ENUM_NAME = re.compile(r"[A-Za-z0-9_-]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0"), False
)
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def parse_json_config(text: str, unknown: frozenset[str] = frozenset()) -> Proto:
    """A config given as JSON. Raises ValueError for a text that is no JSON, and for an unknown field or value.

    `unknown` are the fields that the emulated version does not have.
    """
    config = new_config(unknown)
    fill_config(config, text)
    return config


def fill_config(config: Proto, text: str) -> None:
    """Read a JSON text into an empty config, which is of the schema of its version. Raises as `parse_json_config`."""
    value = parse(text)
    if not isinstance(value, Pairs):
        raise ValueError(": Root element must be a message.")
    _fill(config, value)


def _fill(message: Proto, pairs: Pairs) -> None:
    known = message.DESCRIPTOR.fields
    fields = {each.json_name: each for each in known} | {each.name: each for each in known}
    taken: set[str] = set()
    for name, value in pairs:
        field = fields.get(name)
        if field is None:
            raise ValueError(f"{name}: Cannot find field.")
        if value is None:
            continue
        if (oneof := field.containing_oneof) is not None:
            if oneof.name in taken:
                raise ValueError(f"oneof field '{oneof.name}' is already set. Cannot set '{name}'")
            taken.add(oneof.name)
        target = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(target, field, value)
        elif field.is_repeated:
            _append(target, field, value)
        elif field.message_type is None:
            setattr(message, field.name, _scalar(field, value))
        else:
            target.SetInParent()
            _fill(target, _object(field, value))


def _fill_map(target: Any, field: Any, value: Any) -> None:
    key_field, value_field = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    seen = set()
    for name, item in _object(field, value):
        key = _scalar(key_field, name)
        if name in seen:
            raise ValueError(f"Repeated map key: '{name}' is already set.")
        seen.add(name)
        if value_field.message_type is not None:
            entry = target[key]
            entry.Clear()
            _fill(entry, Pairs() if item is None else _object(value_field, item))
        else:
            target[key] = value_field.default_value if item is None else _scalar(value_field, item)


def _append(target: Any, field: Any, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, list) and not isinstance(value, Pairs):
        for item in value:
            _append(target, field, item)
    elif field.message_type is not None:
        _fill(target.add(), _object(field, value))
    else:
        target.append(_scalar(field, value))


def _object(field: Any, value: Any) -> Pairs:
    if not isinstance(value, Pairs):
        raise ValueError(f"{field.name}: an object expected, got {value!r}")
    return value


def _scalar(field: Any, value: Any) -> Any:
    if isinstance(value, list):
        raise ValueError(f"{field.name}: one value expected")
    if field.enum_type is not None:
        return _enum(field, value)
    if field.cpp_type == field.CPPTYPE_STRING:
        if not isinstance(value, str):
            raise ValueError(f"{field.name}: a string expected, got {value!r}")
        return value
    if field.cpp_type == field.CPPTYPE_BOOL:
        return _boolean(field, value)
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return _float(field, value)
    return _integer(field, value)


def _boolean(field: Any, value: Any) -> bool:
    flag = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise ValueError(f"{field.name}: no boolean: {value!r}")
    return flag


def _float(field: Any, value: Any) -> float:
    if value in _FLOATS:
        return _FLOATS[value]
    if isinstance(value, bool) or (isinstance(value, str) and not _DECIMAL.fullmatch(value)):
        raise ValueError(f"{field.name}: no number: {value!r}")
    try:
        number = float(value)
        struct.pack("<f" if field.cpp_type == field.CPPTYPE_FLOAT else "<d", number)
        if math.isinf(number):
            raise OverflowError
    except OverflowError:
        raise ValueError(f"{field.name}: out of range: {value!r}") from None
    return number


def _integer(field: Any, value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        if value[0] == "-" and field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
            raise ValueError(f"{field.name}: not negative: {value!r}")  # "-0" neither
        return int(value)
    if isinstance(value, bool | str) or value != int(value):
        raise ValueError(f"{field.name}: no integer: {value!r}")
    return int(value)


def _enum(field: Any, value: Any) -> int:
    values = field.enum_type.values_by_name
    if not isinstance(value, str):
        return _integer(field, value)
    name = value.upper().replace("-", "_")
    if _ENUM_NAME.fullmatch(value) and name in values:
        return int(values[name].number)
    number = _integer(field, value)
    if number not in field.enum_type.values_by_number:
        raise ValueError(f"{field.name}: no such value: {value!r}")
    return number
