"""Chooses the stand-in that answers for a model: by the model's settings, else by the tensors of its configuration."""

import re
from collections.abc import Callable

from triton_emulator.backends.standins import embedding, llm_tensors, text
from triton_emulator.backends.standins.inline import Hooks, InlineExecutor
from triton_emulator.backends.standins.settings import behaviour_of, drawing_of, embedding_of, number
from triton_emulator.backends.standins.synthetic import IdentityExecutor, SyntheticExecutor
from triton_emulator.engine.executor import Executor, ModelDefinition
from triton_emulator.repository.schema import Proto

#: Backends that cannot run here: their models are answered by stand-ins.
STOOD_IN = frozenset(
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


def stands_in(definition: ModelDefinition) -> bool:
    """Whether a stand-in answers for a model: its settings say so, or its backend cannot run here.

    An unknown backend gets no stand-in, as Triton refuses it too, unless its library is in the model's folder.
    """
    chosen = definition.settings.get("behaviour")
    if chosen is not None:
        return chosen != "python"
    backend = definition.config.backend
    return backend in STOOD_IN or any(definition.directory.rglob(f"libtriton_{backend}.so"))


def load(definition: ModelDefinition, hooks: Hooks | None = None) -> Executor:
    """Make the executor that answers for a model on the event loop.

    Raises LoadError if the settings do not fit the model's configuration.
    """
    chosen = definition.settings.get("behaviour")
    behaviour = fit(definition) if chosen in (None, "python") else str(chosen)
    return _EXECUTORS[behaviour](definition, hooks or Hooks())


def fit(definition: ModelDefinition) -> str:
    """The behaviour that suits a model's tensors: "text", "embedding" or "synthetic"."""
    config = definition.config
    floats = embedding.find_outputs(config)
    contract = llm_tensors.find(config)
    named = [spec.name for spec in floats] + ([definition.name] if contract is None else [])
    if floats and embedding.find_input(config) is not None and any(map(_EMBEDS.search, named)):
        return "embedding"
    return "synthetic" if contract is None else "text"


def _text(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    settings = definition.settings
    contract = text.contract_of(definition, str(settings.get("input", "")), str(settings.get("output", "")))
    return text.TextExecutor(definition, hooks, contract, behaviour_of(settings), drawing_of(settings))


def _embedding(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    settings = definition.settings
    return embedding.EmbeddingExecutor(
        definition, hooks, embedding_of(settings), drawing_of(settings), number(settings, "delay_ms")
    )


def _synthetic(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    settings = definition.settings
    return SyntheticExecutor(definition, hooks, drawing_of(settings), number(settings, "delay_ms"))


def _identity(definition: ModelDefinition, hooks: Hooks) -> InlineExecutor:
    return IdentityExecutor(definition, hooks, number(definition.settings, "delay_ms"))


_EXECUTORS: dict[str, Callable[[ModelDefinition, Hooks], InlineExecutor]] = {
    "text": _text,
    "embedding": _embedding,
    "synthetic": _synthetic,
    "identity": _identity,
}

_FLAG = ("TYPE_BOOL", (1,), True)
#: The tensors that the vLLM backend adds to a config that has none: (datatype, dims, optional) by name.
_VLLM_INPUTS = {
    "text_input": ("TYPE_STRING", (1,), False),
    "image": ("TYPE_STRING", (-1,), True),
    "stream": _FLAG,
    "sampling_parameters": ("TYPE_STRING", (1,), True),
    "exclude_input_in_output": _FLAG,
    "return_finish_reason": _FLAG,
    "return_cumulative_logprob": _FLAG,
    "return_logprobs": _FLAG,
    "return_num_input_tokens": _FLAG,
    "return_num_output_tokens": _FLAG,
}
_VLLM_OUTPUTS = {
    "text_output": ("TYPE_STRING", (-1,)),
    "finish_reason": ("TYPE_STRING", (-1,)),
    "cumulative_logprob": ("TYPE_FP32", (-1,)),
    "logprobs": ("TYPE_STRING", (-1,)),
    "num_input_tokens": ("TYPE_UINT32", (1,)),
    "num_output_tokens": ("TYPE_UINT32", (-1,)),
}


def complete(config: Proto) -> None:
    """Add to a configuration what its backend would add when it loads the model.

    The vLLM backend adds its own tensors, turns Triton's batching off and makes the model decoupled. As there, this
    overrides what the configuration says.
    """
    if config.backend != "vllm":
        return
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
    config.max_batch_size = 0
    config.model_transaction_policy.decoupled = True
