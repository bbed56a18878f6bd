"""Driving the SDK from tests: the blocking and the awaiting functions behind one face, streams collected."""

import asyncio
import base64
import inspect
import json
from collections.abc import Callable
from typing import Any

import triton_adapter
from triton_adapter.errors import AdapterError


class Sdk:
    """The three calls. `collect` returns a stream's chunks and the error it ended with, if it did."""

    def __init__(self, *, awaiting: bool) -> None:
        self.awaiting = awaiting

    def completion(self, model: str, messages: Any, **params: Any) -> Any:
        return self._run("completion", model, messages, params)

    def text_completion(self, model: str, prompt: Any, **params: Any) -> Any:
        return self._run("text_completion", model, prompt, params)

    def embedding(self, model: str, input: Any, **params: Any) -> Any:
        return self._run("embedding", model, input, params)

    def collect(self, model: str, messages: Any, **params: Any) -> tuple[list[Any], AdapterError | None]:
        """A streamed chat."""
        return self._collect("completion", model, messages, {**params, "stream": True})

    def collect_text(self, model: str, prompt: Any, **params: Any) -> tuple[list[Any], AdapterError | None]:
        """A streamed text completion."""
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
    """A chat of one user message."""
    return [{"role": "user", "content": text}]


def read_report(reply: Any, index: int = 0) -> Any:
    """What the model received, from its answer to REPORT."""
    return json.loads(base64.b64decode(reply.choices[index].message.content))


def text_of(chunks: list[Any], index: int = 0) -> str:
    """The text that a choice's chunks add up to."""
    found = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(
        (choice.delta.content if hasattr(choice, "delta") else choice.text) or "" for choice in found
    )


def ends_of(chunks: list[Any]) -> list[str]:
    """Every finish reason that the chunks tell."""
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


def failure(call: Callable[[], Any]) -> AdapterError:
    """The error a call raises."""
    try:
        result = call()
    except AdapterError as error:
        return error
    assert not inspect.isawaitable(result)
    raise AssertionError(f"no error, but {result!r}")
