"""Adds the inputs and outputs that a config does not name: from `emulator.yaml`, else from the model's file.

What is read from a file is added as the model's backend does it when it completes a config. The rules are those of the
backends at r24.10 (`AutoCompleteConfig`); the real server that we can run has none of these backends.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from triton_emulator.backends.model_files import (
    FileTensor,
    Signature,
    Unreadable,
    onnx,
    openvino_ir,
    saved_model,
)
from triton_emulator.backends.standins.onnx_check import check_config
from triton_emulator.backends.standins.settings import FILE_NAME, GivenTensor
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.repository.config.completion import complete_policies
from triton_emulator.repository.config.raw_text import as_shown
from triton_emulator.repository.schema import Proto

_LOG = logging.getLogger(__name__)

#: Why the file of a backend does not tell the tensors.
_UNTOLD = {
    "tensorrt": "only TensorRT itself can read a plan",
    "pytorch": "a TorchScript file does not name its inputs and outputs",
    "tensorflow": "a GraphDef does not tell its inputs and outputs",
}


class _Completion(NamedTuple):
    """How a backend completes a config.

    `read` reads the file, `add` adds what it tells; `whole` says whether a config with inputs and outputs is completed
    too.
    """

    read: Callable[[ModelDefinition], Signature]
    add: Callable[[Proto, Signature, int], None]
    whole: bool


def complete_tensors(config: Proto, definition: ModelDefinition, default_max_batch_size: int) -> None:
    """Complete a config in place.

    `default_max_batch_size` is the backend's setting of that name. Raises TritonError where the file contradicts the
    config, and where inputs or outputs stay unknown.
    """
    add_given(config, definition.settings)
    completion = _completion_of(config)
    why = _UNTOLD.get(config.backend, f"files of backend '{config.backend}' are not read")
    if completion is not None and (completion.whole or _lacks_tensors(config)):
        try:
            signature = completion.read(definition)
        except Unreadable as error:
            why = str(error)
        else:
            completion.add(config, signature, default_max_batch_size)
            complete_policies(config)
            return
    if text := unknown_tensors(config, definition, why):
        raise invalid_arg(text)


def check_against_file(definition: ModelDefinition) -> None:
    """Raise TritonError for a config that the model's file contradicts. A file that cannot be read contradicts none."""
    if definition.config.backend == "onnxruntime":
        with suppress(Unreadable):
            check_config(definition.config.proto, _read_onnx(definition))


def unknown_tensors(config: Proto, definition: ModelDefinition, why: str = "") -> str:
    """What is missing for a stand-in to answer, and what to write where; "" where nothing is missing.

    `why` says why the model's file does not tell.
    """
    sides = [side for side in ("input", "output") if not getattr(config, side)]
    if not sides:
        return ""
    missing = " and no ".join(f"{side}s" for side in sides)
    file = definition.version_directory / as_shown(config.default_model_filename)
    told = f", and {file} does not tell them: {why}" if why else ""
    return (
        f"model '{definition.name}' has no {missing}: its config names none{told}. Write {' and '.join(sides)} "
        f"into {definition.directory / 'config.pbtxt'}, or {' and '.join(side + 's' for side in sides)} of the "
        f"model into {definition.directory.parent / FILE_NAME}"
    )


def _lacks_tensors(config: Proto) -> bool:
    return not ((config.input or config.batch_input) and config.output)


def _completion_of(config: Proto) -> _Completion | None:
    if config.platform == "tensorflow_graphdef":
        return None
    return _COMPLETIONS.get(config.backend)


# --- emulator.yaml ------------------------------------------------------------------------------------------------


def add_given(config: Proto, settings: Mapping[str, Any]) -> None:
    """Add the tensors of `emulator.yaml` to a side that the config leaves empty, and the batch size to one without."""
    given: Sequence[GivenTensor]
    for tensors, given in (
        (config.input, settings.get("inputs", ())),
        (config.output, settings.get("outputs", ())),
    ):
        if not tensors:
            for tensor in given:
                tensors.add(name=tensor.name, data_type=_number(config, tensor.datatype), dims=tensor.dims)
    if "max_batch_size" in settings and config.max_batch_size == 0:
        config.max_batch_size = settings["max_batch_size"]
        complete_policies(config)


# --- the files ----------------------------------------------------------------------------------------------------


def _path(definition: ModelDefinition, default: str) -> Path:
    return definition.version_directory / (
        as_shown(definition.config.proto.default_model_filename) or default
    )


def _read_onnx(definition: ModelDefinition) -> Signature:
    path = _path(definition, "model.onnx")
    # a large model is a folder, whose files of weights are beside its model.onnx
    return onnx.read(path / "model.onnx" if path.is_dir() else path)


def _read_saved_model(definition: ModelDefinition) -> Signature:
    parameters = definition.config.parameters
    tag, signature = parameters.get("TF_GRAPH_TAG", ""), parameters.get("TF_SIGNATURE_DEF", "")
    return saved_model.read(_path(definition, "model.savedmodel"), tag, signature)


def _read_openvino(definition: ModelDefinition) -> Signature:
    return openvino_ir.read(_path(definition, "model.xml"))


# --- the rules ----------------------------------------------------------------------------------------------------


def _add_as_onnxruntime(config: Proto, signature: Signature, default_max_batch_size: int) -> None:
    if all(tensor.dims and tensor.dims[0] == -1 for tensor in (*signature.inputs, *signature.outputs)):
        if config.max_batch_size == 0:
            _fill_batch_size(config, max(default_max_batch_size, 0))
        _batch_dynamically(config)
    elif config.max_batch_size != 0:
        raise invalid_arg(
            f"autofill failed for model '{config.name}': model does not support batching while non-zero "
            f"max_batch_size is specified"
        )
    batching = config.max_batch_size > 0
    if not (config.input or config.batch_input):
        _add(config, config.input, signature.inputs, batching=batching)
    if not config.output:
        _add(config, config.output, signature.outputs, batching=batching)


def _add_as_openvino(config: Proto, signature: Signature, default_max_batch_size: int) -> None:
    if signature.batches:
        if config.max_batch_size == 0:
            _fill_batch_size(config, max(default_max_batch_size, 1))
        _batch_dynamically(config)
    elif config.max_batch_size != 0:
        _LOG.warning(
            "model layout for model %s does not support batching while non-zero max_batch_size is specified",
            config.name,
        )
    for tensors, found in ((config.input, signature.inputs), (config.output, signature.outputs)):
        if not tensors:
            for tensor in found:
                dims = tensor.dims[1:] if config.max_batch_size > 0 else tensor.dims
                tensors.add(name=tensor.name, data_type=_number(config, tensor.datatype), dims=dims)


def _add_as_tensorflow(config: Proto, signature: Signature, default_max_batch_size: int) -> None:
    _refuse_unsupported(config, signature)
    batches = all(
        not tensor.dims or tensor.dims[0] == -1 for tensor in (*signature.inputs, *signature.outputs)
    )
    if not batches and config.max_batch_size > 0:
        raise internal(
            f"unable to autofill for '{config.name}', configuration specified max-batch {config.max_batch_size} "
            f"but model signature does not support batching"
        )
    batches = batches and _means_batches(config, signature) and default_max_batch_size > 0
    if config.max_batch_size == 0 and batches:
        _fill_batch_size(config, default_max_batch_size)
    _batch_dynamically(config)
    named = {tensor.name for tensor in config.input} | {
        *(name for batch_input in config.batch_input for name in batch_input.target_name),
        *(control.name for control in config.sequence_batching.control_input),
    }
    unnamed = [tensor for tensor in signature.inputs if tensor.name not in named]
    for tensor in unnamed:
        if not tensor.dims:
            raise invalid_arg(
                f"Unable to autofill for '{config.name}': the rank of model tensor '{tensor.name}' is 0 and "
                f"dimensions are not defined"
            )
    _add(config, config.input, unnamed, batching=batches)
    if not config.output:
        for tensor in signature.outputs:
            if not tensor.dims:
                raise invalid_arg(
                    f"Unable to autofill for '{config.name}': the rank of model tensor '{tensor.name}' is 0 "
                    f"which is not supported"
                )
        _add(config, config.output, signature.outputs, batching=batches)


def _refuse_unsupported(config: Proto, signature: Signature) -> None:
    for side, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for tensor in tensors:
            if tensor.datatype == "TYPE_INVALID":
                raise internal(
                    f"unable to auto-complete model configuration for '{config.name}', failed to load model: "
                    f"unable to process {side} '{tensor.name}' for '{config.name}', unsupported datatype"
                )


def _means_batches(config: Proto, signature: Signature) -> bool:
    """Whether a config means batches by the ranks of its tensors, if the signature could have them.

    A tensor of one dimension less than the file's leaves the batch dimension out. Without one the signature counts.
    """
    tensors = [*config.input, *config.output]
    if not tensors or any(tensor.allow_ragged_batch for tensor in config.input):
        return True
    ranks = {tensor.name: len(tensor.dims) for tensor in (*signature.inputs, *signature.outputs)}
    hints = {
        len(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims) == rank - 1
        for tensor in tensors
        if (rank := ranks.get(tensor.name, 0)) > 0
    }
    if len(hints) > 1:
        raise internal(
            f"unable to autofill for '{config.name}', model tensor configurations are contradicting each other "
            f"in terms of whether batching is supported"
        )
    return hints == {True}


def _fill_batch_size(config: Proto, size: int) -> None:
    config.max_batch_size = size
    _LOG.warning(
        # 2.51's words, its spelling too
        "autofilled max_batch_size to %d for model '%s' since batching is supporrted but no max_batch_size is "
        "specified in model configuration. Must specify max_batch_size to utilize autofill with a larger max batch "
        "size",
        size,
        config.name,
    )


def _batch_dynamically(config: Proto) -> None:
    if config.max_batch_size > 1 and not config.WhichOneof("scheduling_choice"):
        config.dynamic_batching.SetInParent()


def _add(config: Proto, tensors: Any, found: Sequence[FileTensor], *, batching: bool) -> None:
    """Add tensors of a file, without the batch dimension where the model batches.

    A tensor without a dimension left gets one of 1, and is reshaped to none where it has a row for each of a batch.
    """
    for tensor in found:
        dims = tensor.dims[1:] if batching else tensor.dims
        added = tensors.add(name=tensor.name, data_type=_number(config, tensor.datatype), dims=dims or (1,))
        if batching and not dims:
            added.reshape.SetInParent()


def _number(config: Proto, datatype: str) -> int:
    field = config.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"]
    number: int = field.enum_type.values_by_name[datatype].number
    return number


_COMPLETIONS = {
    "onnxruntime": _Completion(_read_onnx, _add_as_onnxruntime, whole=False),
    "openvino": _Completion(_read_openvino, _add_as_openvino, whole=True),
    "tensorflow": _Completion(_read_saved_model, _add_as_tensorflow, whole=True),
}
