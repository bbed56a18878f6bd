"""A model's configuration as JSON, printed as Triton prints it at `GET /v2/models/<m>/config`.

Triton prints the protobuf message with every scalar field present, in the order of the schema file, then turns the
64-bit integers, which protobuf prints as strings, back into numbers, except for a few that it forgets.
"""

import math
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from triton_emulator.protocol import json_dialect
from triton_emulator.repository.config.raw_text import as_shown
from triton_emulator.repository.schema import Proto

#: 2.51: these 64-bit fields stay strings (core model_config_utils.cc ModelConfigToJson has no row for them)
_STAY_STRINGS = frozenset(
    {
        "inference.ModelSequenceBatching.InitialState.dims",
        "inference.ModelOptimizationPolicy.Cuda.GraphSpec.Shape.dim",
        "inference.ModelInstanceGroup.SecondaryDevice.device_id",
    }
)

_Convert = Callable[[Any], Any]


def config_json(config: Proto) -> bytes:
    """The body of `GET /v2/models/<m>/config` for a completed `inference.ModelConfig` message."""
    return json_dialect.write(config_dict(config))


def config_dict(config: Proto) -> dict[str, Any]:
    """The same as a Python value; this is also what `pb_utils.ModelConfig.as_dict()` starts from."""
    value: dict[str, Any] = _message(config)
    return value


def _message(message: Proto) -> dict[str, Any]:
    return {
        name: convert(getattr(message, name))
        for name, convert, optional in _fields(message.DESCRIPTOR)
        if not optional or message.HasField(name)
    }


@cache
def _fields(descriptor: Any) -> tuple[tuple[str, _Convert, bool], ...]:
    """(name, converter, whether it is printed only when set) of each field, in the order in which they are printed."""
    # the scalar of a oneof comes after everything else (as `zero_data` of an initial state), a message in its place
    fields = sorted(descriptor.fields, key=lambda field: field.has_presence and field.message_type is None)
    return tuple((field.name, _converter(field), field.has_presence) for field in fields)


def _converter(field: Any) -> _Convert:
    # Triton's own order of a map's entries changes from load to load
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        value = _single(entry.fields_by_name["value"])
        return lambda items: {_key(key): value(items[key]) for key in sorted(items)}
    single = _single(field)
    if field.is_repeated:
        return lambda items: [single(item) for item in items]
    return single


def _single(field: Any) -> _Convert:
    if field.message_type is not None:
        return _message
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return _float
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return _double
    if field.cpp_type == field.CPPTYPE_STRING:
        return as_shown
    if field.full_name in _STAY_STRINGS:
        return str
    return lambda value: value


def _key(key: object) -> str:
    return as_shown(key) if isinstance(key, str) else str(key).lower()


def _float(value: float) -> float | int | str:
    """Protobuf prints a float with six digits, or nine if six do not read back the same."""
    text = f"{value:.6g}"
    if struct.unpack("<f", struct.pack("<f", float(text)))[0] != value:
        text = f"{value:.9g}"
    return _number(value, text)


def _double(value: float) -> float | int | str:
    """Protobuf prints a double with 15 digits, or 17 if 15 do not read back the same."""
    text = f"{value:.15g}"
    return _number(value, text if float(text) == value else f"{value:.17g}")


def _number(value: float, text: str) -> float | int | str:
    """What Triton reads where protobuf has printed `text` for a number that is finite."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    read = json_dialect.parse(text.encode())
    return read if isinstance(read, int | float) else value
