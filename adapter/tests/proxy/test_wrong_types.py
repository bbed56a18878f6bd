"""Every parameter with every JSON type that it cannot have: the answer is OpenAI's error with `param` and `code`."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapter.tests.conftest import MODELS
from adapter.tests.proxy.serving import BEARER, HELLO, entry, error_of, serve
from triton_emulator.emulator import Emulator

VALUES: dict[str, Any] = {
    "boolean": True,
    "integer": 7,
    "fraction": 0.5,
    "huge": 10**300,
    "string": "seven",
    "array": [[None]],
    "object": {"a": [{"b": None}]},
}
NUMBER = frozenset({"integer", "fraction"})
# The types that each parameter may have; all others are wrong. `huge` is a number that is too large everywhere.
CHAT: dict[str, frozenset[str]] = {
    "messages": frozenset(),
    "model": frozenset({"string"}),
    "max_tokens": frozenset({"integer"}),
    "max_completion_tokens": frozenset({"integer"}),
    "min_tokens": frozenset({"integer"}),
    "temperature": frozenset({"fraction"}),
    "top_p": frozenset({"fraction"}),
    "min_p": frozenset({"fraction"}),
    "top_k": frozenset({"integer"}),
    "n": frozenset({"integer"}),
    "seed": frozenset({"integer"}),
    "presence_penalty": frozenset({"fraction"}),
    "frequency_penalty": frozenset({"fraction"}),
    "repetition_penalty": NUMBER | {"huge"},
    "length_penalty": NUMBER | {"huge"},
    "stop": frozenset({"string"}),
    "bad_words": frozenset({"string"}),
    "stream": frozenset({"boolean"}),
    "stream_options": frozenset(),
    "logprobs": frozenset({"boolean"}),
    "top_logprobs": frozenset(),
    "logit_bias": frozenset(),
    "response_format": frozenset(),
    "tools": frozenset(),
    "tool_choice": frozenset(),
    "parallel_tool_calls": frozenset({"boolean"}),
    "user": frozenset({"string"}),
    "metadata": frozenset({"object"}),
    "store": frozenset(),
    "service_tier": frozenset(),
    "extra_body": frozenset({"object"}),
    "chat_template_kwargs": frozenset({"object"}),
    "modalities": frozenset(),
    "reasoning_effort": frozenset(),
    "functions": frozenset(),
    "function_call": frozenset(),
    "audio": frozenset(),
    "prediction": frozenset(),
    "web_search_options": frozenset(),
    "drop_params": frozenset({"boolean"}),
    "allowed_openai_params": frozenset(),
    "unheard_of": frozenset(),
}
TEXT: dict[str, frozenset[str]] = {
    "prompt": frozenset({"string"}),
    "logprobs": frozenset(),
    "echo": frozenset({"boolean"}),
    "suffix": frozenset(),
    "best_of": frozenset({"integer"}),
    **{name: CHAT[name] for name in ("model", "max_tokens", "temperature", "n", "stop", "stream", "user")},
}
EMBEDDINGS: dict[str, frozenset[str]] = {
    "input": frozenset({"string"}),
    "model": frozenset({"string"}),
    "encoding_format": frozenset(),
    "dimensions": frozenset(),
    "user": frozenset({"string"}),
    "unheard_of": frozenset(),
}
CALLS: dict[str, tuple[dict[str, Any], dict[str, frozenset[str]]]] = {
    "chat/completions": ({"model": "trtllm", "messages": HELLO}, CHAT),
    "completions": ({"model": "trtllm", "prompt": "hi"}, TEXT),
    "embeddings": ({"model": "embed", "input": "hi"}, EMBEDDINGS),
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        Emulator(MODELS) as emulator,
        serve(*(entry(name, emulator.url, name) for name in ("trtllm", "embed"))) as proxy,
        httpx.Client(base_url=proxy.url, headers=BEARER) as it,
    ):
        yield it


@pytest.mark.parametrize(
    ("route", "name"), [(route, name) for route, (_, table) in CALLS.items() for name in table]
)
def test_a_value_of_another_type_is_refused_with_its_name_and_a_code(
    client: httpx.Client, route: str, name: str
) -> None:
    body, table = CALLS[route]
    for kind in VALUES.keys() - table[name]:
        given = json.dumps({**body, name: VALUES[kind]})
        status, param, code = error_of(client.post(f"/v1/{route}", content=given))
        assert status == 400, kind
        assert param is not None, kind
        assert str(param).startswith(name), kind
        assert code in {"invalid_type", "invalid_value", "unsupported_parameter"}, kind
