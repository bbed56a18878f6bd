"""Encodes a prompt and its parameters: to the values of a model's inputs, and those to an HTTP body. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_adapter.errors import MissingParameterError, UnsupportedParameterError
from triton_adapter.jsontext import dumps
from triton_adapter.openai.parameters import CHECKS
from triton_adapter.openai.requests import Generation
from triton_adapter.profiles.binding import Binding
from triton_adapter.profiles.slot import request_parameter
from triton_adapter.tokens import detokenize
from triton_adapter.triton.codec import Tensor, encode_infer


@dataclass(slots=True)
class Sampling:
    """What every prompt of a request has in common: input values, and Triton request parameters."""

    values: dict[str, Any]
    parameters: dict[str, Any]
    packed: dict[str, Any] | None
    max_tokens: int | None
    dropped: list[str] = field(default_factory=list)
    native_n: bool = False


def sampling(
    binding: Binding, request: Generation, *, drop: bool = False, allowed: tuple[str, ...] = ()
) -> Sampling:
    """Put a request's parameters where the model takes them.

    UnsupportedParameterError names the first one that the model has no place for; with `drop`, `dropped` lists them
    all instead.
    Those in `allowed` go as Triton request parameters instead.
    """
    inputs, keys = binding.inputs, binding.profile.packed_keys
    values = {name: value for name, value in binding.constants.items() if name in inputs}
    out = Sampling(values, {}, {} if binding.packed else None, None)
    out.parameters.update((name, value) for name, value in binding.constants.items() if name not in inputs)
    out.parameters.update(request.parameters)
    for name, value in request.sampling.items():
        if not _place(binding, out, name, value):
            _refuse(out, name, value, binding, drop=drop, allowed=allowed)
    if request.stop and binding.supports("stop"):  # in addition, the adapter enforces it
        _place(binding, out, "stop", request.stop)
    if request.n > 1 and binding.supports("n"):
        out.native_n = _place(binding, out, "n", request.n)
    best_of = request.best_of
    if best_of not in (None, request.n) and not _place(binding, out, "best_of", best_of):
        _refuse(out, "best_of", best_of, binding, drop=drop, allowed=allowed)
    for name, value in request.extra.items():
        if name in inputs:
            values[name] = inputs[name].value(name, value)
        elif out.packed is not None and name in keys and name not in request.refused:
            out.packed[keys[name]] = value
        else:
            _refuse(out, name, value, binding, drop=drop, allowed=allowed)
    for name, value in request.body_extra.items():
        if name in inputs:
            values[name] = inputs[name].value(name, value)
        else:
            out.parameters[name] = request_parameter(name, value)
    _limit(binding, out, request)
    _logprobs(binding, out, request, drop=drop)
    _response_format(binding, out, request, drop=drop)
    return out


def prompt_values(binding: Binding, shared: Sampling, prompt: str, *, stream: bool) -> dict[str, Any]:
    """Return the values of every input for one prompt. MissingParameterError names a required input without a value."""
    values = {binding.prompt.name: [prompt] if binding.prompt.takes_list else prompt, **shared.values}
    if shared.packed is not None and binding.packed is not None and binding.packed.name not in values:
        values[binding.packed.name] = dumps(shared.packed).decode()
    if binding.stream is not None and not (binding.bare and binding.by_infer):
        values[binding.stream.name] = stream
    if binding.required and not binding.required <= values.keys():
        missing = next(iter(sorted(binding.required - values.keys())))
        raise MissingParameterError(
            f"model '{binding.info.name}' requires its input '{missing}': pass it by that name", param=missing
        )
    return values


def generate_body(values: Mapping[str, Any], parameters: Mapping[str, Any], request_id: str | None) -> bytes:
    """Return the body of a generate or generate_stream request."""
    body = dict(values)
    if parameters:
        body["parameters"] = parameters
    if request_id:
        body["id"] = request_id
    return dumps(body)


def litellm_body(binding: Binding, values: Mapping[str, Any], parameters: Mapping[str, Any]) -> bytes:
    """Return a generate body in the shape LiteLLM sends to a bare `/generate`: everything but prompt and stream
    inside `parameters`.
    """
    top = (binding.prompt.name, binding.stream.name if binding.stream else "stream")
    body = {name: value for name, value in values.items() if name in top}
    body["parameters"] = {name: value for name, value in values.items() if name not in top} | dict(parameters)
    return dumps(body)


def infer_body(
    binding: Binding,
    values: Mapping[str, Any],
    shared: Sampling,
    outputs: Sequence[str],
    request_id: str | None,
) -> tuple[bytes, Mapping[str, str]]:
    """Return body and headers of an infer request."""
    inputs = binding.inputs
    tensors: list[Tensor] = [inputs[name].tensor(value) for name, value in values.items()]
    return encode_infer(tensors, outputs=outputs, request_id=request_id, parameters=shared.parameters)


def _place(binding: Binding, out: Sampling, name: str, value: Any) -> bool:
    slot = binding.slots.get(name)
    if slot is not None:
        out.values[slot.name] = slot.value(name, value)
        return True
    if name == "logit_bias" and out.packed is None:
        return _bias_words(binding, out, value)
    if out.packed is not None and name in binding.profile.packed_keys:
        out.packed[binding.profile.packed_keys[name]] = value
        return True
    return False


def _bias_words(binding: Binding, out: Sampling, bias: Mapping[str, float]) -> bool:
    """Encode a logit bias as TensorRT-LLM's words and weights; the words need a tokenizer."""
    words, weights = (binding.inputs.get(f"embedding_bias_{part}") for part in ("words", "weights"))
    if words is None or weights is None or not binding.settings.tokenizer:
        return False
    texts = [detokenize([int(token)], binding.settings.tokenizer, param="logit_bias") for token in bias]
    out.values[words.name] = words.value("logit_bias", texts)
    out.values[weights.name] = weights.value("logit_bias", list(bias.values()))
    return True


def _refuse(
    out: Sampling, name: str, value: Any, binding: Binding, *, drop: bool, allowed: tuple[str, ...] = ()
) -> None:
    if name in allowed:
        out.parameters[name] = request_parameter(name, value)
    elif drop:
        out.dropped.append(name)
    else:
        from difflib import get_close_matches

        near = [] if name in CHECKS or name == "logprobs" else get_close_matches(name, CHECKS, 1, 0.8)
        meant = f" Did you mean '{near[0]}'?" if near else ""
        raise UnsupportedParameterError(
            f"'{name}' cannot reach model '{binding.info.name}': it has no input for it.{meant} Leave it out, map it "
            "with parameter_inputs, pass it in extra_body to send it as a Triton request parameter, or set "
            "drop_params.",
            param=name,
        )


def _limit(binding: Binding, out: Sampling, request: Generation) -> None:
    limit = request.sampling.get("max_tokens")
    if limit is None and binding.supports("max_tokens"):
        limit = binding.settings.default_max_tokens
        slot = binding.slots.get("max_tokens")
        if slot is None or slot.name not in out.values:
            _place(binding, out, "max_tokens", limit)
    # The caller may have given the input itself, which says something else.
    given = request.extra.keys() | request.body_extra.keys()
    itself = any(
        one is not None and one.name in given for one in (binding.slots.get("max_tokens"), binding.packed)
    )
    out.max_tokens = None if itself or "max_tokens" in out.dropped else limit


def _logprobs(binding: Binding, out: Sampling, request: Generation, *, drop: bool) -> None:
    if request.logprobs is None:
        return
    profile, flag = binding.profile, binding.inputs.get(binding.profile.logprobs_input)
    if profile.logprobs is None or flag is None or "logprobs" not in binding.roles:
        _refuse(out, "logprobs", True, binding, drop=drop)
        request.logprobs = None
        return
    if profile.logprobs == "numbers" and request.logprobs > 0:
        # The backend gives the probabilities of the chosen tokens only.
        _refuse(out, "top_logprobs", request.logprobs, binding, drop=drop)
        request.logprobs = 0
    out.values[flag.name] = True
    if out.packed is not None:
        out.packed["logprobs"] = request.logprobs


def _response_format(binding: Binding, out: Sampling, request: Generation, *, drop: bool) -> None:
    wanted = request.response_format
    if wanted is None:
        return
    if not binding.guided:
        _refuse(out, "response_format", wanted, binding, drop=drop)
        return
    schema = wanted.get("schema")
    if binding.profile.guided == "guide":
        out.values["guided_decoding_guide_type"] = "json_schema" if schema is not None else "json"
        if schema is not None:
            out.values["guided_decoding_guide"] = dumps(schema).decode()
    elif out.packed is not None:
        form = {"json": schema} if schema is not None else {"json_object": True}
        out.packed[binding.settings.guided_parameter] = dumps(form).decode()
