"""Sorts the keywords of a call into its target, the call itself and the OpenAI body."""

from collections.abc import Mapping
from typing import Any

from triton_adapter.call import Call
from triton_adapter.errors import BadRequestError, MissingParameterError, UnsupportedParameterError
from triton_adapter.jsontext import dumps
from triton_adapter.openai.parameters import is_number
from triton_adapter.settings import SETTING_TYPES
from triton_adapter.target import Target

# Keywords of a call that are about the call, not about the model.
_CALL = frozenset(
    {
        "allowed_openai_params",
        "api_base",
        "api_key",
        "base_url",
        "custom_llm_provider",
        "drop_params",
        "extra_headers",
        "headers",
        "max_retries",
        "num_retries",
        "request_id",
        "retry_delay",
        "stream_timeout",
        "timeout",
    }
)
# Keywords of LiteLLM without a meaning for Triton -> what to use instead. False and None are accepted.
_ELSEWHERE = {
    "cache": "replies are not cached here; Triton's response cache is a setting of the model",
    "caching": "replies are not cached here; Triton's response cache is a setting of the model",
    "context_window_fallback_dict": "the proxy falls back: context_window_fallbacks in its router_settings",
    "fallbacks": "the proxy falls back: fallbacks in its router_settings",
    "logger_fn": "use the logging of your program",
    "mock_response": "for answers without a model start a triton-emulator and set api_base to its URL",
    "model_list": "the proxy serves a list of models",
    "verbose": "use the logging of your program",
}
_NOT_BODY = frozenset({*SETTING_TYPES, *_CALL, *_ELSEWHERE})
Prompt = str | list[str] | list[int] | list[list[int]]

# Targets by their arguments: what is read about a model is kept for the calls that follow.
_targets: dict[bytes, Target] = {}
_MOST_TARGETS = 1024


def read_arguments(model: str, given: Mapping[str, Any]) -> tuple[Target, dict[str, Any], Call]:
    """Sort a call's keywords; return its target, its body and the rest. A RequestError names a wrong one."""
    provider = given.get("custom_llm_provider")
    if (
        provider not in (None, "triton")
        or not isinstance(model, str)  # type: ignore[redundant-expr]  # callers need not be type-checked
        or not model.removeprefix("triton/")
    ):
        raise BadRequestError("model must be 'triton/NAME'", param="model")
    for name, instead in _ELSEWHERE.items():
        if given.get(name):
            raise UnsupportedParameterError(f"'{name}' is not a parameter here: {instead}", param=name)
    settings = {name: value for name, value in given.items() if name in SETTING_TYPES and value is not None}
    request_kwargs = settings.pop("chat_template_kwargs", None)
    body = {name: _plain(value) for name, value in given.items() if name not in _NOT_BODY}
    body["model"] = model
    if request_kwargs is not None:
        body["chat_template_kwargs"] = request_kwargs
    allowed = given.get("allowed_openai_params") or ()
    if not isinstance(allowed, (list, tuple)):
        raise BadRequestError(
            "'allowed_openai_params' must be a list of names",
            param="allowed_openai_params",
            code="invalid_type",
        )
    call = Call(
        model=model.removeprefix("triton/"),
        request_id=_text(given, "request_id"),
        drop_params=bool(given.get("drop_params")),
        allowed_params=tuple(allowed),
    )
    return _target(model, settings, given), body, call


_JSON = frozenset({str, int, float, bool, dict, type(None)})


def _plain(value: Any) -> Any:
    """Return a value as JSON types, also a reply's message, a pydantic object, a tuple or a numpy array."""
    if type(value) in _JSON:
        return value
    if isinstance(value, type) and hasattr(
        value, "model_json_schema"
    ):  # response_format, as LiteLLM takes it
        holder = {"name": value.__name__, "schema": value.model_json_schema()}
        return {"type": "json_schema", "json_schema": holder}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _JSON else _plain(item) for item in value]
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequestError(f"'{name}' must be a string", param=name, code="invalid_type")
    return value


def forget_targets() -> None:
    """Forget what was read about every model, as if the program began anew."""
    _targets.clear()


def _target(model: str, settings: dict[str, Any], given: Mapping[str, Any]) -> Target:
    api_base = given.get("api_base") or given.get("base_url")
    if not isinstance(api_base, str):
        raise MissingParameterError("api_base is required: the URL of the Triton server", param="api_base")
    headers: dict[str, str] = {}
    for name in ("headers", "extra_headers"):
        found = given.get(name) or {}
        if not isinstance(found, dict) or not all(
            isinstance(text, str) for pair in found.items() for text in pair
        ):
            raise BadRequestError(
                f"'{name}' must be a dictionary of strings", param=name, code="invalid_type"
            )
        headers |= found
    limits: dict[str, Any] = {}
    for name, field, kinds in (
        ("timeout", "timeout", (int, float)),
        ("stream_timeout", "silence", (int, float)),
        ("max_retries", "retries", (int,)),
        ("num_retries", "retries", (int,)),
        ("retry_delay", "retry_delay", (int, float)),
    ):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, kinds) or not is_number(value) or value < 0:
            raise BadRequestError(f"'{name}' must be a number of 0 or more", param=name, code="invalid_value")
        limits[field] = value
    api_key = _text(given, "api_key")
    key = dumps([model, api_base, api_key, headers, settings, limits])
    target = _targets.get(key)
    if target is None:
        while len(_targets) >= _MOST_TARGETS:
            _targets.pop(next(iter(_targets)), None)
        target = _targets[key] = Target.of(
            model, api_base, settings=settings, api_key=api_key, headers=headers, **limits
        )
    return target
