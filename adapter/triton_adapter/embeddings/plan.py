"""How a model embeds: which input takes texts or tokens, which output gives vectors, how many fit in a request."""

from dataclasses import dataclass

from triton_adapter.errors import BadRequestError
from triton_adapter.profiles.slot import Slot
from triton_adapter.settings import Settings
from triton_adapter.target import Target
from triton_adapter.triton.discovery import ModelInfo, TensorSpec

# Rows in one request to a model that accepts any number of them.
FREE_BATCH = 64
TEXT_INPUTS = ("input_text", "text_input", "text", "TEXT", "input", "INPUT", "INPUT0", "sentence", "query")
TOKEN_INPUTS = ("input_ids", "INPUT_IDS", "tokens", "token_ids")
OUTPUTS = (
    "sentence_embedding",
    "embeddings",
    "embedding",
    "EMBEDDING",
    "EMBEDDINGS",
    "pooler_output",
    "output",
)
NUMBERS = frozenset({"FP16", "BF16", "FP32", "FP64"})
INTEGERS = frozenset({"INT32", "INT64", "UINT32", "UINT64"})
# Inputs whose values follow from the tokens: name -> value for every token.
COMPANIONS = {"attention_mask": 1, "token_type_ids": 0}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model embeds: `kind` is text, tokens or vllm; `rows` is the most inputs in one request."""

    info: ModelInfo | None
    kind: str
    slot: Slot
    output: str | None
    rows: int
    bare: str | None = None


def make_plan(info: ModelInfo | None, target: Target) -> Plan:
    """Find the input for texts or tokens and the output for vectors. BadRequestError if the model has none."""
    settings = target.settings
    if info is None:
        name = settings.embedding_input or "input_text"
        slot = Slot.of(TensorSpec(name, "BYTES", (-1,)), batched=False)
        return Plan(
            None,
            "text",
            slot,
            settings.embedding_output,
            settings.max_batch_size or FREE_BATCH,
            _bare(target),
        )
    if "embedding_request" in info.inputs and settings.embedding_input is None:
        slot = Slot.of(info.inputs["embedding_request"], batched=False)
        return Plan(info, "vllm", slot, settings.text_output or "text_output", 1)
    name = settings.embedding_input or _input(info)
    if name not in info.inputs:
        raise BadRequestError(f"model '{info.name}' has no input '{name}'", param="embedding_input")
    spec = info.inputs[name]
    batched = info.max_batch_size > 0
    slot = Slot.of(spec, batched=batched)
    kind = "text" if spec.datatype == "BYTES" else "tokens"
    most = settings.max_batch_size or FREE_BATCH
    if kind == "tokens" or info.decoupled:
        rows = 1
    elif batched:
        rows = min(info.max_batch_size, settings.max_batch_size or info.max_batch_size)
    else:
        rows = most if len(spec.dims) == 1 and spec.dims[0] < 0 else 1
    return Plan(info, kind, slot, _output(info, settings), rows)


def _bare(target: Target) -> str:
    return target.api_base.bare or target.url("infer")


def _input(info: ModelInfo) -> str:
    strings = [name for name, spec in info.inputs.items() if spec.datatype == "BYTES"]
    tokens = [
        name for name, spec in info.inputs.items() if spec.datatype in INTEGERS and name not in COMPANIONS
    ]
    for candidates, present in ((TEXT_INPUTS, strings), (TOKEN_INPUTS, tokens)):
        if name := next((name for name in candidates if name in present), None):
            return name
    if name := next(iter([*strings, *tokens]), None):
        return name
    raise BadRequestError(f"model '{info.name}' takes neither text nor tokens", param="model")


def _output(info: ModelInfo, settings: Settings) -> str:
    if settings.embedding_output:
        if settings.embedding_output not in info.outputs:
            known = ", ".join(info.outputs)
            raise BadRequestError(
                f"model '{info.name}' has no output '{settings.embedding_output}'; it has {known}",
                param="embedding_output",
            )
        return settings.embedding_output
    numbers = [name for name, spec in info.outputs.items() if spec.datatype in NUMBERS]
    name = next((name for name in OUTPUTS if name in numbers), None) or next(iter(numbers), None)
    if name is None:
        raise BadRequestError(f"model '{info.name}' has no output of floating-point numbers", param="model")
    return name
