"""Chooses the stand-in that answers for a model: by the model's settings, else by the tensors of its configuration."""

import re
from collections.abc import Callable
from dataclasses import replace

from triton_emulator.backends.standins import embedding, llm_tensors, text
from triton_emulator.backends.standins.completion import check_against_file, unknown_tensors
from triton_emulator.backends.standins.inline import Hooks, InlineExecutor, latency_seed
from triton_emulator.backends.standins.latency import Delay, Delays, Latency, delay_of
from triton_emulator.backends.standins.measured import Measured
from triton_emulator.backends.standins.settings import (
    FILE_NAME,
    NAMED,
    behaviour_of,
    drawing_of,
    embedding_of,
    no_tensor,
)
from triton_emulator.backends.standins.synthetic import IdentityExecutor, SyntheticExecutor, unmatched_outputs
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.protocol.errors import internal
from triton_emulator.repository.schema import Proto

#: The backends of Triton's releases that cannot run here.
KNOWN = frozenset(
    {
        "dali",
        "fil",
        "onnxruntime",
        "openvino",
        "pytorch",
        "tensorflow",
        "tensorrt",
        "tensorrt_llm",
        "tensorrtllm",
        "vllm",
    }
)

_EMBEDS = re.compile(r"embed|vector|pooler|sentence", re.IGNORECASE)


def stands_in(definition: ModelDefinition, *, unasked: bool = True) -> bool:
    """Whether a stand-in answers for a model: its settings say so, or its backend cannot run here.

    With `unasked` False only the settings count.
    """
    chosen = definition.settings.get("behaviour")
    if chosen is not None:
        return chosen != "python"
    config = definition.config
    return unasked and not (config.is_ensemble or config.backend == "python")


def load(definition: ModelDefinition, hooks: Hooks | None = None) -> InlineExecutor:
    """Make the executor that answers for a model on the event loop.

    Raises LoadError if the settings do not fit the model's configuration, TritonError if the model's file does not.
    """
    if text := unknown_tensors(definition.config.proto, definition):
        raise LoadError(f"Invalid argument: {text}")
    check_against_file(definition)
    _check_names(definition)
    if "slots" in definition.settings and definition.config.proto.HasField("sequence_batching"):
        raise LoadError(
            f"Invalid argument: 'slots' in {FILE_NAME}: model '{definition.name}' has sequence_batching, which gives "
            "its own slots to sequences"
        )
    return _EXECUTORS[behaviour(definition)](definition, hooks or Hooks())


def _check_names(definition: ModelDefinition) -> None:
    """Raise LoadError if 'input' or 'output' of the settings names a tensor that the model does not have."""
    if behaviour(definition) not in NAMED:
        return
    config = definition.config
    for side, specs in (("input", config.inputs), ("output", config.outputs)):
        given, known = definition.settings.get(side), [spec.name for spec in specs]
        if given and given not in known:
            text = no_tensor(definition.name, side, str(given), known)
            raise LoadError(f"Invalid argument: '{side}' in {FILE_NAME}: {text}")


def behaviour(definition: ModelDefinition) -> str:
    """What a stand-in does for a model: what its settings say, else what suits its tensors."""
    chosen = definition.settings.get("behaviour")
    return fit(definition) if chosen in (None, "python") else str(chosen)


def fit(definition: ModelDefinition) -> str:
    """The behaviour that suits a model's tensors: "text", "embedding", "synthetic"; "identity" for that backend."""
    config = definition.config
    if config.backend == "identity" and not unmatched_outputs(config):
        return "identity"
    floats = embedding.find_outputs(config)
    contract = llm_tensors.find(config)
    named = [spec.name for spec in floats] + ([definition.name] if contract is None else [])
    if floats and embedding.find_input(config) is not None and any(map(_EMBEDS.search, named)):
        return "embedding"
    return "synthetic" if contract is None else "text"


def _text(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    settings = definition.settings
    contract = text.contract_of(definition, str(settings.get("input", "")), str(settings.get("output", "")))
    behaviour = behaviour_of(settings)
    measured = settings.get("latency_from")
    if isinstance(measured, Measured):
        if measured.first is None or measured.rest is None:
            raise _untold(
                definition, measured, "latencies of tokens, as the JSON of genai-perf or aiperf has"
            )
        if "time_to_first_token_ms" not in settings:
            behaviour = replace(behaviour, time_to_first_token_ms=measured.first)
        if "time_per_token_ms" not in settings:
            behaviour = replace(behaviour, time_per_token_ms=measured.rest)
    return text.TextExecutor(definition, hooks, contract, behaviour, drawing_of(settings))


def _untold(definition: ModelDefinition, measured: Measured, what: str) -> LoadError:
    return LoadError(
        f"Invalid argument: 'latency_from' in {FILE_NAME}: {measured.path} has no {what}, which model "
        f"'{definition.name}' needs, whose behaviour is {behaviour(definition)}"
    )


def _delay(definition: ModelDefinition) -> Delay:
    """How long a model takes that is no language model."""
    settings = definition.settings
    given, measured = settings.get("delay_ms"), settings.get("latency_from")
    seed = latency_seed(definition)
    if given is None and isinstance(measured, Measured):
        if not measured.whole:
            raise _untold(definition, measured, "latencies of whole requests (request_latency)")
        return Delays(measured.whole, seed)
    return delay_of(given if isinstance(given, Latency) else float(str(given or 0)), seed)


def _embedding(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    settings = definition.settings
    return embedding.EmbeddingExecutor(
        definition, hooks, embedding_of(settings), drawing_of(settings), _delay(definition)
    )


def _synthetic(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    settings = definition.settings
    return SyntheticExecutor(definition, hooks, drawing_of(settings), _delay(definition))


def _identity(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    return IdentityExecutor(definition, hooks, _delay(definition))


_EXECUTORS: dict[str, Callable[[ModelDefinition, Hooks], InlineExecutor]] = {
    "text": _text,
    "embedding": _embedding,
    "synthetic": _synthetic,
    "identity": _identity,
}

_FLAG = ("TYPE_BOOL", (1,), True)
#: The tensors that the vLLM backend of 24.10 adds to a config that lacks them: (datatype, dims, optional) by name.
_VLLM_INPUTS = {
    "text_input": ("TYPE_STRING", (1,), False),
    "stream": _FLAG,
    "sampling_parameters": ("TYPE_STRING", (1,), True),
    "exclude_input_in_output": _FLAG,
}
_VLLM_OUTPUTS = {"text_output": ("TYPE_STRING", (-1,))}
#: where an error text says that the backend failed: its file and line in NVIDIA's image (the paths are unproven)
_VLLM_FAILED = (
    "ValueError: {}\n\nAt:\n  /opt/tritonserver/backends/python/triton_python_backend_utils.py({}): {}\n"
    "  /opt/tritonserver/backends/vllm/model.py({}): auto_complete_config\n"
)


def complete(config: Proto) -> None:
    """Add to a configuration what its backend would add when it loads the model.

    The vLLM backend makes the model decoupled, turns Triton's batching off, and adds the tensors that are missing. As
    there, a config that says otherwise is refused. Raises INTERNAL.
    """
    if config.backend != "vllm":
        return
    if config.HasField("model_transaction_policy") and not config.model_transaction_policy.decoupled:
        what = (
            f"trying to change decoupled property in auto-complete-config for model '{config.name}', "
            "which is already set to 'False'."
        )
        raise internal(_VLLM_FAILED.format(what, 592, "set_model_transaction_policy", 98))
    if config.max_batch_size > 0:
        what = (
            f"configuration specified max_batch_size {config.max_batch_size}, "
            f"but in auto-complete-config function for model '{config.name}' specified max_batch_size 0"
        )
        raise internal(_VLLM_FAILED.format(what, 335, "set_max_batch_size", 101))
    types = (
        config.DESCRIPTOR.fields_by_name["input"]
        .message_type.fields_by_name["data_type"]
        .enum_type.values_by_name
    )
    present = {tensor.name for tensor in config.input}
    for name, (datatype, dims, optional) in _VLLM_INPUTS.items():
        if name not in present:
            config.input.add(name=name, data_type=types[datatype].number, dims=dims, optional=optional)
    present = {tensor.name for tensor in config.output}
    for name, (datatype, dims) in _VLLM_OUTPUTS.items():
        if name not in present:
            config.output.add(name=name, data_type=types[datatype].number, dims=dims)
    config.model_transaction_policy.decoupled = True
