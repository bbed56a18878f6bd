"""OpenAI calls to NVIDIA Triton Inference Server and back, with LiteLLM's call shape."""

from typing import TYPE_CHECKING, Any

from triton_adapter import errors

if TYPE_CHECKING:
    from triton_adapter.call import Call
    from triton_adapter.client import AsyncClient, Client
    from triton_adapter.errors import AdapterError
    from triton_adapter.sdk.functions import (
        acompletion,
        aembedding,
        atext_completion,
        completion,
        embedding,
        text_completion,
    )
    from triton_adapter.settings import Settings
    from triton_adapter.target import Target

__all__ = [
    "AdapterError",
    "AsyncClient",
    "Call",
    "Client",
    "Settings",
    "Target",
    "acompletion",
    "aembedding",
    "atext_completion",
    "completion",
    "embedding",
    "errors",
    "text_completion",
]

# Imported when first used: a program that never calls Triton does not pay for it.
_HOMES = {
    "AdapterError": "errors",
    "AsyncClient": "client",
    "Call": "call",
    "Client": "client",
    "Settings": "settings",
    "Target": "target",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'triton_adapter' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"triton_adapter.{_HOMES.get(name, 'sdk.functions')}"), name)


def __dir__() -> list[str]:
    return __all__
