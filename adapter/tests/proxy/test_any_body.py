"""Generated request bodies: the proxy answers every one of them with a reply or with OpenAI's error object."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.tests.conftest import MODELS
from adapter.tests.proxy.serving import HELLO, MASTER, entry, error_of, post, serve
from triton_adapter.proxy import ProxyServer
from triton_emulator.emulator import Emulator

CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
}
NAMES = [
    "model",
    "messages",
    "prompt",
    "input",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "stream",
    "stream_options",
    "seed",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "user",
    "metadata",
    "logit_bias",
    "extra_body",
    "echo",
    "suffix",
    "best_of",
    "encoding_format",
    "dimensions",
    "chat_template_kwargs",
    "drop_params",
    "allowed_openai_params",
    "functions",
    "text_input",
    "input_text",
    "unheard_of",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["user", "assistant", "tool", "text", "image_url", "function", "json_schema", "required"]
    )
)
KEYS = st.text(max_size=4) | st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "function", "name", "schema", "tool_calls", "id"]
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)


@pytest.fixture(scope="module")
def emulated() -> Iterator[ProxyServer]:
    names = ("flat", "vllm", "trtllm", "embed", "llmapi")
    with (
        Emulator(MODELS) as emulator,
        serve(
            *(entry(name, emulator.url, name) for name in names), general_settings={"master_key": MASTER}
        ) as it,
    ):
        yield it


@pytest.mark.parametrize("path", CALLS)
@given(
    model=st.sampled_from(["flat", "vllm", "trtllm", "embed", "llmapi"]),
    changes=st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_any_body_is_answered_or_refused_in_openais_words(
    emulated: ProxyServer, path: str, model: str, changes: dict[str, Any]
) -> None:
    body = json.dumps({"model": model, **CALLS[path], **changes}).encode()
    reply = post(emulated, path, body)
    if reply.status_code == 200:
        assert reply.content
        return
    status, _, _ = error_of(reply)
    # The model is no embedding model: its reply to an embeddings request holds no vectors.
    assert status < 500 or (status == 502 and path == "/v1/embeddings")


@pytest.mark.parametrize("path", CALLS)
def test_a_body_as_deep_as_it_may_be_is_answered_or_refused(emulated: ProxyServer, path: str) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    for name in ("metadata", "unheard_of", "extra_body", "stop", "messages", "tools", "input", "prompt"):
        body = {"model": "vllm", **CALLS[path], name: {"a": deep} if name == "metadata" else deep}
        assert 400 <= error_of(post(emulated, path, body))[0] < 500
