"""Reads the request of a language model: which input is the prompt, which output the text, what the others mean.

The names are those of NVIDIA's own backends: the TensorRT-LLM ensemble and `tensorrt_llm_bls` (`max_tokens`, ...), its
LLM-API model (`sampling_param_*`), its engine (`input_ids` to `output_ids`, between the two models of a tokenizer) and
the vLLM backend (`sampling_parameters`, a JSON text); then common names of custom models.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from triton_emulator.backends.standins.generator import NO_LIMITS, Limits
from triton_emulator.backends.standins.inline import text_of
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_BYTES = frozenset({"BYTES"})
_BOOL = frozenset({"BOOL"})

#: By meaning: the datatypes and the names of the input. The first name that the model has with such a datatype counts.
ROLES: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "max_tokens": (
        _INTEGERS,
        (
            "max_tokens",
            "sampling_param_max_tokens",
            "request_output_len",
            "max_new_tokens",
            "max_output_tokens",
        ),
    ),
    "min_tokens": (_INTEGERS, ("min_tokens", "sampling_param_min_tokens", "min_length")),
    "n": (
        _INTEGERS,
        ("num_return_sequences", "beam_width", "sampling_param_n", "sampling_param_best_of", "n"),
    ),
    "beams": (_INTEGERS, ("beam_width",)),
    "seed": (_INTEGERS, ("seed", "sampling_param_seed", "random_seed")),
    "stop": (_BYTES, ("stop_words", "sampling_param_stop", "stop", "stop_sequences")),
    "bad_words": (_BYTES, ("bad_words", "sampling_param_bad_words")),
    "stream": (_BOOL, ("stream", "streaming")),
    "exclude_input": (_BOOL, ("exclude_input_in_output", "sampling_param_exclude_input_from_output")),
    "cancel": (_BOOL, ("stop",)),
}

_PROMPTS = (
    "text_input",
    "prompt",
    "prompts",
    "query",
    "question",
    "text",
    "input_text",
    "content",
    "messages",
    "input",
)
_TEXTS = (
    "text_output",
    "generated_text",
    "output_text",
    "completion",
    "answer",
    "response",
    "reply",
    "text",
    "output",
)
_PROMPT_LIKE = re.compile(r"text|prompt|query|question|message|chat|content|instruction", re.IGNORECASE)
_TEXT_LIKE = re.compile(r"text|complet|answer|respon|repl|generat|message|content", re.IGNORECASE)

_RETURN_FLAG = re.compile(r"(?:sampling_param_)?return_(\w+)")

#: The most answers to one request: more are refused, as the event loop makes them all.
MAX_SEQUENCES = 128


class Family(Enum):
    """The backend whose tensor contract a model follows."""

    TRTLLM = "trtllm"
    LLMAPI = "llmapi"
    VLLM = "vllm"
    ENGINE = "engine"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Contract:
    """The tensors of one language model.

    `roles` maps the meaning of an input (a key of ROLES) to the input's name; `flags` maps each input `return_<x>` to
    `<x>`.
    """

    family: Family
    prompt: str
    text: str
    roles: Mapping[str, str]
    flags: Mapping[str, str]
    #: whether an answer begins with its prompt unless the request says otherwise
    echoes: bool


class Row(NamedTuple):
    """What one row of a request asks for; `sequences` is how many answers it wants."""

    prompt: str
    limits: Limits
    sequences: int = 1
    seed: int = 0


class Ask(NamedTuple):
    """A request as a language model reads it. Every row gets `sequences` answers: the most that any row asks for."""

    rows: list[Row]
    sequences: int
    stream: bool
    exclude_input: bool
    #: the `<x>` of every `return_<x>` that is set
    flags: frozenset[str]
    #: vLLM's sampling parameters as given
    sampling: Mapping[str, Any]


def find(config: ModelConfig, prompt: str = "", text: str = "") -> Contract | None:
    """The contract of a model, or None if it does not look like one that turns text into text.

    `prompt` and `text` name its two main tensors; with "", they are found by name.
    """
    inputs = {spec.name: spec for spec in config.inputs}
    source = _choose(config.inputs, prompt, _PROMPTS, _PROMPT_LIKE)
    target = _choose(config.outputs, text, _TEXTS, _TEXT_LIKE)
    family = _family(config, inputs)
    if (source is None or target is None) and not (prompt or text) and _is_engine(config):
        source, target, family = "input_ids", "output_ids", Family.ENGINE
    if source is None or target is None:
        return None
    roles = {}
    for role, (datatypes, names) in ROLES.items():
        for name in names:
            if name in inputs and inputs[name].datatype in datatypes and name != source:
                roles[role] = name
                break
    flags = {name: found[1] for name in inputs if (found := _RETURN_FLAG.fullmatch(name))}
    excluded_by_default = config.parameters.get("exclude_input_in_output", "").lower() in ("true", "1")
    echoes = "exclude_input" in roles and not excluded_by_default and family is not Family.CUSTOM
    return Contract(family, source, target, roles, flags, echoes)


def _choose(
    specs: tuple[TensorSpec, ...], named: str, known: tuple[str, ...], like: re.Pattern[str]
) -> str | None:
    texts = [spec.name for spec in specs if spec.datatype == "BYTES"]
    if named:
        return named if named in texts else None
    lowered = {name.lower(): name for name in reversed(texts)}
    return next(
        (lowered[name] for name in known if name in lowered),
        next((name for name in texts if like.search(name)), None),
    )


def _is_engine(config: ModelConfig) -> bool:
    source, target = config.input("input_ids"), config.output("output_ids")
    return source is not None and target is not None and {source.datatype, target.datatype} <= _INTEGERS


def _family(config: ModelConfig, inputs: Mapping[str, TensorSpec]) -> Family:
    if config.backend == "vllm" or "sampling_parameters" in inputs:
        return Family.VLLM
    if any(name.startswith("sampling_param_") for name in inputs):
        return Family.LLMAPI
    if "max_tokens" in inputs and {"end_id", "stop_words", "beam_width"} & inputs.keys():
        return Family.TRTLLM
    return Family.CUSTOM


def read(contract: Contract, request: InferRequest, *, batched: bool, stream_default: bool) -> Ask:
    """Read what a request asks for.

    Raises TritonError with the text of the model's own backend, if that backend would refuse the request.
    """
    tensors = {tensor.name: tensor for tensor in request.inputs if 0 not in tensor.shape}
    given = {role: tensors[name] for role, name in contract.roles.items() if name in tensors}
    source = tensors.get(contract.prompt)
    if contract.family is Family.ENGINE:
        prompts = _id_prompts(source, tensors.get("input_lengths"), batched=batched)
    else:
        prompts = _prompts(source, batched=batched, every=contract.family is not Family.LLMAPI)
    stream = _flag(given.get("stream"))
    exclude = _flag(given.get("exclude_input"))
    streaming = stream_default if stream is None else stream
    sampling: dict[str, Any] = {}
    if contract.family is Family.VLLM:
        if exclude is False and streaming:
            raise internal(
                "Error generating stream: When streaming, `exclude_input_in_output` = False is not allowed."
            )
        sampling = _sampling_parameters(tensors.get("sampling_parameters"), request)
        rows = [_vllm_row(prompt, sampling) for prompt in prompts]
    else:
        rows = [_row(prompt, index, len(prompts), given) for index, prompt in enumerate(prompts)]
    excluded = (streaming or not contract.echoes) if exclude is None else exclude
    return Ask(rows, _sequences(rows), streaming, excluded, _flags(contract, tensors), sampling)


def read_for_text(contract: Contract, request: InferRequest, *, batched: bool) -> Ask:
    """Read the prompts and the flags of a request whose text is given already: the rest has no effect on it."""
    tensors = {tensor.name: tensor for tensor in request.inputs if 0 not in tensor.shape}
    prompts = _prompts(tensors.get(contract.prompt), batched=batched, every=False)
    rows = [Row(prompt, NO_LIMITS) for prompt in prompts]
    return Ask(rows, 1, stream=False, exclude_input=True, flags=_flags(contract, tensors), sampling={})


def _flags(contract: Contract, tensors: Mapping[str, Tensor]) -> frozenset[str]:
    return frozenset(
        output for name, output in contract.flags.items() if name in tensors and _flag(tensors[name])
    )


def _sequences(rows: list[Row]) -> int:
    """The number of answers for each row. Raises INVALID_ARG if all rows together would get too many."""
    most = rows[0].sequences if len(rows) == 1 else max((row.sequences for row in rows), default=1)
    if most > 1 and most * len(rows) > MAX_SEQUENCES:
        raise invalid_arg(
            f"{most * len(rows)} answers to one request are too many, {MAX_SEQUENCES} are allowed"
        )
    return max(most, 1)


def _prompts(tensor: Tensor | None, *, batched: bool, every: bool) -> list[str]:
    """One prompt per batch row (the row's first element); without batching, one per element.

    `every` false takes only the first element of a model without batching.
    """
    if tensor is None:
        return [""]
    array = tensor.array
    if batched:
        array = array.reshape(len(array), -1)
        return [text_of(row[0]) if len(row) else "" for row in array]
    elements = array.ravel().tolist()
    return [text_of(element) for element in (elements if every else elements[:1])]


def _id_prompts(tensor: Tensor | None, lengths: Tensor | None, *, batched: bool) -> list[str]:
    """Token ids as text, each after a space, so that each is one token. The padding of a row is left out."""
    if tensor is None:
        return [""]
    rows = tensor.array.reshape(tensor.shape[0] if batched else 1, -1)
    ends = lengths.array.ravel().tolist() if lengths is not None else []
    ends += [rows.shape[1]] * (len(rows) - len(ends))
    return [
        "".join(f" {token}" for token in row[:end]) for row, end in zip(rows.tolist(), ends, strict=False)
    ]


def _flag(tensor: Tensor | None) -> bool | None:
    return None if tensor is None else bool(tensor.array.flat[0])


#: roles that concern the whole request, not a single row
_OF_THE_WHOLE = frozenset({"stream", "exclude_input", "cancel"})


def _row(prompt: str, index: int, rows: int, given: Mapping[str, Tensor]) -> Row:
    """What one row asks for. An input without an element per row holds for every row."""
    if given.keys() <= _OF_THE_WHOLE:
        return Row(prompt, NO_LIMITS)

    def integer(role: str, default: int = 0) -> int:
        tensor = given.get(role)
        if tensor is None:
            return default
        array = tensor.array
        return int(array.flat[index if array.size == rows else 0])

    def words(role: str) -> tuple[str, ...]:
        tensor = given.get(role)
        if tensor is None:
            return ()
        array = tensor.array
        array = array[index] if array.ndim > 1 and len(array) == rows else array
        return tuple(text_of(word) for word in array.ravel().tolist() if word)

    limits = Limits(
        integer("max_tokens") if "max_tokens" in given else None,
        integer("min_tokens"),
        stop=words("stop"),
        bad_words=words("bad_words"),
    )
    return Row(prompt, limits, max(integer("n", 1), integer("beams", 1)), integer("seed"))


#: The fields of vLLM's SamplingParams that a request may set, and the backend's own `lora_name`.
_SAMPLING_PARAMS = """
    allowed_token_ids bad_words best_of detokenize early_stopping extra_args frequency_penalty guided_decoding
    ignore_eos include_stop_str_in_output length_penalty logit_bias logprobs lora_name max_tokens min_p min_tokens n
    output_kind presence_penalty prompt_logprobs repetition_penalty seed skip_special_tokens
    spaces_between_special_tokens stop stop_token_ids structured_outputs temperature top_k top_p
    truncate_prompt_tokens use_beam_search
"""
SAMPLING_FIELDS = frozenset(_SAMPLING_PARAMS.split())
#: What Triton itself adds to the parameters of a generate request.
_NOT_SAMPLING = frozenset({"id"})
#: vLLM's own limit for a request that gives none.
VLLM_MAX_TOKENS = 16


def _sampling_parameters(tensor: Tensor | None, request: InferRequest) -> dict[str, Any]:
    """The JSON object in `sampling_parameters`; without that input, the request's own parameters.

    If they are no valid SamplingParams, raises the error that a client of the vLLM backend sees: that backend logs the
    reason and goes on with None.
    """
    given: Any
    if tensor is None:
        given = {name: value for name, value in request.parameters if name not in _NOT_SAMPLING}
    else:
        try:
            given = json.loads(text_of(tensor.array.ravel()[0]))
        except ValueError as error:
            raise internal(f"Error generating stream: {error}") from error
    if not isinstance(given, dict) or not given.keys() <= SAMPLING_FIELDS:
        raise _no_sampling_params()
    return {name: value for name, value in given.items() if value is not None}


def _no_sampling_params() -> TritonError:
    return internal("Error generating stream: 'NoneType' object has no attribute 'lora_name'")


def _vllm_row(prompt: str, sampling: Mapping[str, Any]) -> Row:
    try:
        stop, bad = sampling.get("stop", ()), sampling.get("bad_words", ())
        limits = Limits(
            max_tokens=int(sampling["max_tokens"]) if "max_tokens" in sampling else None,
            min_tokens=int(sampling.get("min_tokens", 0)),
            ignore_eos=bool(sampling.get("ignore_eos", False)),
            stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop)),
            bad_words=tuple(map(str, bad)),
        )
        sequences = int(sampling.get("n", 1))
        if sequences < 1 or (limits.max_tokens is not None and limits.max_tokens < 1):
            raise _no_sampling_params()
        return Row(prompt, limits, sequences, int(sampling.get("seed", 0)))
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_sampling_params() from error
