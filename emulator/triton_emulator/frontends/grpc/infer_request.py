"""Converts a ModelInferRequest to an InferRequest, with Triton's checks in its order and words.

The order is: the request's parameters, the names of its inputs and outputs, the metadata that are forwarded, then the
data of each input (in shared memory, `contents`, or the next entry of `raw_input_contents`), then the parameters of
each requested output. Whether the request fits the model is decided in `engine.validation`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from triton_emulator.frontends.grpc.messages import mapping
from triton_emulator.protocol.datatypes import DATATYPES, Buffer, encode_bytes
from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.infer_request import Regions, sequence_label
from triton_emulator.protocol.messages import InferRequest, RequestedOutput, SharedMemoryRef
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.tensor import RemoteTensor, Tensor
from triton_emulator.repository.schema import Proto

_UINT64 = 1 << 64
EMPTY_FINAL = "triton_enable_empty_final_response"


def read_infer(
    message: Proto, regions: Regions, rules: Personality, metadata_fault: TritonError | None = None
) -> InferRequest:
    """The request, without its metadata. Raises TritonError, which may be that of its metadata."""
    request = InferRequest(c_string(message.model_name), message.model_version, c_string(message.id))
    if message.parameters:
        _read_parameters(mapping(message.parameters), request, rules)
    inputs, outputs = message.inputs, message.outputs
    if len(inputs) > 1:
        _check_names_differ("input", inputs, request)
    if len(outputs) > 1 and not rules.duplicate_outputs:
        _check_names_differ("output", outputs, request)
    if metadata_fault is not None:
        raise metadata_fault.copy()
    _read_inputs(message, request, regions)
    if outputs:
        request.outputs = [_read_output(output, regions) for output in outputs]
        if len(outputs) > 1:
            _merge(request.outputs)
    return request


def c_string(text: str) -> str:
    """Cut a name at its first zero byte: 2.51 passes names on as C strings."""
    return text if "\0" not in text else text.partition("\0")[0]


def wants_empty_final(message: Proto) -> bool:
    """Whether a stream sends the final flag of this request even in a response without outputs."""
    wanted = mapping(message.parameters).get(EMPTY_FINAL)
    return wanted is not None and bool(wanted.bool_param)


# --- parameters ---


def _kind(value: Proto) -> str:
    return value.WhichOneof("parameter_choice") or ""


def _wrong_type(key: str, expected: str) -> TritonError:
    return invalid_arg(f"invalid value type for '{key}' parameter, expected {expected}.")


def _sequence_id(request: InferRequest, value: Proto) -> None:
    kind = _kind(value)
    if kind == "int64_param":
        request.sequence_id = value.int64_param % _UINT64
    elif kind == "string_param":
        request.sequence_id = sequence_label(c_string(value.string_param))
    else:
        raise _wrong_type("sequence_id", "int64_param or string_param")


def _sequence_start(request: InferRequest, value: Proto) -> None:
    if _kind(value) != "bool_param":
        raise _wrong_type("sequence_start", "bool_param")
    request.sequence_start = value.bool_param


def _sequence_end(request: InferRequest, value: Proto) -> None:
    if _kind(value) != "bool_param":
        raise _wrong_type("sequence_end", "bool_param")
    request.sequence_end = value.bool_param


def _priority(request: InferRequest, value: Proto) -> None:
    kind = _kind(value)
    if kind == "int64_param":
        if value.int64_param < 0:
            raise invalid_arg("invalid value for 'priority', expected value >= 0.")
        request.priority = value.int64_param
    elif kind == "uint64_param":
        request.priority = value.uint64_param
    else:
        raise _wrong_type("priority", "int64_param or uint64_param")


def _timeout(request: InferRequest, value: Proto) -> None:
    if _kind(value) != "int64_param":
        raise _wrong_type("timeout", "int64_param")
    request.timeout = value.int64_param % _UINT64


def _empty_final(request: InferRequest, value: Proto) -> None:
    if _kind(value) != "bool_param":
        raise _wrong_type(EMPTY_FINAL, "bool_param")


_RESERVED: dict[str, Callable[[InferRequest, Proto], None]] = {
    "sequence_id": _sequence_id,
    "sequence_start": _sequence_start,
    "sequence_end": _sequence_end,
    "priority": _priority,
    "timeout": _timeout,
    EMPTY_FINAL: _empty_final,
}
_CUSTOM = frozenset({"int64_param", "bool_param", "string_param", "double_param"})


def _read_parameters(parameters: Mapping[str, Proto], request: InferRequest, rules: Personality) -> None:
    for name, value in parameters.items():
        reader = _RESERVED.get(name)
        if reader is not None:
            reader(request, value)
            continue
        key = c_string(name)
        if name.startswith("triton_"):
            raise invalid_arg(
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
                f"starting with 'triton_' are allowed: {EMPTY_FINAL}"
            )
        kind = _kind(value)
        # 2.51: a double is accepted, though the error text does not list it
        if kind not in _CUSTOM or (kind == "double_param" and not rules.double_parameters):
            raise _wrong_type(name, "int64_param, bool_param, or string_param")
        given = getattr(value, kind)
        request.parameters.append((key, c_string(given) if kind == "string_param" else given))


# --- inputs ---


def _read_inputs(message: Proto, request: InferRequest, regions: Regions) -> None:
    inputs, raw = message.inputs, message.raw_input_contents
    raw_count = len(raw)
    at = 0
    for entry in inputs:
        data: Buffer
        ref = _shared_memory(entry) if entry.parameters else None
        if ref is not None:
            if entry.HasField("contents"):
                raise invalid_arg(
                    f"unexpected 'content' provided when using shared memory for input tensor '{entry.name}' "
                    f"for model '{message.model_name}'"
                )
            source = regions.source(ref)
            request.inputs.append(
                RemoteTensor(c_string(entry.name), c_string(entry.datatype), entry.shape, source)
            )
            continue
        if entry.HasField("contents"):
            if raw_count:
                raise invalid_arg(
                    f"contents field must not be specified when using raw_input_contents for '{entry.name}' "
                    f"for model '{message.model_name}'"
                )
            data = _typed_data(entry, message.model_name)
        elif at < raw_count:
            data = raw[at]
            at += 1
        else:
            raise invalid_arg(
                f"unable to find data for input tensor '{entry.name}' for model '{message.model_name}' in request."
            )
        request.inputs.append(Tensor(c_string(entry.name), c_string(entry.datatype), entry.shape, data=data))


def _check_names_differ(kind: str, entries: Iterable[Proto], request: InferRequest) -> None:
    names: set[str] = set()
    for entry in entries:
        name = c_string(entry.name)
        if name in names:
            raise invalid_arg(f"{request.log_id}{kind} '{name}' already exists in request")
        names.add(name)


#: the `contents` fields in 2.51's order of checks: each field's datatypes, of which an error names the last, and the
#: numpy type of its elements
_FIELDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("bool_contents", ("BOOL",), "?"),
    ("int_contents", ("INT8", "INT16", "INT32"), "<i4"),
    ("int64_contents", ("INT64",), "<i8"),
    ("uint_contents", ("UINT8", "UINT16", "UINT32"), "<u4"),
    ("uint64_contents", ("UINT64",), "<u8"),
    ("fp32_contents", ("FP32",), "<f4"),
    ("fp64_contents", ("FP64",), "<f8"),
    ("bytes_contents", ("BYTES",), ""),
)


#: elements of `contents` that are read at a time: a millisecond of work
_PIECE = 1 << 14


def _typed_data(entry: Proto, model_name: str) -> bytes:
    """The raw bytes of an input's `contents`, in which at most one field may be set."""
    contents = entry.contents
    datatype = entry.datatype
    data = b""
    for field, served, numpy_type in _FIELDS:
        values = getattr(contents, field)
        if not values:
            continue
        unexpected = (
            f"unexpected explicit tensor data for input tensor '{entry.name}' for model '{model_name}'"
        )
        if data:
            raise invalid_arg(f"{unexpected}, binary data was already supplied.")
        if datatype not in served:
            expected = datatype if datatype in DATATYPES else "<invalid>"
            raise invalid_arg(f"{unexpected} of type '{served[-1]}', expected datatype '{expected}'")
        if datatype == "BYTES":
            data = encode_bytes(values)
        else:
            data = b"".join(_elements(values, numpy_type, DATATYPES[datatype].numpy))
    return data


def _elements(values: Sequence[Any], numpy_type: str, wanted: np.dtype[Any]) -> Iterator[bytes]:
    """The bytes of the elements, in pieces: numpy lets no other thread run while it reads one.

    Narrower integers keep their lowest bytes.
    """
    for at in range(0, len(values), _PIECE):
        piece = np.array(values[at : at + _PIECE], dtype=numpy_type)
        yield piece.astype(wanted, copy=False).tobytes()


# --- outputs and shared memory ---


def _read_output(entry: Proto, regions: Regions) -> RequestedOutput:
    output = RequestedOutput(c_string(entry.name))
    if not entry.parameters:
        return output
    ref = _shared_memory(entry)
    classes = _classification(entry)
    if ref is not None:
        if classes:
            raise invalid_arg("output can't set both 'shared_memory_region' and 'classification'")
        regions.check(ref)
        output.shared_memory = ref
    output.classification = classes
    return output


def _merge(outputs: list[RequestedOutput]) -> None:
    """2.51: for an output that is requested twice, the first shared memory region and the first class count hold."""
    first: dict[str, RequestedOutput] = {}
    for output in outputs:
        known = first.setdefault(output.name, output)
        known.shared_memory = known.shared_memory or output.shared_memory
        known.classification = known.classification or output.classification
    outputs[:] = first.values()


def _classification(entry: Proto) -> int:
    value = mapping(entry.parameters).get("classification")
    if value is None:
        return 0
    if _kind(value) != "int64_param":
        raise invalid_arg("invalid value type for 'classification' parameter, expected int64_param")
    if value.int64_param <= 0:
        raise invalid_arg("invalid value for 'classification' parameter, expected >= 0")
    return int(value.int64_param)


def _shared_memory(entry: Proto) -> SharedMemoryRef | None:
    parameters = mapping(entry.parameters)
    found: dict[str, Any] = {}
    for key, kind in _SHARED_MEMORY:
        value = parameters.get(key)
        if value is None:
            continue
        if key != _REGION and _REGION not in found:
            raise invalid_arg(
                f"'{key}' can not be specified without 'shared_memory_region' parameter for tensor '{entry.name}'"
            )
        if _kind(value) != kind:
            raise invalid_arg(
                f"invalid value type for '{key}' parameter for tensor '{entry.name}', expected {kind}."
            )
        found[key] = getattr(value, kind)
    if not found:
        return None
    if "shared_memory_byte_size" not in found:
        raise invalid_arg(
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor "
            f"'{entry.name}'"
        )
    offset = found.get("shared_memory_offset", 0)
    return SharedMemoryRef(found[_REGION], offset % _UINT64, found["shared_memory_byte_size"] % _UINT64)


_REGION = "shared_memory_region"
_SHARED_MEMORY = (
    (_REGION, "string_param"),
    ("shared_memory_offset", "int64_param"),
    ("shared_memory_byte_size", "int64_param"),
)
