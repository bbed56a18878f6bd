"""The values of LiteLLM's `config.yaml`, and the error for its mistakes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_adapter.proxy.config.schema import STRATEGIES
from triton_adapter.target import Target


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the file. `where` is the path of keys."""

    message: str
    line: int | None = None
    where: str = ""

    def text(self, file: str) -> str:
        """Return one line, `file:line: where: message`, which editors can jump to."""
        place = file if self.line is None else f"{file}:{self.line}"
        return f"{place}: {self.where + ': ' if self.where else ''}{self.message}"


class ConfigError(Exception):
    """The config cannot be used; `mistakes` lists all reasons."""

    def __init__(self, mistakes: list[Mistake], file: str = "config.yaml") -> None:
        super().__init__("\n".join(mistake.text(file) for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One entry of `model_list`: a deployment, or a pattern of them if its name holds a `*`."""

    name: str
    model: str
    api_base: str
    make_target: Callable[[str], Target] = field(repr=False, compare=False)
    id: str
    weight: float | None = None
    order: int = 0
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    max_retries: int | None = None
    drop_params: bool = False
    allowed_params: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wildcard(self) -> bool:
        return "*" in self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """How a request finds its deployment. Times are seconds."""

    strategy: str = STRATEGIES[0]
    num_retries: int = 2
    retry_after: float = 0.0
    allowed_fails: int = 3
    cooldown_time: float = 5.0
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    context_window_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_fallbacks: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    hidden_aliases: frozenset[str] = frozenset()
    retry_policy: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of the proxy. `database` is the key store's file; times are seconds."""

    models: tuple[ModelEntry, ...]
    router: RouterConfig = field(default_factory=RouterConfig)
    master_key: str | None = field(default=None, repr=False)
    master_key_line: int | None = None
    database: str | None = None
    completion_model: str | None = None
    max_parallel_requests: int | None = None
    max_body: int = 64 << 20
    cors_allow_origins: tuple[str, ...] = ("*",)
    open_metrics: bool = False
    drain_seconds: float = 30.0
    head_timeout: float = 60.0
    body_timeout: float = 60.0
    send_timeout: float = 60.0
    warnings: tuple[str, ...] = ()
