"""Calls the SDK from tests: one interface for the blocking and the async functions; streams are collected."""

import asyncio
import base64
import inspect
import json
from collections.abc import Callable
from typing import Any

import triton_adapter
from triton_adapter.errors import AdapterError


class Sdk:
    """The SDK's three functions. `collect` returns the chunks of a stream, and the error if it ended with one."""

    def __init__(self, *, awaiting: bool) -> None:
        self.awaiting = awaiting

    def completion(self, model: str, messages: Any, **params: Any) -> Any:
        return self._run("completion", model, messages, params)

    def text_completion(self, model: str, prompt: Any, **params: Any) -> Any:
        return self._run("text_completion", model, prompt, params)

    def embedding(self, model: str, input: Any, **params: Any) -> Any:
        return self._run("embedding", model, input, params)

    def collect(self, model: str, messages: Any, **params: Any) -> tuple[list[Any], AdapterError | None]:
        """Stream a chat completion."""
        return self._collect("completion", model, messages, {**params, "stream": True})

    def collect_text(self, model: str, prompt: Any, **params: Any) -> tuple[list[Any], AdapterError | None]:
        """Stream a text completion."""
        return self._collect("text_completion", model, prompt, {**params, "stream": True})

    def _run(self, name: str, model: str, given: Any, params: dict[str, Any]) -> Any:
        if self.awaiting:
            return asyncio.run(getattr(triton_adapter, f"a{name}")(f"triton/{model}", given, **params))
        return getattr(triton_adapter, name)(f"triton/{model}", given, **params)

    def _collect(
        self, name: str, model: str, given: Any, params: dict[str, Any]
    ) -> tuple[list[Any], AdapterError | None]:
        chunks: list[Any] = []

        async def drain() -> None:
            async for chunk in await getattr(triton_adapter, f"a{name}")(f"triton/{model}", given, **params):
                chunks.append(chunk)  # noqa: PERF401 - what came before an error is kept

        try:
            if self.awaiting:
                asyncio.run(drain())
            else:
                for chunk in getattr(triton_adapter, name)(f"triton/{model}", given, **params):
                    chunks.append(chunk)  # noqa: PERF402
        except AdapterError as error:
            return chunks, error
        return chunks, None


def ask(text: str) -> list[dict[str, Any]]:
    """The messages of a chat with one user message."""
    return [{"role": "user", "content": text}]


def read_report(reply: Any, index: int = 0) -> Any:
    """Decode what the model received from its answer to REPORT."""
    return json.loads(base64.b64decode(reply.choices[index].message.content))


def text_of(chunks: list[Any], index: int = 0) -> str:
    """Join the text of a choice's chunks."""
    found = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(
        (choice.delta.content if hasattr(choice, "delta") else choice.text) or "" for choice in found
    )


def ends_of(chunks: list[Any]) -> list[str]:
    """Every finish reason in the chunks."""
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


def failure(call: Callable[[], Any]) -> AdapterError:
    """Return the error that a call raises."""
    try:
        result = call()
    except AdapterError as error:
        return error
    assert not inspect.isawaitable(result)
    raise AssertionError(f"no error, but {result!r}")
