"""Makes calls with the LiteLLM SDK in its own Python. It reads a JSON list of calls and prints their answers.

It imports nothing of this project, like a program of a LiteLLM user.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import litellm  # type: ignore[import-not-found]  # it is in an environment of its own

litellm.suppress_debug_info = True


def whole(response: Any) -> dict[str, Any]:
    choice = response.choices[0]
    return {"text": choice.message.content, "finish_reason": choice.finish_reason, "model": response.model}


def streamed(chunks: Iterable[Any]) -> dict[str, Any]:
    texts: list[str] = []
    finish_reason = None
    for chunk in chunks:
        choice = chunk.choices[0]
        if choice.delta.content:
            texts.append(choice.delta.content)
        finish_reason = choice.finish_reason or finish_reason
    return {"chunks": texts, "finish_reason": finish_reason}


def embedded(response: Any) -> dict[str, Any]:
    return {"vectors": [entry["embedding"] for entry in response.data], "model": response.model}


async def collected(stream: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in stream]


async def acompletion(arguments: dict[str, Any]) -> dict[str, Any]:
    response = await litellm.acompletion(**arguments)
    return streamed(await collected(response)) if arguments.get("stream") else whole(response)


def completion(arguments: dict[str, Any]) -> dict[str, Any]:
    response = litellm.completion(**arguments)
    return streamed(list(response)) if arguments.get("stream") else whole(response)


CALLS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "completion": completion,
    "acompletion": lambda arguments: asyncio.run(acompletion(arguments)),
    "embedding": lambda arguments: embedded(litellm.embedding(**arguments)),
    "aembedding": lambda arguments: embedded(asyncio.run(litellm.aembedding(**arguments))),
}


def answered(call: dict[str, Any]) -> dict[str, Any]:
    try:
        return CALLS[call["call"]](call["arguments"])
    except Exception as error:  # noqa: BLE001  (what it raises is the answer)
        return {
            "error": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "text": str(error),
        }


sys.stdout.write(json.dumps([answered(call) for call in json.load(sys.stdin)]) + "\n")
sys.stdout.flush()
os._exit(0)  # LiteLLM would wait for its own logging for seconds
