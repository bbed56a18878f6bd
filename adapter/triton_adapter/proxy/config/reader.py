"""Reads LiteLLM's `config.yaml`. All mistakes are reported at once, each with its line and its fix."""

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any

from triton_adapter.proxy.config.checks import Checks
from triton_adapter.proxy.config.model_list import read_entry
from triton_adapter.proxy.config.schema import COUNT, RETRY_POLICY, STRATEGIES
from triton_adapter.proxy.config.values import Config, ConfigError, Mistake, ModelEntry, RouterConfig
from triton_adapter.proxy.config.yaml_lines import Path, YamlError, load

Values = Mapping[str, Any]

# Keys of general_settings -> fields of Config, and what makes the field's value.
GENERAL: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "completion_model": ("completion_model", str),
    "max_request_size_mb": ("max_body", lambda megabytes: int(megabytes * (1 << 20))),
    "cors_allow_origins": ("cors_allow_origins", tuple),
    "drain_seconds": ("drain_seconds", float),
    "client_header_timeout": ("head_timeout", float),
    "client_body_timeout": ("body_timeout", float),
    "send_timeout": ("send_timeout", float),
}
# Keys of general_settings that limit the requests under way: the first that is set counts.
PARALLEL = ("global_max_parallel_requests", "max_in_flight_requests_per_worker", "max_parallel_requests")
# Keys of router_settings that are fields of RouterConfig.
ROUTER = ("num_retries", "retry_after", "allowed_fails", "cooldown_time")


def read_file(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Config:
    """Read a config file. ConfigError lists all mistakes."""
    name = os.fspath(path)
    try:
        text = File(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError([Mistake(f"the file cannot be read: {reason}")], name) from error
    return read_config(text, environ, file=name)


def read_config(text: str, environ: Mapping[str, str] | None = None, *, file: str = "config.yaml") -> Config:
    """Read a config. ConfigError lists all mistakes.

    `environ` has the values of `os.environ/NAME`; without it they come from the environment of this process.
    """
    try:
        document = load(text)
    except YamlError as error:
        raise ConfigError([Mistake(f"this is not YAML: {error.message}", error.line)], file) from error
    checks = Checks(document, os.environ if environ is None else environ, file)
    config = _read(checks)
    if config is None or checks.mistakes:
        raise ConfigError(sorted(checks.mistakes, key=lambda mistake: mistake.line or 0), file)
    return config


def _read(checks: Checks) -> Config | None:
    """Read the whole config; None if there are mistakes."""
    data = checks.document.data
    if not isinstance(data, dict):
        checks.wrong((), "a config is a mapping that begins with model_list:")
        return None
    own = data.get("environment_variables")
    if isinstance(own, dict):
        checks.environ = {**checks.environ, **{str(name): str(value) for name, value in own.items()}}
    top = checks.section((), checks.resolved((), data), "")
    if data.get("model_list") is None:
        checks.wrong((), "there is no model_list: nothing could be served")
    general, litellm, routing = (
        checks.section((name,), top.get(name) or {}, name)
        for name in ("general_settings", "litellm_settings", "router_settings")
    )
    shared = {**litellm, **routing}
    found = [read_entry(checks, at, item, shared) for at, item in enumerate(top.get("model_list", ()))]
    entries = [entry for entry in found if entry is not None]
    router = _router(checks, shared, entries, general.get("completion_model"))
    _check_callbacks(checks, litellm)
    database = _database(checks, general)
    if checks.mistakes:
        return None
    own_key = "master_key" in general
    return Config(
        models=tuple(entries),
        router=router,
        master_key=general.get("master_key") or checks.environ.get("LITELLM_MASTER_KEY") or None,
        master_key_line=checks.document.line(("general_settings", "master_key")) if own_key else None,
        database=database,
        max_parallel_requests=next((general[key] for key in PARALLEL if general.get(key)), None),
        open_metrics=litellm.get("require_auth_for_metrics_endpoint") is False,
        warnings=tuple(checks.warnings),
        **{field: make(general[key]) for key, (field, make) in GENERAL.items() if key in general},
    )


def _router(
    checks: Checks, given: Values, entries: list[ModelEntry], completion_model: str | None
) -> RouterConfig:
    found = {key: given[key] for key in ROUTER if key in given}
    if given.get("disable_cooldowns"):
        found["cooldown_time"] = 0
    aliases = given.get("model_group_alias", {})
    named = {name: to if isinstance(to, str) else to["model"] for name, to in aliases.items()}
    config = RouterConfig(
        strategy=given.get("routing_strategy", STRATEGIES[0]),
        fallbacks=_fallbacks(given.get("fallbacks", [])),
        context_window_fallbacks=_fallbacks(given.get("context_window_fallbacks", [])),
        default_fallbacks=tuple(given.get("default_fallbacks", ())),
        aliases=named,
        hidden_aliases=frozenset(
            name for name, to in aliases.items() if isinstance(to, dict) and to.get("hidden")
        ),
        retry_policy=_retry_policy(checks, given.get("retry_policy", {})),
        **found,
    )
    if entries and not checks.mistakes:
        _check_references(checks, config, completion_model, [*(entry.name for entry in entries), *named])
    return config


def _fallbacks(given: list[dict[str, list[str]]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(others) for item in given for name, others in item.items()}


def _retry_policy(checks: Checks, given: Values) -> dict[str, int]:
    path: Path = ("router_settings", "retry_policy")
    accepts, expected = COUNT
    found = {}
    for key, value in given.items():
        if key not in RETRY_POLICY:
            checks.unknown((*path, key), key, list(RETRY_POLICY))
        elif not accepts(value):
            checks.wrong((*path, key), f"must be {expected}")
        else:
            found[RETRY_POLICY[key]] = value
    return found


def _check_references(
    checks: Checks, config: RouterConfig, completion_model: str | None, known: list[str]
) -> None:
    """Report names in the settings that no model and no alias has."""
    if any("*" in name for name in known):
        return
    uses = {
        "model_group_alias": list(config.aliases.values()),
        "fallbacks": _listed(config.fallbacks),
        "context_window_fallbacks": _listed(config.context_window_fallbacks),
        "default_fallbacks": list(config.default_fallbacks),
        "completion_model": [] if completion_model is None else [completion_model],
    }
    sections = ("router_settings", "litellm_settings", "general_settings")
    for key, names in uses.items():
        section = next(
            (name for name in sections if (name, key) in checks.document.lines), "general_settings"
        )
        for name in names:
            if name not in known:
                close = get_close_matches(name, known, 1, 0.5)
                hint = f"; did you mean {close[0]}?" if close else ""
                checks.wrong((section, key), f"no model_name is '{name}'{hint}")


def _listed(fallbacks: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [name for names in fallbacks.values() for name in names]


def _check_callbacks(checks: Checks, litellm: Values) -> None:
    for key in ("callbacks", "success_callback", "failure_callback"):
        given = litellm.get(key) or []
        for name in given if isinstance(given, list) else [given]:
            if name != "prometheus":  # the metrics are always on
                checks.warn(("litellm_settings", key), f"{key}: '{name}' has no effect: use /metrics")


def _database(checks: Checks, general: Values) -> str | None:
    """Return the path of the key store's file, from a URL such as `sqlite:///keys.db`."""
    url = general.get("database_url")
    if url is None:
        return None
    where, path = ("general_settings", "database_url"), str(url).removeprefix("sqlite:///")
    if path in (url, ""):
        checks.wrong(where, "keys are kept in a SQLite file: write database_url: sqlite:///keys.db")
    elif not File(path).parent.is_dir():
        checks.wrong(where, f"there is no folder {File(path).parent}: make it first")
    return path
