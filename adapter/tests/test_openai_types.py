"""Replies pass through the openai client's own types unchanged: no field is missing or has another type."""

from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapter.tests.driving import Sdk, ask
from adapter.tests.test_tools import CALLS, ECHO, TOOLS

CALLING = {"tools": TOOLS, "chat_template": ECHO, "tool_parser": "hermes"}
CHATS: dict[str, tuple[str, dict[str, Any]]] = {
    "a text": ("SAY one two", {}),
    "two choices": ("SAY one two", {"n": 2}),
    "a text that is cut": ("SAY one two", {"max_tokens": 1}),
    "log probabilities": ("SAY one two", {"logprobs": True, "top_logprobs": 2}),
    "a tool call": (f"SAY {CALLS['hermes']}", CALLING),
    "usage": ("SAY one two", {"stream_options": {"include_usage": True}}),
}


def read_by(kind: Any, reply: Any) -> None:
    """Check that a reply is unchanged after the client's type has read it."""
    dumped = reply.model_dump()
    assert kind.model_validate(dumped).model_dump(exclude_unset=True) == dumped


@pytest.mark.parametrize("case", [case for case in CHATS if case != "usage"])
def test_a_chat_completion_is_one(sdk: Sdk, triton: str, case: str) -> None:
    said, params = CHATS[case]
    read_by(ChatCompletion, sdk.completion("vllm", ask(said), api_base=triton, **params))


def test_a_chat_completion_of_estimated_usage_is_one(sdk: Sdk, triton: str) -> None:
    read_by(ChatCompletion, sdk.completion("flat", ask("SAY one two"), api_base=triton))


@pytest.mark.parametrize("case", CHATS)
def test_every_chunk_of_a_chat_is_one(sdk: Sdk, triton: str, case: str) -> None:
    said, params = CHATS[case]
    chunks, error = sdk.collect("vllm", ask(said), api_base=triton, **params)
    assert error is None
    for chunk in chunks:
        read_by(ChatCompletionChunk, chunk)


def test_a_text_completion_and_its_chunks_are_ones(sdk: Sdk, triton: str) -> None:
    read_by(
        Completion, sdk.text_completion("vllm", ["SAY a", "SAY b"], api_base=triton, logprobs=1, echo=True)
    )
    chunks, error = sdk.collect_text(
        "vllm", "SAY one two", api_base=triton, stream_options={"include_usage": True}
    )
    assert error is None
    assert len(chunks) > 2
    for chunk in chunks:
        dumped = chunk.model_dump()
        # OpenAI's chunks hold a null here until the last one. The type allows none, but the client reads it.
        read = Completion.model_validate(
            {
                **dumped,
                "choices": [
                    {**choice, "finish_reason": choice["finish_reason"] or "stop"}
                    for choice in dumped["choices"]
                ],
            }
        )
        assert [choice.text for choice in read.choices] == [choice["text"] for choice in dumped["choices"]]


def test_embeddings_are_ones(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed", ["a", "bb"], api_base=triton)
    read = CreateEmbeddingResponse.model_validate(reply.model_dump())
    assert [item.embedding for item in read.data] == [[1, 1, 0, -1], [2, 1, 0, -1]]
    assert read.model_dump(exclude_unset=True) == reply.model_dump()
