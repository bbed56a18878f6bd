"""Checks a model's tensors: names, types, dims, reshape, batch inputs and outputs, in Triton's words."""

from collections.abc import Iterable, Sequence

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.shapes import VARIABLE, triton_count
from triton_emulator.repository.config.platforms import TENSORRT_PLAN
from triton_emulator.repository.schema import Proto, enum_name


def check_tensors(config: Proto, rules: Personality) -> None:
    """Raises INVALID_ARG at the first fault of the inputs, the outputs, then the batch inputs and outputs."""
    try:
        for tensor in config.input:
            _check_tensor(config, tensor, "input", rules)
        for tensor in config.output:
            _check_tensor(config, tensor, "output", rules)
        _check_batch_inputs(config)
        _check_batch_outputs(config)
    except TritonError as error:
        raise TritonError(error.code, f"{error.message} for {config.name}") from None


def _check_tensor(config: Proto, tensor: Proto, side: str, rules: Personality) -> None:
    _check_shape(config, tensor, f"model {side} ", rules)
    if (
        side == "input"
        and len(tensor.dims) != 3
        and enum_name(tensor, "format") in ("FORMAT_NHWC", "FORMAT_NCHW")
    ):
        raise invalid_arg("model input NHWC/NCHW require 3 dims")
    tensorrt = config.platform == TENSORRT_PLAN
    if tensor.is_shape_tensor and not tensorrt:
        raise invalid_arg("shape tensors are only supported for TensorRT platform")
    if getattr(tensor, "is_non_linear_format_io", False):  # older versions do not have it
        if not tensorrt:
            raise invalid_arg("Non-linear IO format is only supported for the TensorRT platform")
        if len(tensor.dims) != 3:
            raise invalid_arg(f"Non-linear IO format {side} requires 3 dims")


def _check_shape(config: Proto, tensor: Proto, prefix: str, rules: Personality) -> None:
    if not tensor.name:
        raise invalid_arg(f"{prefix}must specify 'name'")
    if rules.tensors_named:
        prefix += f"'{tensor.name}' "
    if enum_name(tensor, "data_type") == "TYPE_INVALID":
        # until 2.47 an input is called an output here
        raise invalid_arg(f"{prefix if rules.tensors_named else 'model output '}must specify 'data_type'")
    if not tensor.dims:
        raise invalid_arg(f"{prefix}must specify 'dims'")
    reshape = tensor.reshape.shape if tensor.HasField("reshape") else None
    if reshape is not None and not reshape and config.max_batch_size == 0:
        raise invalid_arg(
            f"{prefix}cannot have empty reshape for non-batching model as scalar tensors are not supported"
        )
    if _has_bad_dim(tensor.dims):
        raise invalid_arg(
            f"{prefix}dimension must be integer >= 1, or -1 to indicate a variable-size dimension"
        )
    if reshape is not None:
        _check_reshape(tensor.dims, reshape, prefix)


def _has_bad_dim(dims: Iterable[int]) -> bool:
    return any(dim < 1 and dim != VARIABLE for dim in dims)


def _check_reshape(dims: Sequence[int], reshape: Sequence[int], prefix: str) -> None:
    if _has_bad_dim(reshape):
        raise invalid_arg(
            f"{prefix}reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension"
        )
    size, reshaped = triton_count(dims), triton_count(reshape)
    if size != reshaped and (reshaped != 0 or size != 1):
        raise invalid_arg(f"{prefix}has different size for dims and reshape")
    if size == VARIABLE:
        parts, reshaped_parts = _fixed_parts(dims), _fixed_parts(reshape)
        if len(parts) != len(reshaped_parts):
            raise invalid_arg(
                f"{prefix}has different number of variable-size dimensions for dims and reshape"
            )
        if parts != reshaped_parts:
            raise invalid_arg(f"{prefix}has different size for dims and reshape")


def _fixed_parts(dims: Sequence[int]) -> list[int]:
    """The element counts of the runs between the variable dimensions."""
    counts = [1]
    for dim in dims:
        if dim == VARIABLE:
            counts.append(1)
        else:
            counts[-1] *= dim
    return counts


def _check_batch_inputs(config: Proto) -> None:
    inputs = {tensor.name for tensor in config.input}
    for batch in config.batch_input:
        _check_sources(batch, "batch input", inputs=None)
        if enum_name(batch, "data_type") not in ("TYPE_INT32", "TYPE_FP32"):
            raise invalid_arg("batch input data type must be TYPE_INT32 or TYPE_FP32")
        _check_sources(batch, "", inputs=inputs)


def _check_batch_outputs(config: Proto) -> None:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for batch in config.batch_output:
        _check_sources(batch, "batch output", inputs=None)
        _check_sources(batch, "", inputs=inputs)
        seen: set[str] = set()
        for target in batch.target_name:
            if target not in outputs:
                raise invalid_arg(f"unknown target output name '{target}'")
            if target in seen:
                raise invalid_arg(f"target output name '{target}' can only be specified once")
            seen.add(target)


def _check_sources(batch: Proto, what: str, inputs: set[str] | None) -> None:
    """First pass (`inputs` is None): every kind has one source. Second pass: each source is one of `inputs`."""
    if inputs is None:
        kind = enum_name(batch, "kind")
        if len(batch.source_input) != 1:
            raise invalid_arg(f"{what} kind '{kind}' expects 1 source input, got {len(batch.source_input)}")
        return
    for source in batch.source_input:
        if source not in inputs:
            raise invalid_arg(f"unknown source input name '{source}'")
