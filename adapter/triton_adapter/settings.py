"""Settings of one model: everything the adapter would otherwise discover or assume.

Each field is a keyword of `completion()` and `embedding()` and a key of `litellm_params` in the proxy's config.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from triton_adapter.errors import BadRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to talk to one model. None and empty mean that it is discovered or has a default."""

    # Whose names for inputs and outputs: trtllm, trtllm_llmapi, vllm or custom.
    profile: str | None = None
    # "infer" or "generate" for a model that can do both; a decoupled one always goes through generate_stream.
    operation: str | None = None
    model_version: str | None = None
    # For https: verify the server (true, false or a PEM file of authorities); the client's certificate and key (PEM).
    ssl_verify: bool | str | None = None
    ssl_certificate: str | None = None
    ssl_key: str | None = None
    # Tensor names.
    prompt_input: str | None = None
    text_output: str | None = None
    parameter_inputs: Mapping[str, str] = field(default_factory=dict)
    output_names: Mapping[str, str] = field(default_factory=dict)
    # Tensors (or request parameters) sent with every call.
    fixed_inputs: Mapping[str, Any] = field(default_factory=dict)
    # Sent if the caller gives no limit and the model has an input for one; LiteLLM's default on generate.
    default_max_tokens: int = 2000
    # Stream from a decoupled model even if the caller does not stream: Triton 2.51 notices that a client has left only
    # when it writes, so this is what cancels the generation.
    stream_upstream: bool = True
    echoes_prompt: bool | None = None
    # vLLM's sampling parameter for guided decoding; backends before the autumn of 2025 call it guided_decoding.
    guided_parameter: str = "structured_outputs"
    # Chat.
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    bos_token: str | None = None
    eos_token: str | None = None
    tool_parser: str | None = None
    # Path of a tokenizer.json, for exact usage and for token arrays.
    tokenizer: str | None = None
    # Embeddings.
    embedding_input: str | None = None
    embedding_output: str | None = None
    pooling: str | None = None
    max_batch_size: int | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Settings":
        """Return the settings in a mapping. BadRequestError names a key that is unknown or has a wrong value."""
        for key, value in given.items():
            if key not in SETTING_TYPES:
                raise BadRequestError(f"unknown setting '{key}'", param=key)
            kinds = SETTING_TYPES[key]
            if value is not None and (
                not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
            ):
                names = " or ".join(kind.__name__ for kind in kinds)
                raise BadRequestError(f"setting '{key}' must be of type {names}", param=key)
            words = WORDS.get(key)
            if value is not None and words is not None and value not in words:
                raise BadRequestError(f"setting '{key}' must be one of {', '.join(words)}", param=key)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise BadRequestError(f"setting '{key}' must be 1 or more", param=key)
        chosen = {key: value for key, value in given.items() if value is not None}
        return cls(**chosen) if chosen else DEFAULTS


# The values that some settings may have.
WORDS: dict[str, tuple[str, ...]] = {
    "profile": ("trtllm", "trtllm_llmapi", "vllm", "custom"),
    "operation": ("infer", "generate", "embeddings"),
    "tool_parser": ("llama3", "mistral", "hermes", "qwen"),
    "pooling": ("mean", "cls", "last"),
}
SETTING_TYPES: dict[str, tuple[type, ...]] = {
    item.name: (dict,)
    if "Mapping" in str(item.type)
    else tuple(kind for kind in (bool, int, str) if kind.__name__ in str(item.type))
    for item in fields(Settings)
}
DEFAULTS = Settings()
