"""The three endpoints of LiteLLM's Triton page that name no model: `/generate`, `/infer`, `/embeddings`, at any prefix.

A real Triton has no such routes; users add them with a reverse proxy. A flag chooses the model that answers. Otherwise
it is the model that fits LiteLLM's request best: the one with the fewest inputs that the request leaves out, then the
most that it fills, then one without a batch dimension, then the first by name.
"""

import re
from collections.abc import Callable, Iterable

from triton_emulator.protocol.routes import Captures, Route
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings

_PATH = re.compile(r"(?!/v2(?:/|$))(?:/[^/]+)*/(generate|generate_stream|infer|embeddings)")

_POST = frozenset({"POST"})
#: endpoint -> route; `--http-restricted-api` names them as it names Triton's own inference routes
_ROUTES = {
    "generate": Route("generate", _POST, "inference"),
    "generate_stream": Route("generate_stream", _POST, "inference"),
    "infer": Route("infer", _POST, "inference"),
    "embeddings": Route("infer", _POST, "inference"),
}
#: endpoint -> the inputs that LiteLLM's request can fill; it sends `stream` only in a streamed request
_SENT = {
    "generate": frozenset({"text_input", "max_tokens"}),
    "generate_stream": frozenset({"text_input", "max_tokens", "stream"}),
    "infer": frozenset({"text_input", "max_tokens"}),
    "embeddings": frozenset({"input_text"}),
}
_FLOATS = ("FP32", "FP64", "FP16")


def match(path: str, session: SessionState) -> tuple[Route, Captures] | None:
    """The route of one of these endpoints and the model that answers it, or None for any other path."""
    found = None if session.settings.strict_routes else _PATH.fullmatch(path)
    if found is None:
        return None
    models = [served.config for served in session.repository.all_served()]
    return _ROUTES[found[1]], Captures(_choose(found[1], session.settings, models))


def _choose(endpoint: str, settings: Settings, models: Iterable[ModelConfig]) -> str:
    """The name of the model for an endpoint, "" if no model of the repository fits."""
    kind = "generate" if endpoint == "generate_stream" else endpoint
    chosen: str = getattr(settings, f"default_{kind}_model")
    if chosen:
        return chosen
    sent = _SENT[endpoint]
    ranked = sorted(
        (
            sum(not spec.optional and spec.name not in sent for spec in config.inputs),
            sum(name not in {spec.name for spec in config.inputs} for name in sent),
            config.max_batch_size > 0,
            config.name,
        )
        for config in models
        if _FITS[kind](config)
    )
    return ranked[0][3] if ranked else ""


def _takes_text(config: ModelConfig) -> bool:
    return any(spec.datatype == "BYTES" for spec in config.inputs)


def _gives_text(config: ModelConfig) -> bool:
    return any(spec.datatype == "BYTES" for spec in config.outputs)


def _writes(config: ModelConfig) -> bool:
    return _takes_text(config) and _gives_text(config)


def _answers_at_once(config: ModelConfig) -> bool:
    return _writes(config) and not config.decoupled


def _embeds(config: ModelConfig) -> bool:
    return (
        _takes_text(config)
        and not config.decoupled
        and any(spec.datatype in _FLOATS for spec in config.outputs)
    )


_FITS: dict[str, Callable[[ModelConfig], bool]] = {
    "generate": _writes,
    "infer": _answers_at_once,
    "embeddings": lambda config: _embeds(config) and not _gives_text(config),
}
