"""Compares the config of an ONNX model with its file, as the ONNX Runtime backend does when it loads one.

The rules and texts are those of the backend at r24.10 (`ValidateInputs`, `ValidateOutputs`); the real server that we
can run does not have it. ONNX Runtime infers the shapes of outputs, which may tell more than the file does. So what the
file leaves open in an output is not compared. Nor are the tensors of a sequence batcher, except for their number.
"""

from collections.abc import Mapping, Sequence

from triton_emulator.backends.model_files import FileTensor, Signature
from triton_emulator.protocol.datatypes import BY_CONFIG_NAME
from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.repository.schema import Proto, enum_name

_CONTROLS = frozenset(f"CONTROL_SEQUENCE_{kind}" for kind in ("START", "END", "READY", "CORRID"))


def check_config(config: Proto, signature: Signature) -> None:
    """Raise INVALID_ARG or INTERNAL for the first input or output of a config that its file contradicts."""
    inputs = {tensor.name: tensor for tensor in signature.inputs}
    expected = _expected_inputs(config)
    if len(inputs) != expected:
        raise invalid_arg(
            f"unable to load model '{config.name}', configuration expects {expected} inputs, "
            f"model provides {len(inputs)}"
        )
    for tensor in config.input:
        if tensor.optional and config.max_batch_size != 0:
            raise invalid_arg(
                f"unable to load model '{config.name}', optional input '{tensor.name}' is not supported for models "
                f"that support batching"
            )
        if tensor.optional and tensor.name not in inputs:
            continue  # it may be an initializer, which requests may override
        found = _find(tensor, inputs, "input")
        _check_datatype(config, tensor, found, "input")
        _check_input_shape(config, tensor, found)
    outputs = {tensor.name: tensor for tensor in signature.outputs}
    of_batches = {name for batch_output in config.batch_output for name in batch_output.target_name}
    for tensor in config.output:
        found = _find(tensor, outputs, "output")
        _check_datatype(config, tensor, found, "output")
        if tensor.name not in of_batches and found.dims:
            _check_dims(config, tensor, found.dims)


def _expected_inputs(config: Proto) -> int:
    """How many inputs the file must have."""
    sequence = config.sequence_batching
    controls = {enum_name(control, "kind") for tensor in sequence.control_input for control in tensor.control}
    required = sum(not tensor.optional for tensor in config.input)
    return required + len(config.batch_input) + len(controls & _CONTROLS) + len(sequence.state)


def _find(tensor: Proto, known: Mapping[str, FileTensor], side: str) -> FileTensor:
    found = known.get(tensor.name)
    if found is None:
        raise invalid_arg(
            f"unexpected inference {side} '{tensor.name}', allowed {side}s are: {', '.join(sorted(known))}"
        )
    return found


def _check_datatype(config: Proto, tensor: Proto, found: FileTensor, side: str) -> None:
    wanted = enum_name(tensor, "data_type")
    if wanted == "TYPE_BF16":
        raise internal(f"unsupported datatype {wanted} for {side} '{tensor.name}' for model '{config.name}'")
    if wanted != found.datatype:
        known = BY_CONFIG_NAME.get(found.datatype)
        raise invalid_arg(
            f"unable to load model '{config.name}', configuration expects datatype {wanted} for {side} "
            f"'{tensor.name}', model provides TYPE_{known.name if known else '<invalid>'}"
        )


def _check_input_shape(config: Proto, tensor: Proto, found: FileTensor) -> None:
    if tensor.allow_ragged_batch:
        if tensor.optional:
            raise invalid_arg(
                f"unable to load model '{config.name}', configuration expects model provides input with shape [-1] "
                f"for ragged input '{tensor.name}', which is not supported for optional input"
            )
        if found.dims != (-1,):
            raise invalid_arg(
                f"unable to load model '{config.name}', configuration expects model provides input with shape [-1]  "
                f"for ragged input '{tensor.name}', model provides {_spelt(found.dims)}"
            )
    elif found.dims:
        _check_dims(config, tensor, found.dims)
    elif any(dim != 1 for dim in _dims(tensor)):
        raise invalid_arg(
            f"unable to load model '{config.name}', scalar tensor '{tensor.name}', should only provide 1 in the model "
            f"configuration when the model doesn't support batching. Model configuration provided: "
            f"{_spelt(_dims(tensor))}."
        )


def _check_dims(config: Proto, tensor: Proto, of_file: Sequence[int]) -> None:
    """Compare shapes (`CompareDimsSupported`): what the file fixes, the config must say."""
    about = f"model '{config.name}', tensor '{tensor.name}'"
    batching = config.max_batch_size > 0
    if batching and of_file[0] != -1:
        raise invalid_arg(
            f"{about}: for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {_spelt(of_file)}"
        )
    dims = [-1, *_dims(tensor)] if batching else _dims(tensor)
    if len(dims) == len(of_file) and all(
        fixed in (-1, given) for fixed, given in zip(of_file, dims, strict=True)
    ):
        return
    if batching:
        complete = (
            "(an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making "
            f"complete shape {_spelt(dims)})"
        )
    else:
        complete = f"(shape {_spelt(dims)})"
    raise invalid_arg(
        f"{about}: the model expects {len(of_file)} dimensions (shape {_spelt(of_file)}) but the model configuration "
        f"specifies {len(dims)} dimensions {complete}"
    )


def _dims(tensor: Proto) -> list[int]:
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def _spelt(dims: Sequence[int]) -> str:
    return f"[{','.join(map(str, dims))}]"
