"""Renders answers as OpenAI replies and chunks: plain dictionaries, with fields in OpenAI's order. Pure."""

from typing import Any

from triton_adapter.generation.answers import Answer, ChoiceState, Increment

Json = dict[str, Any]


def chat_reply(head: Json, answer: Answer, *, logprobs: bool, top: int) -> Json:
    """Return a `chat.completion`."""
    choices = [
        {
            "index": choice.index,
            "message": _message(choice),
            "logprobs": chat_logprobs(choice.logprobs or [], top) if logprobs else None,
            "finish_reason": choice.reason,
        }
        for choice in _in_order(answer)
    ]
    return {**head, "object": "chat.completion", "choices": choices, "usage": answer.usage()}


def chat_chunk(head: Json, choices: list[Json], usage: Json | None, *, include_usage: bool) -> Json:
    """Return a `chat.completion.chunk`; `usage` is there only if it was asked for."""
    chunk = {**head, "object": "chat.completion.chunk", "choices": choices}
    if include_usage:
        chunk["usage"] = usage
    return chunk


def chat_delta(delta: Increment, *, logprobs: bool, top: int) -> list[Json]:
    """Return the choices of the chunks for an increment: its text, its tool calls, its end."""
    found = []
    kept = chat_logprobs(delta.logprobs, top) if logprobs and delta.logprobs else None
    if delta.text or kept:
        found.append(_chat_choice(delta.index, {"content": delta.text}, kept))
    for call in delta.calls:
        if call.name:  # OpenAI's own stream begins a call with its name and no arguments
            begin = {"index": call.index, "id": call.id, "type": "function"}
            function = {"name": call.name, "arguments": ""}
            found.append(_chat_choice(delta.index, {"tool_calls": [{**begin, "function": function}]}, None))
        if call.arguments:
            rest = {"index": call.index, "function": {"arguments": call.arguments}}
            found.append(_chat_choice(delta.index, {"tool_calls": [rest]}, None))
    if delta.finish_reason is not None:
        found.append({**_chat_choice(delta.index, {}, None), "finish_reason": delta.finish_reason})
    return found


def chat_opening(index: int) -> Json:
    """Return the choice of a choice's first chunk."""
    return _chat_choice(index, {"role": "assistant", "content": ""}, None)


def text_reply(head: Json, answer: Answer, echoes: dict[int, str], *, logprobs: bool, top: int) -> Json:
    """Return a `text_completion`; `echoes` holds the prompts that go before the text, by choice."""
    choices = [
        {
            "index": choice.index,
            "text": echoes.get(choice.index, "") + str(choice.text),
            "logprobs": text_logprobs(choice.logprobs or [], top, 0) if logprobs else None,
            "finish_reason": choice.reason,
        }
        for choice in _in_order(answer)
    ]
    return {**head, "object": "text_completion", "choices": choices, "usage": answer.usage()}


def text_chunk(head: Json, choices: list[Json], usage: Json | None, *, include_usage: bool) -> Json:
    """Return a chunk of a streamed `text_completion`."""
    chunk = {**head, "object": "text_completion", "choices": choices}
    if include_usage:
        chunk["usage"] = usage
    return chunk


def text_delta(delta: Increment, *, logprobs: bool, top: int) -> list[Json]:
    """Return the choices of the chunk for an increment: none if it has no text, token or end."""
    if not delta.text and delta.finish_reason is None and not delta.logprobs:
        return []
    kept = text_logprobs(delta.logprobs, top, delta.offset) if logprobs and delta.logprobs else None
    return [
        {"index": delta.index, "text": delta.text, "logprobs": kept, "finish_reason": delta.finish_reason}
    ]


def chat_logprobs(tokens: list[Any], top: int) -> Json:
    """Return a chat choice's `logprobs`: tokens are (text, logprob, alternatives)."""
    return {
        "content": [
            {
                **_token(text, value),
                "top_logprobs": [_token(other, score) for other, score in list(alternatives.items())[:top]],
            }
            for text, value, alternatives in tokens
        ],
        "refusal": None,
    }


def text_logprobs(tokens: list[Any], top: int, offset: int) -> Json:
    """Return a text choice's `logprobs`."""
    offsets, at = [], offset
    for text, _, _ in tokens:
        offsets.append(at)
        at += len(text)
    return {
        "tokens": [text for text, _, _ in tokens],
        "token_logprobs": [value for _, value, _ in tokens],
        "top_logprobs": [dict(list(others.items())[:top]) for _, _, others in tokens] if top else None,
        "text_offset": offsets,
    }


def _token(text: str, value: float) -> Json:
    # A backend that gives numbers only leaves the text of the token unknown.
    return {"token": text, "logprob": value, "bytes": list(text.encode()) if text else None}


def _message(choice: ChoiceState) -> Json:
    message: Json = {"role": "assistant", "content": str(choice.text), "refusal": None}
    if choice.called:
        message["content"] = message["content"] or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.calls
        ]
    return message


def _chat_choice(index: int, delta: Json, logprobs: Json | None) -> Json:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _in_order(answer: Answer) -> list[ChoiceState]:
    return [answer.choices[index] for index in sorted(answer.choices)]
