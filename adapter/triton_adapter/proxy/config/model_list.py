"""Reads one entry of `model_list`: a deployment's name, address, settings and limits."""

import hashlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from triton_adapter.errors import AdapterError
from triton_adapter.generation.chat_template import load_template
from triton_adapter.openai.parameters import checked
from triton_adapter.proxy.config.checks import Checks, Missing
from triton_adapter.proxy.config.schema import LITELLM_PARAMS, REFUSED, RULES, WITHOUT_EFFECT, is_header
from triton_adapter.proxy.config.values import ModelEntry
from triton_adapter.proxy.config.yaml_lines import Path
from triton_adapter.settings import SETTING_TYPES, Settings
from triton_adapter.target import Target
from triton_adapter.tokens import load_tokenizer

Values = Mapping[str, Any]

# Settings that may name a file -> what reads it.
FILES: Mapping[str, Callable[[str], Any]] = {"chat_template": load_template, "tokenizer": load_tokenizer}
DEFAULT_TIMEOUT = 600.0  # seconds
# Keys that an entry must have -> the values that are suggested.
REQUIRED = {"model": "triton/NAME", "api_base": "http://HOST:8000"}
# Keys of litellm_params -> fields of ModelEntry.
FIELDS = {
    "weight": "weight",
    "order": "order",
    "rpm": "rpm",
    "tpm": "tpm",
    "max_parallel_requests": "max_parallel",
    "max_retries": "max_retries",
}


def read_entry(checks: Checks, at: int, item: Any, shared: Values) -> ModelEntry | None:
    """Read entry number `at`; None if there is a mistake in it. `shared` has the settings of all models."""
    path: Path = ("model_list", at)
    before = len(checks.mistakes)
    if not isinstance(item, dict):
        checks.wrong(path, "must be a mapping with model_name and litellm_params")
        return None
    found = checks.section(path, item, "model")
    for key in ("model_name", "litellm_params"):
        if item.get(key) is None:
            checks.wrong(path, f"{key} is missing")
    params = found.get("litellm_params", {})
    here = (*path, "litellm_params")
    known = checks.section(here, params, "litellm_params", [key for key in params if _is_extra(key)])
    settings, defaults = _extras(params, shared)
    if "litellm_params" in found:
        _check_required(checks, here, params)
    _check_extras(checks, here, settings, defaults)
    if "model" in known:
        _check_model(checks, (*here, "model"), known["model"], found.get("model_name", ""))
    if len(checks.mistakes) > before or "model_name" not in found or not REQUIRED.keys() <= known.keys():
        return None
    make_target = _target_maker(known, shared, settings)
    try:
        make_target(known["model"].replace("*", "x"))
    except AdapterError as error:
        checks.wrong((*here, str(error.param) if error.param in params else "model"), error.message)
        return None
    info = found.get("model_info", {})
    return ModelEntry(
        name=found["model_name"],
        model=known["model"],
        api_base=known["api_base"],
        make_target=make_target,
        id=_identifier(checks, at, info, f"{found['model_name']}\n{at}\n{known['model']}"),
        drop_params=bool(known.get("drop_params", shared.get("drop_params"))),
        allowed_params=tuple(known.get("allowed_openai_params", ())),
        defaults=defaults,
        info=info,
        **{field: known[key] for key, field in FIELDS.items() if key in known},
    )


def _is_extra(key: Any) -> bool:
    """Tell a setting or a default of the request's body from a key of `litellm_params` itself."""
    section = "litellm_params"
    if key in RULES[section] or key in WITHOUT_EFFECT[section] or key in REFUSED[section]:
        return False
    # A name that is like a known one is taken for a mistyped one. Any other may be an input of the model.
    return key in LITELLM_PARAMS or not get_close_matches(str(key), LITELLM_PARAMS, 1, 0.8)


def _extras(params: Values, shared: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the adapter and the default parameters of requests."""
    settings = {key: shared[key] for key in ("ssl_verify", "ssl_certificate") if key in shared}
    settings |= {key: value for key, value in params.items() if key in SETTING_TYPES}
    defaults = {key: value for key, value in params.items() if _is_extra(key) and key not in SETTING_TYPES}
    return settings, defaults


def _check_required(checks: Checks, path: Path, params: Values) -> None:
    for key, example in REQUIRED.items():
        if params.get(key) is None:
            checks.wrong(path, f"{key} is missing: write {key}: {example}")


def _check_extras(checks: Checks, path: Path, settings: Values, defaults: Values) -> None:
    for key, value in {**settings, **defaults}.items():
        try:
            if isinstance(value, Missing):
                continue
            if key in settings:
                Settings.read({key: value})
                if value and key in FILES:
                    FILES[key](value)
            elif value is not None:
                checked(key, value)
        except AdapterError as error:
            checks.wrong((*path, key), error.message)


def _check_model(checks: Checks, path: Path, model: str, name: str) -> None:
    bare = model.removeprefix("triton/")
    if model != model.strip("\"'"):
        checks.wrong(path, f"a stray quote: write model: {model.strip(chr(34) + chr(39))}")
    if bare.startswith("<"):
        checks.wrong(path, "a placeholder: write the model's name as Triton has it, model: triton/NAME")
    elif bare == model:
        fix = f"write model: triton/{model}"
        if "/" in model:
            provider = model.partition("/")[0]
            fix = f"only Triton models are served here, not those of '{provider}': write model: triton/NAME"
        checks.wrong(path, fix)
    elif "*" in model and "*" not in name:
        checks.wrong(path, "a model with * needs a model_name with *, such as triton/*")


def _target_maker(known: Values, shared: Values, settings: Values) -> Callable[[str], Target]:
    """Return the function that makes a model's target: a `*` in an entry stands for many models."""
    timeout = known.get("timeout") or shared.get("timeout") or shared.get("request_timeout")
    silence = known.get("stream_timeout") or shared.get("stream_timeout")

    def make_target(model: str) -> Target:
        return Target.of(
            model,
            known["api_base"],
            settings=settings,
            api_key=known.get("api_key"),
            headers={**known.get("headers", {}), **known.get("extra_headers", {})},
            timeout=float(timeout or DEFAULT_TIMEOUT),
            silence=float(silence) if silence else None,
            retries=0,
        )

    return make_target


def _identifier(checks: Checks, at: int, info: Values, entry: str) -> str:
    """Return the deployment's id: the configured one, or one that stays the same while the entry does."""
    if not is_header(str(info.get("id", ""))):
        path = ("model_list", at, "model_info", "id")
        checks.wrong(path, "must be printable ASCII: it is shown in a header")
    return str(info.get("id") or hashlib.sha256(entry.encode()).hexdigest()[:16])
