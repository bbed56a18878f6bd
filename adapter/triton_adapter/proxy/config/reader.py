"""Reading LiteLLM's `config.yaml`. Every mistake is told with its line and its fix, all at once."""

import hashlib
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any

from triton_adapter.errors import AdapterError
from triton_adapter.generation.chat_template import load_template
from triton_adapter.openai.parameters import checked
from triton_adapter.proxy.config.schema import (
    COUNT,
    LITELLM_PARAMS,
    REFUSED,
    RETRY_POLICY,
    RULES,
    STRATEGIES,
    WITHOUT_EFFECT,
    is_header,
)
from triton_adapter.proxy.config.values import Config, ConfigError, Mistake, ModelEntry, RouterConfig
from triton_adapter.proxy.config.yaml_lines import Document, Path, YamlError, load
from triton_adapter.settings import SETTING_TYPES, Settings
from triton_adapter.target import Target
from triton_adapter.tokens import load_tokenizer

ENVIRON = "os.environ/"
# Settings that may name a file -> what reads it.
FILES: Mapping[str, Callable[[str], Any]] = {"chat_template": load_template, "tokenizer": load_tokenizer}
DEFAULT_TIMEOUT = 600.0


def read_file(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Config:
    """Read a config file. ConfigError says all that is wrong with it."""
    name = os.fspath(path)
    try:
        text = File(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError([Mistake(f"the file cannot be read: {reason}")], name) from error
    return read_config(text, environ, file=name)


def read_config(text: str, environ: Mapping[str, str] | None = None, *, file: str = "config.yaml") -> Config:
    """Read a config. `environ` is what `os.environ/NAME` means. ConfigError says all that is wrong with it."""
    try:
        document = load(text)
    except YamlError as error:
        raise ConfigError([Mistake(f"this is not YAML: {error.message}", error.line)], file) from error
    reader = _Reader(document, os.environ if environ is None else environ, file)
    config = reader.read()
    if reader.mistakes:
        raise ConfigError(sorted(reader.mistakes, key=lambda mistake: mistake.line or 0), file)
    assert config is not None  # noqa: S101 - there is a mistake otherwise
    return config


class _Missing:
    """What stands where an environment variable should: told once, then left alone."""


_MISSING = _Missing()


class _Reader:
    def __init__(self, document: Document, environ: Mapping[str, str], file: str) -> None:
        self.document = document
        self.environ = environ
        self.file = file
        self.mistakes: list[Mistake] = []
        self.warnings: list[str] = []

    def read(self) -> Config | None:
        data = self.document.data
        if not isinstance(data, dict):
            self.wrong((), "a config is a mapping that begins with model_list:")
            return None
        own = data.get("environment_variables")
        if isinstance(own, dict):
            self.environ = {**self.environ, **{str(name): str(value) for name, value in own.items()}}
        top = self.section((), self.resolved((), data), "")
        if data.get("model_list") is None:
            self.wrong((), "there is no model_list: nothing could be served")
        general = self.named(top, "general_settings")
        litellm = self.named(top, "litellm_settings")
        shared = {**litellm, **self.named(top, "router_settings")}
        found = [self.entry(at, item, shared) for at, item in enumerate(top.get("model_list", ()))]
        entries = [entry for entry in found if entry is not None]
        router = self.router(shared, entries)
        self.callbacks(litellm)
        if self.mistakes:
            return None
        parallel = general.get("global_max_parallel_requests") or general.get(
            "max_in_flight_requests_per_worker"
        )
        return Config(
            models=tuple(entries),
            router=router,
            master_key=general.get("master_key") or self.environ.get("LITELLM_MASTER_KEY") or None,
            master_key_line=self.document.line(("general_settings", "master_key"))
            if "master_key" in general
            else None,
            database=self.database(general),
            completion_model=general.get("completion_model"),
            max_parallel_requests=parallel or general.get("max_parallel_requests"),
            max_body=int(general.get("max_request_size_mb", 64) * (1 << 20)),
            cors_allow_origins=tuple(general.get("cors_allow_origins", ("*",))),
            open_metrics=litellm.get("require_auth_for_metrics_endpoint") is False,
            drain_seconds=float(general.get("drain_seconds", 30)),
            head_timeout=float(general.get("client_header_timeout", 60)),
            body_timeout=float(general.get("client_body_timeout", 60)),
            send_timeout=float(general.get("send_timeout", 60)),
            warnings=tuple(self.warnings),
        )

    def wrong(self, path: Path, message: str) -> None:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        self.mistakes.append(Mistake(message, self.document.line(path), where))

    def resolved(self, path: Path, value: Any) -> Any:
        """Return a value with every `os.environ/NAME` in it replaced."""
        if isinstance(value, dict):
            return {key: self.resolved((*path, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved((*path, at), item) for at, item in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(ENVIRON):
            return value
        name = value.removeprefix(ENVIRON)
        if self.environ.get(name):
            return self.environ[name]
        state = "empty" if name in self.environ else "not set"
        self.wrong(path, f"the environment variable {name} is {state}: export {name}=... before starting")
        return _MISSING

    def named(self, top: Mapping[str, Any], name: str) -> dict[str, Any]:
        return self.section((name,), top.get(name) or {}, name)

    def section(self, path: Path, given: Any, name: str, extra: Any = ()) -> dict[str, Any]:
        """Return what a mapping holds of a section's known keys, checked; tell the rest."""
        rules, found = RULES[name], {}
        for key, value in given.items():
            here = (*path, key)
            if key in extra or isinstance(value, _Missing):
                continue
            if key in WITHOUT_EFFECT.get(name, {}):
                line = self.document.line(here)
                self.warnings.append(f"{self.file}:{line}: {key} has no effect: {WITHOUT_EFFECT[name][key]}")
            elif key in REFUSED.get(name, {}):
                self.wrong(here, f"not supported; {REFUSED[name][key]}")
            elif key not in rules:
                self.unknown(here, key, LITELLM_PARAMS if name == "litellm_params" else rules)
            elif value is None:
                continue
            elif not rules[key][0](value):
                self.wrong(here, f"must be {rules[key][1]}")
            else:
                found[key] = value
        return found

    def unknown(self, path: Path, key: Any, known: Any) -> None:
        close = get_close_matches(str(key), known, 1, 0.6)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
        self.wrong(path, f"unknown key; {hint}")

    def entry(self, at: int, item: Any, shared: Mapping[str, Any]) -> ModelEntry | None:
        path: Path = ("model_list", at)
        before = len(self.mistakes)
        if not isinstance(item, dict):
            self.wrong(path, "must be a mapping with model_name and litellm_params")
            return None
        found = self.section(path, item, "model")
        for key in ("model_name", "litellm_params"):
            if item.get(key) is None:
                self.wrong(path, f"{key} is missing")
        params = found.get("litellm_params", {})
        here = (*path, "litellm_params")
        known = self.section(here, params, "litellm_params", [key for key in params if self.is_extra(key)])
        for key in ("model", "api_base"):
            if "litellm_params" in found and params.get(key) is None:
                fix = "triton/NAME" if key == "model" else "http://HOST:8000"
                self.wrong(here, f"{key} is missing: write {key}: {fix}")
        settings = {key: shared[key] for key in ("ssl_verify", "ssl_certificate") if key in shared}
        settings |= {key: value for key, value in params.items() if key in SETTING_TYPES}
        defaults = {
            key: value for key, value in params.items() if self.is_extra(key) and key not in SETTING_TYPES
        }
        self.extras(here, settings, defaults)
        if "model" in known:
            self.model_name((*here, "model"), known["model"], found.get("model_name", ""))
        if (
            len(self.mistakes) > before
            or "model_name" not in found
            or not {"model", "api_base"} <= known.keys()
        ):
            return None
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

        try:
            make_target(known["model"].replace("*", "x"))
        except AdapterError as error:
            key = str(error.param) if error.param in params else "model"
            self.wrong((*here, key), error.message)
            return None
        name, info = found["model_name"], found.get("model_info", {})
        if not is_header(str(info.get("id", ""))):
            self.wrong((*path, "model_info", "id"), "must be printable ASCII: it is shown in a header")
        identity = f"{name}\n{at}\n{known['model']}".encode()
        return ModelEntry(
            name=name,
            model=known["model"],
            api_base=known["api_base"],
            make_target=make_target,
            id=str(info.get("id") or hashlib.sha256(identity).hexdigest()[:16]),
            weight=known.get("weight"),
            order=known.get("order", 0),
            rpm=known.get("rpm"),
            tpm=known.get("tpm"),
            max_parallel=known.get("max_parallel_requests"),
            max_retries=known.get("max_retries"),
            drop_params=known.get("drop_params", shared.get("drop_params", False)),
            allowed_params=tuple(known.get("allowed_openai_params", ())),
            defaults=defaults,
            info=info,
        )

    @staticmethod
    def is_extra(key: Any) -> bool:
        """Tell a setting or a default of the request's body from a key of `litellm_params` itself."""
        section = "litellm_params"
        if key in RULES[section] or key in WITHOUT_EFFECT[section] or key in REFUSED[section]:
            return False
        # A name like a known one is taken for a slip; any other may be an input of the model.
        return key in LITELLM_PARAMS or not get_close_matches(str(key), LITELLM_PARAMS, 1, 0.8)

    def extras(self, path: Path, settings: dict[str, Any], defaults: dict[str, Any]) -> None:
        for key, value in {**settings, **defaults}.items():
            try:
                if isinstance(value, _Missing):
                    continue
                if key in settings:
                    Settings.read({key: value})
                    if value and key in FILES:
                        FILES[key](value)
                elif value is not None:
                    checked(key, value)
            except AdapterError as error:
                self.wrong((*path, key), error.message)

    def model_name(self, path: Path, model: str, name: str) -> None:
        bare = model.removeprefix("triton/")
        if model != model.strip("\"'"):
            self.wrong(path, f"a stray quote: write model: {model.strip(chr(34) + chr(39))}")
        if bare.startswith("<"):
            self.wrong(path, "a placeholder: write the model's name as Triton has it, model: triton/NAME")
        elif bare == model:
            provider = model.partition("/")[0]
            fix = f"write model: triton/{model}"
            if "/" in model:
                fix = (
                    f"only Triton models are served here, not those of '{provider}': write model: triton/NAME"
                )
            self.wrong(path, fix)
        elif "*" in model and "*" not in name:
            self.wrong(path, "a model with * needs a model_name with *, such as triton/*")

    def router(self, given: dict[str, Any], entries: list[ModelEntry]) -> RouterConfig:
        found = {
            key: given[key]
            for key in ("num_retries", "retry_after", "allowed_fails", "cooldown_time")
            if key in given
        }
        if given.get("disable_cooldowns"):
            found["cooldown_time"] = 0
        aliases = given.get("model_group_alias", {})
        named = {name: to if isinstance(to, str) else to["model"] for name, to in aliases.items()}
        known = [entry.name for entry in entries]
        config = RouterConfig(
            strategy=given.get("routing_strategy", STRATEGIES[0]),
            fallbacks=_fallbacks(given.get("fallbacks", [])),
            context_window_fallbacks=_fallbacks(given.get("context_window_fallbacks", [])),
            default_fallbacks=tuple(given.get("default_fallbacks", ())),
            aliases=named,
            hidden_aliases=frozenset(
                name for name, to in aliases.items() if isinstance(to, dict) and to.get("hidden")
            ),
            retry_policy=self.retry_policy(given.get("retry_policy", {})),
            **found,
        )
        if entries and not self.mistakes:
            self.references(config, [*known, *named])
        return config

    def retry_policy(self, given: dict[str, Any]) -> dict[str, int]:
        path: Path = ("router_settings", "retry_policy")
        found = {}
        for key, value in given.items():
            if key not in RETRY_POLICY:
                self.unknown((*path, key), key, list(RETRY_POLICY))
            elif not COUNT[0](value):
                self.wrong((*path, key), f"must be {COUNT[1]}")
            else:
                found[RETRY_POLICY[key]] = value
        return found

    def references(self, config: RouterConfig, known: list[str]) -> None:
        """Tell names that the router is given and that nothing has."""
        wildcards = any("*" in name for name in known)
        uses = {
            "model_group_alias": config.aliases.values(),
            "fallbacks": [name for names in config.fallbacks.values() for name in names],
            "context_window_fallbacks": [
                name for names in config.context_window_fallbacks.values() for name in names
            ],
            "default_fallbacks": config.default_fallbacks,
        }
        for key, names in uses.items():
            for name in names:
                if name not in known and not wildcards:
                    close = get_close_matches(name, known, 1, 0.5)
                    hint = f"; did you mean {close[0]}?" if close else ""
                    section = "litellm_settings"
                    if self.document.lines.get(("router_settings", key)):
                        section = "router_settings"
                    self.wrong((section, key), f"no model_name is '{name}'{hint}")

    def callbacks(self, litellm: dict[str, Any]) -> None:
        for key in ("callbacks", "success_callback", "failure_callback"):
            given = litellm.get(key) or []
            for name in given if isinstance(given, list) else [given]:
                if name != "prometheus":  # always on
                    line = self.document.line(("litellm_settings", key))
                    self.warnings.append(f"{self.file}:{line}: {key}: '{name}' has no effect: use /metrics")

    def database(self, general: dict[str, Any]) -> str | None:
        url = general.get("database_url")
        if url is None:
            return None
        where, path = ("general_settings", "database_url"), str(url).removeprefix("sqlite:///")
        if path in (url, ""):
            self.wrong(where, "keys are kept in a SQLite file: write database_url: sqlite:///keys.db")
        elif not File(path).parent.is_dir():
            self.wrong(where, f"there is no folder {File(path).parent}: make it first")
        return path


def _fallbacks(given: list[dict[str, list[str]]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(others) for item in given for name, others in item.items()}
