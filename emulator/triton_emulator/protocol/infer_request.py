"""Reads the body of an HTTP inference request, with Triton's checks in Triton's order and words.

A fault of the JSON (bad syntax, a missing key, a wrong JSON type) is INTERNAL; a fault of its meaning is INVALID_ARG.
The checks follow the order of the document and stop at the first fault. Whether the request fits the model is checked
later, in `engine.validation`.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from triton_emulator.cxx.numbers import INT64_MAX, to_int64, to_uint32
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol import json_tensor
from triton_emulator.protocol.datatypes import DATATYPES, Buffer
from triton_emulator.protocol.errors import internal, invalid_arg, unsupported
from triton_emulator.protocol.json_access import (
    ABSENT,
    Absent,
    as_text,
    find,
    member,
    parse_document,
    read,
    unable,
)
from triton_emulator.protocol.messages import InferRequest, Parameter, RequestedOutput, SharedMemoryRef
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.shapes import (
    INVALID,
    OVERFLOWN,
    checked_count,
    plain_count,
    shape_text,
    triton_count,
)
from triton_emulator.protocol.tensor import RemoteTensor, Source, Tensor

T = TypeVar("T")


class Regions(Protocol):
    """The registered shared memory regions, as far as a parser needs them."""

    def source(self, ref: SharedMemoryRef) -> Source:
        """The bytes that `ref` names; raises TritonError where there is no such region or it is too small."""

    def check(self, ref: SharedMemoryRef) -> None:
        """Raises TritonError where `ref` cannot be written to."""


def parse_infer(
    body: Buffer, header_length: int, model_name: str, regions: Regions, rules: Personality
) -> InferRequest:
    """Read a request whose first `header_length` bytes are JSON and the rest binary tensors.

    A `header_length` of 0 makes it a raw binary request: the whole body is the model's only input.
    """
    request = InferRequest(model_name)
    if header_length == 0:
        check_raw_size(len(body), rules)
        request.raw_input = body
        request.binary_output = True
        return request
    if header_length == len(body):
        document, tail = parse_document(body, rules), _NOTHING
    else:
        view = memoryview(body)
        document, tail = parse_document(view[:header_length], rules), view[header_length:]
    members = document if isinstance(document, dict) else {}
    if "id" in members:
        request.id = read(as_text, members["id"], "id")
    if "parameters" in members:
        _read_parameters(members["parameters"], request, rules)
    _read_inputs(document, request, tail, regions, rules)
    if "outputs" in members:
        _read_outputs(members["outputs"], request, regions, rules)
    return request


_NOTHING = memoryview(b"")


def check_raw_size(size: int, rules: Personality) -> None:
    """Raise INVALID_ARG where the version refuses a raw binary request with a body of `size` bytes."""
    limit = rules.http_max_input_size
    if size > limit:
        raise invalid_arg(
            f"Raw input has a byte_size ({size} bytes) that exceeds the maximum allowed value of {limit} bytes. "
            "Use --http-max-input-size to increase the limit."
        )


def named_members(holder: js.Value, prefix: str) -> Iterator[tuple[str, "js.Value | Absent"]]:
    """The members of what must be an object; `prefix` is put before Triton's text where it is not.

    2.51 lists the names, each up to its first NUL, and then looks each one up. So a repeated name is listed twice, both
    times with its first value, and a name that was cut may not be found.
    """
    if not isinstance(holder, dict):
        raise internal(f"{prefix}attempt to get members for non-object")
    for key, _ in js.members(holder):
        if "\0" in key:
            key = key.partition("\0")[0]  # noqa: PLW2901
            yield key, holder.get(key, ABSENT)
        else:
            yield key, holder[key]


def parameter_value(key: str, value: "js.Value | Absent", rules: Personality) -> Parameter:
    """A custom parameter: a string, an integer of 64 bits, a boolean or, since 2.43, a double."""
    if isinstance(value, str):
        return value.partition("\0")[0]
    if isinstance(value, bool):
        return value
    if isinstance(value, Absent):
        raise internal(f"parameter key '{key}' was not found in the JSON")
    if isinstance(value, int) and value <= INT64_MAX:
        return value
    if isinstance(value, (int, float)) and rules.double_parameters:
        # 2.51: an integer that only fits 64 bits unsigned is kept as a double
        return float(value)
    raise invalid_arg(f"parameter '{key}' has invalid type. It should be either 'int', 'bool', or 'string'.")


def _read_parameters(holder: js.Value, request: InferRequest, rules: Personality) -> None:
    for key, value in named_members(holder, "failed to get request params.: "):
        match key:
            case "sequence_id":
                if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                    request.sequence_id = value
                else:
                    request.sequence_id = sequence_label(read(as_text, value, key))
            case "sequence_start":
                request.sequence_start = read(js.as_bool, value, key)
            case "sequence_end":
                request.sequence_end = read(js.as_bool, value, key)
            case "priority":
                request.priority = read(js.as_uint, value, key)
            case "timeout":
                request.timeout = read(js.as_uint, value, key)
            case "binary_data_output":
                request.binary_output = read(js.as_bool, value, key)
            case _ if key.startswith("triton_"):
                raise invalid_arg(
                    "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
                )
            case _:
                request.parameters.append((key, parameter_value(key, value, rules)))


def sequence_label(text: str) -> str:
    """A sequence id that is a text. Raises UNSUPPORTED where it is too long."""
    if len(text) * 4 > _LABEL_BYTES and len(text.encode("utf-8", "surrogateescape")) > _LABEL_BYTES:
        raise unsupported(f"string correlation ID cannot be longer than {_LABEL_BYTES} characters")
    return text


_LABEL_BYTES = 128
_SOURCES = ("binary_data_size", "shared_memory_region")


def _check_one_source(entry: js.Value) -> None:
    """Check that an input says once where its elements are; Triton checks this before anything else about it."""
    parameters = find(entry, "parameters")
    found = [] if isinstance(find(entry, "data"), Absent) else ["data"]
    if not isinstance(parameters, Absent):
        found += [source for source in _SOURCES if not isinstance(find(parameters, source), Absent)]
    if len(found) != 1:
        what = (
            "But no field is set" if not found else "But set " + " ".join(f"'{source}'" for source in found)
        )
        raise invalid_arg(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            f"'shared_memory_region' in 'parameters'. {what}"
        )


def _read_inputs(
    document: js.Value, request: InferRequest, tail: memoryview, regions: Regions, rules: Personality
) -> None:
    at = 0
    names: set[str] = set()
    for entry in member(js.as_array, document, "inputs"):
        plain = _plain(entry)
        if plain is None:
            _check_one_source(entry)
            name = member(as_text, entry, "name")
            datatype = member(as_text, entry, "datatype")
            shape = _read_shape(entry)
        else:
            name, datatype, shape, values = plain
        if name in names:
            raise invalid_arg(f"{request.log_id}input '{name}' already exists in request")
        names.add(name)
        if plain is not None and (count := plain_count(shape)):
            array = json_tensor.elements(name, datatype, values, count, rules, rules.http_max_input_size)
            tensor = Tensor(name, datatype, shape, array=array)
        elif (size := _binary_data_size(entry)) is not None:
            if size > len(tail) - at:
                raise invalid_arg(
                    f"unexpected size for input '{name}', expecting {size - (len(tail) - at)} additional bytes "
                    f"for model '{request.model_name}'"
                )
            tensor = Tensor(name, datatype, shape, data=tail[at : at + size])
            at += size
        else:
            tensor = _read_elements(entry, name, datatype, shape, regions, rules)
        request.inputs.append(tensor)
    if at != len(tail):
        raise invalid_arg(f"unexpected additional input data for model '{request.model_name}'")


def _binary_data_size(entry: js.Value) -> int | None:
    """The bytes that an input has after the JSON; None for an input whose elements are elsewhere."""
    parameters = find(entry, "parameters")
    size = ABSENT if isinstance(parameters, Absent) else find(parameters, "binary_data_size")
    return None if isinstance(size, Absent) else read(js.as_uint, size, "binary_data_size")


def _read_elements(
    entry: js.Value, name: str, datatype: str, shape: list[int], regions: Regions, rules: Personality
) -> Tensor:
    """An input in shared memory or in the JSON."""
    ref = _shared_memory(find(entry, "parameters"))
    if ref is not None:
        return RemoteTensor(name, datatype, shape, regions.source(ref))
    count = _checked_count(name, shape) if rules.checks_shapes else triton_count(shape)
    if count == 0:  # 2.51: then the data is not looked at
        return Tensor(name, datatype, shape, data=b"")
    values = member(js.as_array, entry, "data")
    if count < 0 and (row := DATATYPES.get(datatype)) is not None and row.size:
        json_tensor.check_size(name, row, count, rules)
    array = json_tensor.elements(name, datatype, values, count, rules, rules.http_max_input_size)
    return Tensor(name, datatype, shape, array=array)


def _checked_count(name: str, shape: list[int]) -> int:
    """The number of elements of a shape. Raises INVALID_ARG for one that no tensor has."""
    count = checked_count(shape)
    if count in (INVALID, OVERFLOWN):
        fault = (
            "contains one or more invalid dimensions"
            if count == INVALID
            else f"causes total element count to exceed maximum size of {INT64_MAX}"
        )
        raise invalid_arg(f"invalid shape for input '{name}': shape {shape_text(shape)} {fault}")
    return count


_PLAIN_KEYS = {"name", "datatype", "shape", "data"}


def _plain(entry: js.Value) -> tuple[str, str, list[int], list[js.Value]] | None:
    """Name, datatype, shape and data of an input that has exactly these, all of the right type; else None.

    Most inputs are like this, and reading each member by itself takes three times as long.
    """
    if not isinstance(entry, dict) or entry.keys() != _PLAIN_KEYS or isinstance(entry, js.DuplicateKeys):
        return None
    name, datatype, shape, data = entry["name"], entry["datatype"], entry["shape"], entry["data"]
    if not (isinstance(name, str) and isinstance(datatype, str) and isinstance(shape, list) and shape):
        return None
    if "\0" in name or "\0" in datatype:
        return None
    for dim in shape:
        if type(dim) is not int or not 0 <= dim <= INT64_MAX:
            return None
    return (name, datatype, shape, data) if isinstance(data, list) else None  # type: ignore[return-value]


def _read_shape(entry: js.Value) -> list[int]:
    dims = member(js.as_array, entry, "shape")
    try:
        return [to_int64(js.as_uint(dim)) for dim in dims]  # 2.51 does not check the range
    except js.JSONTypeError as fault:
        raise unable("shape", fault) from None


def _shared_memory(parameters: "js.Value | Absent") -> SharedMemoryRef | None:
    if isinstance(parameters, Absent):
        return None
    region = find(parameters, "shared_memory_region")
    name = "" if isinstance(region, Absent) else read(as_text, region, "shared_memory_region")
    # 2.51 reads these without a region, too
    offset, size = (
        0 if isinstance(value := find(parameters, key), Absent) else read(js.as_uint, value, key)
        for key in ("shared_memory_offset", "shared_memory_byte_size")
    )
    return None if isinstance(region, Absent) else SharedMemoryRef(name, offset, size)


def _read_outputs(holder: js.Value, request: InferRequest, regions: Regions, rules: Personality) -> None:
    names: set[str] = set()
    for entry in read(js.as_array, holder, "outputs"):
        parameters = find(entry, "parameters")
        if not isinstance(parameters, Absent):
            _check_shared_memory_alone(parameters)
        name = member(as_text, entry, "name")
        if name in names and not rules.duplicate_outputs:
            raise invalid_arg(f"{request.log_id}output '{name}' already exists in request")
        names.add(name)
        output = RequestedOutput(name)
        if not isinstance(parameters, Absent):
            _read_output_parameters(parameters, output, regions)
        request.outputs.append(output)


def _read_output_parameters(parameters: js.Value, output: RequestedOutput, regions: Regions) -> None:
    classes = find(parameters, "classification")
    if not isinstance(classes, Absent):
        # 2.51 keeps 32 bits of it, and none of them set is no classification
        output.classification = to_uint32(_set(js.as_uint, classes, "classification"))
    if (ref := _shared_memory(parameters)) is not None:
        regions.check(ref)
        output.shared_memory = ref
        return
    binary = find(parameters, "binary_data")
    if not isinstance(binary, Absent):
        output.binary = read(js.as_bool, binary, "binary_data")


def _check_shared_memory_alone(parameters: js.Value) -> None:
    """An output in shared memory is neither binary data nor classes; this is checked before its name is read."""
    if isinstance(find(parameters, "shared_memory_region"), Absent):
        return
    if not isinstance(find(parameters, "classification"), Absent):
        raise invalid_arg("Output can't set both 'shared_memory_region' and 'classification'")
    binary = find(parameters, "binary_data")
    if not isinstance(binary, Absent) and _set(js.as_bool, binary, "binary_data"):
        raise invalid_arg("Output can't set both 'shared_memory_region' and 'binary_data'")


def _set(read_as: Callable[[js.Value], T], value: js.Value, what: str) -> T:
    try:
        return read_as(value)
    except js.JSONTypeError as fault:  # 2.51: "set", where everything else says "parse"
        raise internal(f"Unable to set '{what}': {fault}") from None
