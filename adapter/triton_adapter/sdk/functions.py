"""The functions a user calls, with LiteLLM's call shape. They share one client per process, or per event loop."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any, Generic, Literal, Self, TypeVar, overload

from triton_adapter.call import Call
from triton_adapter.client import AsyncChunks, AsyncClient, Chunks, Client
from triton_adapter.openai.objects import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    EmbeddingReply,
    Record,
)
from triton_adapter.sdk.arguments import read_arguments

Chunk = TypeVar("Chunk", bound=Record)
Prompt = str | list[str] | list[int] | list[list[int]]


class Stream(Generic[Chunk]):
    """A streamed reply: iterate for its chunks; `close()` or leaving `with` early cancels the request upstream."""

    def __init__(self, chunks: Chunks, kind: type[Chunk], dropped: list[str]) -> None:
        self._chunks = chunks
        self._kind = kind
        self.dropped_params = dropped

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        return self._kind.build(next(self._chunks))

    def close(self) -> None:
        """Leave the stream: the upstream connection is closed."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(Generic[Chunk]):
    """A streamed reply for `async for`; `await close()` or leaving `async with` early cancels it upstream."""

    def __init__(self, batches: AsyncChunks, kind: type[Chunk], dropped: list[str]) -> None:
        self._batches = batches
        self._ready: list[dict[str, Any]] = []
        self._kind = kind
        self.dropped_params = dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ready:
            self._ready = (await anext(self._batches))[::-1]
        return self._kind.build(self._ready.pop())

    async def close(self) -> None:
        """Leave the stream: the upstream connection is closed."""
        await self._batches.aclose()

    aclose = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@overload
def completion(
    model: str, messages: list[dict[str, Any]], *, stream: Literal[True], **params: Any
) -> Stream[ChatCompletionChunk]: ...
@overload
def completion(
    model: str, messages: list[dict[str, Any]], *, stream: Literal[False] | None = None, **params: Any
) -> ChatCompletion: ...
def completion(
    model: str, messages: list[dict[str, Any]], *, stream: bool | None = None, **params: Any
) -> ChatCompletion | Stream[ChatCompletionChunk]:
    """Complete a chat: `completion("triton/NAME", messages, api_base="http://host:8000", ...)`.

    Every OpenAI parameter, every `Settings` field and every input of the model is a keyword; so are `api_base`,
    `api_key`, `extra_headers`, `timeout` (seconds, 600), `stream_timeout` (seconds of silence), `num_retries` (2),
    `drop_params`, `allowed_openai_params`, `extra_body` and `request_id`. With `stream=True` the result is iterated.
    An AdapterError says whose fault a failure is; a stream raises it where it happens.
    """
    target, body, call = read_arguments(model, {"messages": messages, "stream": stream, **params})
    result = _client().chat(target, body, call)
    if isinstance(result, dict):
        return _built(ChatCompletion, result, call)
    return Stream(result, ChatCompletionChunk, call.dropped)


@overload
async def acompletion(
    model: str, messages: list[dict[str, Any]], *, stream: Literal[True], **params: Any
) -> AsyncStream[ChatCompletionChunk]: ...
@overload
async def acompletion(
    model: str, messages: list[dict[str, Any]], *, stream: Literal[False] | None = None, **params: Any
) -> ChatCompletion: ...
async def acompletion(
    model: str, messages: list[dict[str, Any]], *, stream: bool | None = None, **params: Any
) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
    """Complete a chat without blocking; see `completion`."""
    target, body, call = read_arguments(model, {"messages": messages, "stream": stream, **params})
    result = await (await _async_client()).chat(target, body, call)
    if isinstance(result, dict):
        return _built(ChatCompletion, result, call)
    return AsyncStream(result, ChatCompletionChunk, call.dropped)


@overload
def text_completion(
    model: str, prompt: Prompt, *, stream: Literal[True], **params: Any
) -> Stream[Completion]: ...
@overload
def text_completion(
    model: str, prompt: Prompt, *, stream: Literal[False] | None = None, **params: Any
) -> Completion: ...
def text_completion(
    model: str, prompt: Prompt, *, stream: bool | None = None, **params: Any
) -> Completion | Stream[Completion]:
    """Complete texts: one or several prompts, each with `n` choices; see `completion` for the keywords."""
    target, body, call = read_arguments(model, {"prompt": prompt, "stream": stream, **params})
    result = _client().completion(target, body, call)
    if isinstance(result, dict):
        return _built(Completion, result, call)
    return Stream(result, Completion, call.dropped)


@overload
async def atext_completion(
    model: str, prompt: Prompt, *, stream: Literal[True], **params: Any
) -> AsyncStream[Completion]: ...
@overload
async def atext_completion(
    model: str, prompt: Prompt, *, stream: Literal[False] | None = None, **params: Any
) -> Completion: ...
async def atext_completion(
    model: str, prompt: Prompt, *, stream: bool | None = None, **params: Any
) -> Completion | AsyncStream[Completion]:
    """Complete texts without blocking; see `text_completion`."""
    target, body, call = read_arguments(model, {"prompt": prompt, "stream": stream, **params})
    result = await (await _async_client()).completion(target, body, call)
    if isinstance(result, dict):
        return _built(Completion, result, call)
    return AsyncStream(result, Completion, call.dropped)


def embedding(model: str, input: Prompt, **params: Any) -> EmbeddingReply:
    """Embed texts or token lists; `encoding_format` is float or base64, `dimensions` shortens the vectors."""
    target, body, call = read_arguments(model, {"input": input, **params})
    return _built(EmbeddingReply, _client().embedding(target, body, call), call)


async def aembedding(model: str, input: Prompt, **params: Any) -> EmbeddingReply:
    """Embed without blocking; see `embedding`."""
    target, body, call = read_arguments(model, {"input": input, **params})
    return _built(EmbeddingReply, await (await _async_client()).embedding(target, body, call), call)


R = TypeVar("R", ChatCompletion, Completion, EmbeddingReply)


def _built(kind: type[R], reply: dict[str, Any], call: Call) -> R:
    made = kind.build(reply)
    made._dropped = call.dropped  # noqa: SLF001 - the field is ours
    return made


_lock = threading.Lock()
_shared: list[Client] = []
_per_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[AsyncClient, Any]]" = (
    weakref.WeakKeyDictionary()
)


def _client() -> Client:
    with _lock:
        if not _shared:
            import atexit

            _shared.append(Client())
            atexit.register(_shared[0].close)
        return _shared[0]


async def _async_client() -> AsyncClient:
    loop = asyncio.get_running_loop()
    found = _per_loop.get(loop)
    if found is None:
        client = AsyncClient()
        keeper = _keeper(client)
        await anext(keeper)
        found = _per_loop[loop] = (client, keeper)
    return found[0]


async def _keeper(client: AsyncClient) -> AsyncIterator[None]:
    # asyncio.run() closes the generators that are still open: that is how a client ends with its loop.
    try:
        yield
    finally:
        await client.close()
