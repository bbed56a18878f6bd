"""OpenAI calls to NVIDIA Triton Inference Server, with LiteLLM's call shape."""

from typing import TYPE_CHECKING

from triton_adapter import errors
from triton_adapter.errors import (
    AdapterError,
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    InternalServerError,
    MissingParameterError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestError,
    RequestTooLargeError,
    ServerError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)

if TYPE_CHECKING:
    from triton_adapter.call import Call
    from triton_adapter.client import AsyncClient, Client
    from triton_adapter.openai.objects import ChatCompletion, ChatCompletionChunk, Completion, EmbeddingReply
    from triton_adapter.sdk.async_functions import acompletion, aembedding, atext_completion
    from triton_adapter.sdk.functions import completion, embedding, text_completion
    from triton_adapter.sdk.streams import AsyncStream, Stream
    from triton_adapter.settings import Settings
    from triton_adapter.target import Target

# Name -> its module, imported when the name is first used: importing this package loads no client.
_HOMES = {
    "AsyncClient": "triton_adapter.client",
    "AsyncStream": "triton_adapter.sdk.streams",
    "Call": "triton_adapter.call",
    "ChatCompletion": "triton_adapter.openai.objects",
    "ChatCompletionChunk": "triton_adapter.openai.objects",
    "Client": "triton_adapter.client",
    "Completion": "triton_adapter.openai.objects",
    "EmbeddingReply": "triton_adapter.openai.objects",
    "Settings": "triton_adapter.settings",
    "Stream": "triton_adapter.sdk.streams",
    "Target": "triton_adapter.target",
    "acompletion": "triton_adapter.sdk.async_functions",
    "aembedding": "triton_adapter.sdk.async_functions",
    "atext_completion": "triton_adapter.sdk.async_functions",
    "completion": "triton_adapter.sdk.functions",
    "embedding": "triton_adapter.sdk.functions",
    "text_completion": "triton_adapter.sdk.functions",
}

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AdapterError",
    "AsyncClient",
    "AsyncStream",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "Call",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Client",
    "Completion",
    "EmbeddingReply",
    "InternalServerError",
    "MissingParameterError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestError",
    "RequestTooLargeError",
    "ServerError",
    "ServiceUnavailableError",
    "Settings",
    "Stream",
    "Target",
    "UnsupportedParameterError",
    "acompletion",
    "aembedding",
    "atext_completion",
    "completion",
    "embedding",
    "errors",
    "text_completion",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        from triton_adapter.extras import needing

        with needing("adapter", "triton_adapter"):
            return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
