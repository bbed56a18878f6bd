"""Reads one response of a model, from a generate event or from infer tensors, as its binding says. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_adapter.errors import BadGatewayError, InternalServerError
from triton_adapter.jsontext import loads
from triton_adapter.profiles.binding import Binding
from triton_adapter.triton.codec import Tensor

# A backend's word for why it stopped -> OpenAI's. Any other word is reported as a failure.
FINISH_REASONS = {
    "": None,
    "None": None,
    "not_finished": None,
    "NOT_FINISHED": None,
    "stop": "stop",
    "eos_token": "stop",
    "end_id": "stop",
    "stop_words": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}

# OpenAI's largest `n`.
MOST_CHOICES = 128


@dataclass(slots=True)
class Piece:
    """What one response says: one entry per choice in `texts`, `finish`, `counts` and `logprobs`."""

    texts: list[str]
    finish: list[str | None]
    prompt_tokens: int | None = None
    counts: list[int] | None = None
    logprobs: list[Any] | None = None
    index: int | None = None


def from_tensors(binding: Binding, tensors: Mapping[str, Tensor]) -> Piece:
    """Read an infer reply's tensors."""
    return from_event(binding, {name: tensor.values() for name, tensor in tensors.items()})


def from_event(binding: Binding, event: Mapping[str, Any]) -> Piece:
    """Read one generate response. InternalServerError if it is an error; BadGatewayError if it is not an answer."""
    error = event.get("error")
    if error is not None and binding.text not in event:
        raise InternalServerError(error if isinstance(error, str) else "the model failed")
    texts = event.get(binding.text)
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadGatewayError(f"the model's reply holds no text in '{binding.text}'")
    roles = binding.roles
    if not roles:
        return Piece(texts, [], index=_index(event))
    return Piece(
        texts,
        [_reason(word) for word in _list(event, roles.get("finish_reason"))],
        next(iter(_counts(event, roles.get("prompt_tokens"))), None),
        _counts(event, roles.get("completion_tokens")) or None,
        _logprobs(binding, event, len(texts)),
        _index(event),
    )


def _index(event: Mapping[str, Any]) -> int | None:
    index = event.get("sequence_index")
    if not isinstance(index, int):
        return None
    if not 0 <= index < MOST_CHOICES:
        raise BadGatewayError(f"the model answered for choice {index}, but only {MOST_CHOICES} are possible")
    return index


def _list(event: Mapping[str, Any], name: str | None) -> list[Any]:
    if name is None or (value := event.get(name)) is None:
        return []
    return value if isinstance(value, list) else [value]


def _counts(event: Mapping[str, Any], name: str | None) -> list[int]:
    try:
        counts = [int(value) for value in _list(event, name)]
    except (TypeError, ValueError, OverflowError):
        counts = [-1]
    if not all(0 <= count < 2**53 for count in counts):
        raise BadGatewayError(f"the model's '{name}' is not a number of tokens")
    return counts


def _reason(word: Any) -> str | None:
    try:
        return FINISH_REASONS[word]
    except (KeyError, TypeError):
        raise InternalServerError(f"the model stopped early: {word!s}") from None


def _logprobs(binding: Binding, event: Mapping[str, Any], choices: int) -> list[Any] | None:
    """Return per choice a list of tokens, each (text, logprob, alternatives by text)."""
    values = _list(event, binding.roles.get("logprobs"))
    if not values:
        return None
    try:
        if binding.profile.logprobs == "vllm":
            return [[_vllm_token(token) for token in loads(text) or ()] for text in values]
        # Numbers only, of shape [choices, tokens] in the order of the tokens; generate flattens them (2.51).
        size = len(values) // max(1, choices)
        rows = [values[at * size : (at + 1) * size] for at in range(max(1, choices))]
        return [[("", float(number), {}) for number in row] for row in rows]
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise BadGatewayError("the model's log probabilities cannot be read") from error


def _vllm_token(token: Mapping[str, Any]) -> tuple[str, float, dict[str, float]]:
    entries = [(entry.get("decoded_token") or "", float(entry["logprob"])) for entry in token.values()]
    if not all(isinstance(text, str) for text, _ in entries):
        raise TypeError("a token's text is a string")
    chosen = entries[0]  # vLLM lists the sampled token first
    return (*chosen, dict(sorted(entries, key=lambda entry: -entry[1])))
