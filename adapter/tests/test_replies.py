"""Typed replies: their fields are attributes, as in the OpenAI client, and items, as in LiteLLM."""

import json

import pytest

from triton_adapter.openai.objects import ChatCompletion, EmbeddingReply

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 5,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


def test_a_reply_dumps_to_what_it_was_made_of() -> None:
    assert ChatCompletion.build(REPLY).model_dump() == REPLY
    assert ChatCompletion.build(REPLY).to_dict() == REPLY
    assert json.loads(ChatCompletion.build(REPLY).model_dump_json()) == REPLY


def test_fields_are_attributes_and_items() -> None:
    reply = ChatCompletion.build(REPLY)
    assert reply.choices[0].message.tool_calls[0].function.name == "f"
    assert reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"
    assert (reply.get("model"), reply.get("nothing", 7)) == ("m", 7)
    assert "usage" in reply
    assert "_dropped" not in reply
    assert list(dict(reply)) == list(REPLY)
    with pytest.raises(KeyError):
        reply["nothing"]


def test_what_is_none_can_be_left_out() -> None:
    dumped = ChatCompletion.build(REPLY).model_dump(exclude_none=True)
    assert dumped["choices"][0]["message"] == {
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


def test_two_replies_of_the_same_fields_are_equal_and_readable() -> None:
    empty = EmbeddingReply.build({"object": "list", "data": [], "model": "m", "usage": {}})
    assert empty == EmbeddingReply.build({"object": "list", "data": [], "model": "m", "usage": {}})
    assert "model='m'" in repr(empty)
