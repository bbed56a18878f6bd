"""The generate extension: a flat JSON object becomes an InferRequest by the model's tensor names, and back."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol import json_tensor
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.infer_request import named_members, parameter_value
from triton_emulator.protocol.infer_response import json_data
from triton_emulator.protocol.json_access import ABSENT, Absent, as_text, find, read, there
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.shapes import element_count
from triton_emulator.protocol.tensor import Tensor

_KEYWORD = "parameters"


class InputSpec(Protocol):
    """What the mapping needs of a model's input; `shape` is the metadata's, with -1 for the batch dimension."""

    @property
    def datatype(self) -> str: ...

    @property
    def shape(self) -> Sequence[int]: ...


def map_generate(
    document: js.Value, model_name: str, inputs: Mapping[str, InputSpec], rules: Personality
) -> InferRequest:
    """Every key that names an input becomes that tensor, every other key a request parameter.

    The members of `parameters` are mapped like the others. Keys are read in document order, and the first fault is
    raised; an input named twice is one. Raises TritonError with Triton's text.
    """
    request = InferRequest(model_name)
    identifier = find(document, "id") if rules.generate_request_id else ABSENT
    if not isinstance(identifier, Absent):
        request.id = read(as_text, identifier, "id")
    consumed = 0
    for key, value in named_members(document, ""):
        if key != _KEYWORD:
            consumed += _map(key, value, request, inputs, rules, consumed)
            continue
        if _KEYWORD in inputs:
            raise invalid_arg(f"Keyword '{_KEYWORD}' for nested schema also given as input tensor name")
        try:
            nested = js.as_object(there(value, key))
        except js.JSONTypeError as fault:
            raise internal(f"Expected JSON object for keyword: '{_KEYWORD}': {fault}") from None
        consumed_here = 0  # 2.72: by itself
        for inner, inner_value in named_members(nested, ""):
            try:
                consumed_here += _map(inner, inner_value, request, inputs, rules, consumed_here)
            except TritonError as fault:
                raise TritonError(fault.code, f"Converting keyword: '{_KEYWORD}': {fault.message}") from None
    return request


def _map(
    key: str,
    value: "js.Value | Absent",
    request: InferRequest,
    inputs: Mapping[str, InputSpec],
    rules: Personality,
    consumed: int,
) -> int:
    """Add a key to the request. Returns its bytes, which count with the `consumed` ones of the keys before it."""
    spec = inputs.get(key)
    if spec is None:
        request.parameters.append((key, parameter_value(key, value, rules)))
        return 0
    if isinstance(value, Absent):
        raise invalid_arg(f"unexpected key not found in generate request, expecting key '{key}'")
    values: list[js.Value] = value if isinstance(value, list) else [value]
    row, array = DATATYPES[spec.datatype], None
    if row.json == "string":  # 2.51 reads strings before it fits the shape
        array = json_tensor.strings(values, rules)
    size = 0
    if rules.generate_checks_size:
        size = row.size * len(values) if array is None else json_tensor.encoded_size(array)
        if not size:
            _check_new(key, request)
            request.inputs.append(Tensor(key, spec.datatype, (), data=b""))
            return 0
        _check_size(key, size, consumed, rules.http_max_input_size)
    shape = tensor_shape(key, len(values), spec.shape)
    if array is None:
        # until 2.50 one element is expected, whatever the shape
        count = element_count(shape) if rules.generate_arrays else 1
        array = json_tensor.elements(key, spec.datatype, values, count, rules)
    _check_new(key, request)
    request.inputs.append(Tensor(key, spec.datatype, shape, array=array))
    return size


def _check_new(key: str, request: InferRequest) -> None:
    if request.inputs and any(tensor.name == key for tensor in request.inputs):
        raise invalid_arg(f"{request.log_id}input '{key}' already exists in request")


def _check_size(key: str, size: int, consumed: int, limit: int) -> None:
    if consumed + size > limit:
        raise invalid_arg(
            f"request size of {consumed} bytes with input '{key}' of size {size} bytes exceeds the maximum allowed "
            f"input size of {limit}. Use --http-max-input-size to increase the limit."
        )


def tensor_shape(name: str, count: int, spec: Sequence[int]) -> tuple[int, ...]:
    """The shape that `count` values take: fixed dims take their share, the innermost -1 takes the rest."""
    shape = _fitted(count, tuple(spec))
    if shape is None:
        raise invalid_arg(f"The schema can not convert input '{name}' to tensor with proper shape")
    return shape


@lru_cache(maxsize=1024)
def _fitted(count: int, spec: tuple[int, ...]) -> tuple[int, ...] | None:
    shape = list(spec)
    for dim in shape:
        if dim > 0:
            if count % dim:
                return None
            count //= dim
    for at in range(len(shape) - 1, -1, -1):
        if shape[at] == -1:
            shape[at], count = count, 1
    return tuple(shape) if count == 1 else None


def render_generate(response: InferResponse, rules: Personality) -> bytes:
    """One flat JSON object with sorted keys; a tensor of one element is a scalar, any other a flat array.

    Of several outputs with one name the first is there. Raises INTERNAL until 2.42 for a tensor without elements.
    """
    members: dict[str, bytes] = {
        "model_name": _quoted(response.model_name),
        "model_version": b'"%b"' % response.model_version.encode(),
    }
    if response.id:
        members["id"] = js.write_string(response.id)
    for key, value in response.parameters:
        members[key] = js.write(value)
    for tensor in reversed(response.outputs):
        data = json_data(tensor, rules)
        if not (tensor.count or rules.generate_empty_outputs):
            raise internal("attempt to access non-existing array index '0'")
        members[tensor.name] = data[1:-1] if tensor.count == 1 else data
    return b"{%b}" % b",".join([b"%b:%b" % (_quoted(key), members[key]) for key in sorted(members)])


#: for the names of models and tensors: few, and the same in every answer
_quoted = lru_cache(maxsize=1024)(js.write_string)
