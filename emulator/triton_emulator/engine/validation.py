"""Whether a request matches a model: Triton's checks, in Triton's order and words, before anything is queued.

Order (2.51 core, InferenceRequest::Normalize): raw input, requested outputs, number of inputs, batch dimension, batch
size; then per input its datatype, shape and byte size. Inputs are walked in the order of Triton's hash map.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from triton_emulator.cxx.numbers import INT64_MAX, to_int64, to_uint32
from triton_emulator.cxx.unordered_map import walk
from triton_emulator.protocol.datatypes import (
    DATATYPES,
    TruncatedElement,
    TruncatedLength,
    encode_bytes,
)
from triton_emulator.protocol.errors import BackendRefusal, Code, TritonError, invalid_arg
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.shapes import element_count, shape_text
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec, sequence_id_control

_UINT32 = 1 << 32
_INT32_MAX = (1 << 31) - 1
#: until 2.46 a model whose input is too short reads on behind it. Here it finds this many bytes at most, which are zero
_READ_ON = 1 << 12
#: so many bytes no process can address
_ADDRESSES = 1 << 47
_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


#: Checks a request against a config and returns its batch size. Raises TritonError.
Validate = Callable[[InferRequest, ModelConfig, Personality], int]


def validator(config: ModelConfig, rules: Personality) -> Validate:
    """`validate`, and the check of sequence ids where the version has it and the model is given them."""
    control = sequence_id_control(config) if rules.checks_sequence_id_types else None
    if control is None:
        return validate
    name, datatype = control

    def with_sequence_id(request: InferRequest, config: ModelConfig, rules: Personality) -> int:
        batch = validate(request, config, rules)
        given = "BYTES" if isinstance(request.sequence_id, str) else "UINT64"
        if (given == "BYTES") != (datatype == "BYTES"):
            raise invalid_arg(
                f"{request.log_id}sequence batching control '{name}' data-type is '{given}', but model "
                f"'{config.name}' expects '{datatype}'"
            )
        return batch

    return with_sequence_id


def validate(request: InferRequest, config: ModelConfig, rules: Personality) -> int:
    """Check `request` against `config` and return its batch size (1 for a model without a batch dimension).

    A raw binary request gets its input here. Raises TritonError.
    """
    if request.raw_input is not None:
        request.inputs = [_raw_tensor(request, config, rules)]
    if request.outputs:
        _check_outputs(request, config)
    given = request.inputs
    if not config.required_inputs <= len(given) <= len(config.inputs):
        raise _wrong_count(request, config, rules)
    inputs = given if len(given) == 1 else _walked(given)
    specs: list[TensorSpec] = []
    for tensor in inputs:
        spec = config.input(tensor.name)
        if spec is None:
            raise invalid_arg(f"unexpected inference input '{tensor.name}' for model '{config.name}'")
        specs.append(spec)
    batch = _batch_size(request, inputs, config, rules) if config.max_batch_size > 0 else 0
    for tensor, spec in zip(inputs, specs, strict=True):
        _check_input(request, tensor, spec, config, rules)
    if batch > _INT32_MAX:  # 2.51: only the backend refuses a batch size that was negative on the wire
        raise _batch_too_large(batch, config)
    return max(batch, 1)


def validate_any(request: InferRequest, config: ModelConfig, rules: Personality) -> int:
    """As `validate`, for a model that takes any inputs: each is to be sound by itself. The batch size is 1."""
    if request.raw_input is not None:
        request.inputs = [_raw_tensor(request, config, rules)]
    if request.outputs:
        _check_outputs(request, config)
    for tensor in request.inputs:
        if tensor.datatype not in DATATYPES:
            raise invalid_arg(
                f"{request.log_id}inference input '{tensor.name}' data-type is '<invalid>' for '{config.name}'"
            )
        spec = TensorSpec(tensor.name, tensor.datatype, tensor.shape, tensor.shape)
        _check_input(request, tensor, spec, config, rules)
    return 1


def _check_outputs(request: InferRequest, config: ModelConfig) -> None:
    unknown = [output.name for output in request.outputs if config.output(output.name) is None]
    if unknown:
        # 2.51 keeps the names in order of their bytes
        first = min(unknown, key=lambda name: name.encode("utf-8", "surrogateescape"))
        raise invalid_arg(f"unexpected inference output '{first}' for model '{config.name}'")


def _walked(inputs: Sequence[Tensor]) -> list[Tensor]:
    by_name = {tensor.name: tensor for tensor in inputs}
    return [by_name[name] for name in walk(by_name)]


def _quoted(names: Sequence[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def _wrong_count(request: InferRequest, config: ModelConfig, rules: Personality) -> TritonError:
    given = [tensor.name for tensor in request.inputs]
    required, most = config.required_inputs, len(config.inputs)
    expected = (
        f"expected {most} inputs"
        if required == most
        else f"expected number of inputs between {required} and {most}"
    )
    counted = f"{request.log_id}{expected} but got {len(given)} inputs for model '{config.name}'"
    if not rules.missing_inputs_named:
        return invalid_arg(counted)
    missing = [spec.name for spec in config.inputs if not spec.optional and spec.name not in given]
    # 2.51: if nothing is missing, the list lacks its opening bracket
    listed = _quoted(missing) if missing else "]"
    return invalid_arg(
        f"{counted}. Got input(s) {_quoted(walk(given))}, but missing required input(s) {listed}. "
        "Please provide all required input(s)."
    )


def _batch_size(
    request: InferRequest, inputs: Sequence[Tensor], config: ModelConfig, rules: Personality
) -> int:
    batch = 0
    for tensor in inputs:
        if not tensor.shape:
            raise invalid_arg(
                f"{request.log_id}input '{tensor.name}' has no shape but model requires batch dimension "
                f"for '{config.name}'"
            )
        if batch == 0:
            # 2.51 stores the batch size in 32 unsigned bits but compares all 64 bits of the others
            batch = to_uint32(tensor.shape[0])
        elif tensor.shape[0] != batch:
            raise invalid_arg(
                f"{request.log_id}input '{tensor.name}' batch size does not match other inputs for '{config.name}'"
            )
    # until 2.57 signed numbers are compared: over gRPC a dimension may be -1
    if batch > config.max_batch_size and (batch <= _INT32_MAX or rules.compares_whole_batch_sizes):
        raise invalid_arg(
            f"{request.log_id}inference request batch-size must be <= {config.max_batch_size} for '{config.name}'"
        )
    return batch


def _check_input(
    request: InferRequest, tensor: Tensor, spec: TensorSpec, config: ModelConfig, rules: Personality
) -> None:
    if tensor.datatype != spec.datatype:
        given = tensor.datatype if tensor.datatype in DATATYPES else "<invalid>"
        raise invalid_arg(
            f"{request.log_id}inference input '{tensor.name}' data-type is '{given}', but model '{config.name}' "
            f"expects '{spec.datatype}'"
        )
    shape, expected = tensor.shape, spec.shape
    batching = config.max_batch_size > 0
    # only shapes of the right rank go through the memo: a client may send a million dims
    if shape != expected and not (len(shape) == len(expected) and _fits(shape, expected)):
        _check_dims_are_given(request, tensor, spec, config)
        note = _BATCH_NOTE if batching else ""
        raise invalid_arg(
            f"{request.log_id}unexpected shape for input '{tensor.name}' for model '{config.name}'. "
            f"Expected {shape_text(expected)}, got {shape_text(shape)}. {note}"
        )
    if shape and min(shape) < 0:  # possible over gRPC
        _check_dims_are_given(request, tensor, spec, config)
        shape = (to_uint32(shape[0]), *shape[1:]) if batching else shape
        if rules.checks_element_counts and min(shape) < 0:
            raise _invalid_dimension(tensor, shape)
    if batching and shape[0] >= _UINT32:
        tensor.shape = shape = (to_uint32(shape[0]), *shape[1:])
    if batching and shape[0] == 0:
        # 2.51: an empty batch is measured, and passed to the model, as if it had no batch dimension
        tensor.shape = shape = shape[1:]
    if tensor.datatype == "BYTES":
        count = element_count(shape)
        if not 0 < count <= INT64_MAX and rules.checks_element_counts:
            _check_count(tensor, shape, 1, "element count")
        _check_strings(request, tensor, count, config, rules)
        return
    size = element_count(shape) * DATATYPES[tensor.datatype].size
    if not 0 < size <= INT64_MAX and rules.checks_element_counts:
        _check_count(tensor, shape, DATATYPES[tensor.datatype].size, "byte size")
    if tensor.byte_size != size:
        if not rules.input_sizes_checked and batching and shape and shape[0] > _INT32_MAX:
            raise _batch_too_large(shape[0], config)
        _refuse_size(request, tensor, size, config, rules)


def _invalid_dimension(tensor: Tensor, shape: Sequence[int]) -> TritonError:
    what = "an invalid dimension in shape" if tensor.datatype == "BYTES" else "an invalid dimension"
    return invalid_arg(f"tensor '{tensor.name}' contains {what} {shape_text(shape)}")


def _check_count(tensor: Tensor, shape: Iterable[int], size: int, what: str) -> None:
    """Raise INVALID_ARG where `size` bytes for each element are too many, even before a dim of 0."""
    for dim in shape:
        size *= dim or 1
        if size > INT64_MAX:
            raise invalid_arg(f"{what} for tensor '{tensor.name}' exceeds maximum size of {INT64_MAX}")
        if not dim:
            return


def _batch_too_large(batch: int, config: ModelConfig) -> TritonError:
    text = f"batch size {batch} for '{config.name}_0', max allowed is {config.max_batch_size}"
    return BackendRefusal(Code.INTERNAL, text)


def _array_too_large(size: int, config: ModelConfig, rules: Personality) -> TritonError:
    """What comes of an input whose shape asks for `size` bytes, which no memory has: the stub process reads on."""
    instance = f"{config.name}_0"
    too_big = "`arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
    text = f"Stub process '{instance}' is not healthy."
    if size > INT64_MAX:
        text = f"ValueError: array is too big; {too_big}"
    template = rules.decoupled_execute_failed if config.decoupled else rules.execute_failed
    return BackendRefusal(Code.INTERNAL, template.format(instance=instance, text=text))


@lru_cache(maxsize=1024)
def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return all(want in (-1, dim) for dim, want in zip(shape, expected, strict=True))


def _check_dims_are_given(
    request: InferRequest, tensor: Tensor, spec: TensorSpec, config: ModelConfig
) -> None:
    """A dim of -1, possible only over gRPC, has an error text of its own, unless an earlier dim is wrong."""
    shape, expected = tensor.shape, spec.shape
    if len(shape) != len(expected):
        return
    first = 1 if config.max_batch_size > 0 else 0
    for dim, want in zip(shape[first:], expected[first:], strict=True):
        if dim == -1:
            raise invalid_arg(
                f"{request.log_id}All input dimensions should be specified for input '{tensor.name}' "
                f"for model '{config.name}', got {shape_text(shape)}"
            )
        if want not in (-1, dim):
            return


def _refuse_size(
    request: InferRequest, tensor: Tensor, size: int, config: ModelConfig, rules: Personality
) -> None:
    """Raise INVALID_ARG for an input that should have `size` bytes. Until 2.45 it is made to have them instead."""
    if not rules.input_sizes_checked and size > _ADDRESSES:
        raise _array_too_large(size, config, rules)
    if rules.input_sizes_checked or size - tensor.byte_size > _READ_ON:
        # 2.51 does not check the product for overflow
        raise _wrong_size(request, tensor, tensor.name, config, to_int64(size))
    if size >= 0:
        tensor.resize(size)


def _wrong_size(
    request: InferRequest, tensor: Tensor, name: str, config: ModelConfig, size: int
) -> TritonError:
    return invalid_arg(
        f"{request.log_id}input byte size mismatch for input '{name}' for model '{config.name}'. "
        f"Expected {size}, got {tensor.byte_size}"
    )


def _check_strings(
    request: InferRequest, tensor: Tensor, expected: int, config: ModelConfig, rules: Personality
) -> None:
    """Count the elements by their length prefixes, as 2.51 does. The backend refuses an element that is cut off."""
    if not rules.input_sizes_checked:
        return
    named = rules.string_counts_named
    where = f"for inference input '{tensor.name}'"
    if named:
        where += f" for model '{config.name}'"
    if not tensor.has_data:
        count = tensor.element_total
        if count == expected:
            return
    else:
        count = 0
        data = tensor.peek()
        at, end = 0, len(data)
        while at < end:
            if end - at < 4 and not named:
                raise invalid_arg(
                    f"{request.log_id}element byte size indicator exceeds the end of the buffer."
                )
            if end - at < 4:
                raise invalid_arg(
                    f"{request.log_id}incomplete string length indicator {where}, expecting 4 bytes but only "
                    f"{end - at} bytes available. Please make sure the string length indicator is in one buffer."
                )
            if count >= expected and named:
                raise invalid_arg(
                    f"{request.log_id}unexpected number of string elements {count + 1} {where}, expecting {expected}"
                )
            at += 4 + int.from_bytes(data[at : at + 4], "little")
            count += 1
        if count == expected:
            return
    if count > max(expected, 0) and named:
        # 2.51 stops at the first surplus element; a shape that overflows 63 bits expects a negative number
        raise invalid_arg(
            f"{request.log_id}unexpected number of string elements {max(expected, 0) + 1} {where}, "
            f"expecting {expected}"
        )
    raise invalid_arg(f"{request.log_id}expected {expected} string elements {where}, got {count}")


def incomplete_string(tensor: Tensor) -> TritonError | None:
    """The backend's error for a BYTES input whose last element is cut off, or None (2.51 answers it as text/plain)."""
    if tensor.datatype != "BYTES" or not tensor.has_data:
        return None
    try:
        _ = tensor.array
    except TruncatedElement as fault:
        return _cut_off(tensor, fault.length, fault.available)
    except TruncatedLength:
        return None
    return None


def _cut_off(tensor: Tensor, length: int, available: int) -> TritonError:
    return invalid_arg(
        f"incomplete string data for inference input '{tensor.name}', expecting string of length {length} "
        f"but only {available} bytes available"
    )


def wrong_string_count(tensor: Tensor) -> TritonError | None:
    """The backend's error for a BYTES tensor that a scheduler made: a wrong number of elements, or one that is cut off.

    None if the tensor matches its shape.
    """
    data, at, count, expected = memoryview(tensor.data), 0, 0, element_count(tensor.shape)
    while at < len(data):
        if count == expected:
            return invalid_arg(
                f"unexpected number of string elements {count + 1} for inference input '{tensor.name}', "
                f"expecting {expected}"
            )
        length = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if length > len(data) - at:
            return _cut_off(tensor, length, len(data) - at)
        at += length
        count += 1
    if count == expected:
        return None
    return invalid_arg(
        f"expected {expected} string elements for inference input '{tensor.name}', got {count}"
    )


def _raw_tensor(request: InferRequest, config: ModelConfig, rules: Personality) -> Tensor:
    """Make the model's only input from the whole body: batch size 1, its variable dimension from the body's size."""
    body = request.raw_input or b""
    if len(config.inputs) != 1:
        raise invalid_arg(
            f"{request.log_id}Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(config.inputs)} inputs in '{config.name}' model configuration"
        )
    spec = config.inputs[0]
    dims = list(spec.dims)
    batch = [1] if config.max_batch_size > 0 else []
    if spec.datatype == "BYTES":
        if dims != [1]:
            raise invalid_arg(
                f"{request.log_id}For BYTE datatype raw input '{spec.name}', the model must have input shape [1]"
            )
        return Tensor(spec.name, spec.datatype, batch + dims, data=encode_bytes([bytes(body)]))
    if dims.count(-1) > 1:
        raise invalid_arg(
            f"{request.log_id}The shape of the raw input '{spec.name}' can not be deduced because there are more than "
            "one variable-sized dimension"
        )
    size = DATATYPES[spec.datatype].size
    if -1 in dims:
        fixed = size * element_count([dim for dim in dims if dim != -1])
        dims[dims.index(-1)] = len(body) // fixed if fixed else 0
    tensor = Tensor(spec.name, spec.datatype, batch + dims, data=body)
    expected = element_count(dims) * size
    if not rules.input_sizes_checked and 0 <= expected <= len(body) + _READ_ON:
        tensor.resize(expected)
    elif len(body) != expected:
        raise _wrong_size(request, tensor, "raw_input", config, expected)
    return tensor
