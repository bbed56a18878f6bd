"""The functions a user calls, with LiteLLM's call shape. They share one client per process, or per event loop."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, Literal, Self, TypeVar, overload

from triton_adapter.calls import Call
from triton_adapter.client import AsyncChunks, AsyncClient, Chunks, Client
from triton_adapter.errors import BadRequestError, MissingParameterError, UnsupportedParameterError
from triton_adapter.openai.objects import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    EmbeddingReply,
    Record,
)
from triton_adapter.settings import SETTING_TYPES
from triton_adapter.target import Target
from triton_adapter.triton.jsontext import dumps

Chunk = TypeVar("Chunk", bound=Record)
Prompt = str | list[str] | list[int] | list[list[int]]
# Keywords of a call that are about the call, not about the model.
_CALL = frozenset(
    {
        "allowed_openai_params",
        "api_base",
        "api_key",
        "base_url",
        "custom_llm_provider",
        "drop_params",
        "extra_headers",
        "headers",
        "max_retries",
        "num_retries",
        "request_id",
        "retry_delay",
        "stream_timeout",
        "timeout",
    }
)
# Keywords of LiteLLM's that are not about a call to Triton -> what takes their place here. False and None pass.
_ELSEWHERE = {
    "cache": "replies are not cached here; Triton's response cache is its model's own",
    "caching": "replies are not cached here; Triton's response cache is its model's own",
    "context_window_fallback_dict": "the proxy falls back: context_window_fallbacks in its router_settings",
    "fallbacks": "the proxy falls back: fallbacks in its router_settings",
    "logger_fn": "use the logging of your program",
    "mock_response": "answers without a model come from a triton-emulator: start one and name it as api_base",
    "model_list": "the proxy serves a list of models",
    "verbose": "use the logging of your program",
}


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
    target, body, call = _prepared(model, {"messages": messages, "stream": stream, **params})
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
    target, body, call = _prepared(model, {"messages": messages, "stream": stream, **params})
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
    target, body, call = _prepared(model, {"prompt": prompt, "stream": stream, **params})
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
    target, body, call = _prepared(model, {"prompt": prompt, "stream": stream, **params})
    result = await (await _async_client()).completion(target, body, call)
    if isinstance(result, dict):
        return _built(Completion, result, call)
    return AsyncStream(result, Completion, call.dropped)


def embedding(model: str, input: Prompt, **params: Any) -> EmbeddingReply:
    """Embed texts or token lists; `encoding_format` is float or base64, `dimensions` shortens the vectors."""
    target, body, call = _prepared(model, {"input": input, **params})
    return _built(EmbeddingReply, _client().embedding(target, body, call), call)


async def aembedding(model: str, input: Prompt, **params: Any) -> EmbeddingReply:
    """Embed without blocking; see `embedding`."""
    target, body, call = _prepared(model, {"input": input, **params})
    return _built(EmbeddingReply, await (await _async_client()).embedding(target, body, call), call)


R = TypeVar("R", ChatCompletion, Completion, EmbeddingReply)


def _built(kind: type[R], reply: dict[str, Any], call: Call) -> R:
    made = kind.build(reply)
    made._dropped = call.dropped  # noqa: SLF001 - the field is ours
    return made


_ASIDE = frozenset({*SETTING_TYPES, *_CALL, *_ELSEWHERE})
_targets: dict[bytes, Target] = {}
_MOST_TARGETS = 1024


def _prepared(model: str, given: Mapping[str, Any]) -> tuple[Target, dict[str, Any], Call]:
    """Sort a call's keywords: what is about the target, what about the call, what goes into the body."""
    provider = given.get("custom_llm_provider")
    if provider not in (None, "triton") or not model.removeprefix("triton/"):
        raise BadRequestError("model must be 'triton/NAME'", param="model")
    for name, instead in _ELSEWHERE.items():
        if given.get(name):
            raise UnsupportedParameterError(f"'{name}' is not a parameter here: {instead}", param=name)
    settings = {name: value for name, value in given.items() if name in SETTING_TYPES and value is not None}
    request_kwargs = settings.pop("chat_template_kwargs", None)
    body = {name: value for name, value in given.items() if name not in _ASIDE}
    body["model"] = model
    if request_kwargs is not None:
        body["chat_template_kwargs"] = request_kwargs
    call = Call(
        model=model.removeprefix("triton/"),
        request_id=given.get("request_id"),
        drop_params=bool(given.get("drop_params")),
        allowed_params=tuple(given.get("allowed_openai_params") or ()),
    )
    return _target(model, settings, given), body, call


def _target(model: str, settings: dict[str, Any], given: Mapping[str, Any]) -> Target:
    api_base = given.get("api_base") or given.get("base_url")
    if not isinstance(api_base, str):
        raise MissingParameterError("api_base is required: the URL of the Triton server", param="api_base")
    headers = {**(given.get("headers") or {}), **(given.get("extra_headers") or {})}
    limits: dict[str, Any] = {}
    for name, field, kinds in (
        ("timeout", "timeout", (int, float)),
        ("stream_timeout", "silence", (int, float)),
        ("max_retries", "retries", (int,)),
        ("num_retries", "retries", (int,)),
        ("retry_delay", "retry_delay", (int, float)),
    ):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool) or value < 0:
            raise BadRequestError(f"'{name}' must be a number of 0 or more", param=name, code="invalid_value")
        limits[field] = value
    try:
        key = dumps([model, api_base, given.get("api_key"), headers, settings, limits])
    except TypeError as error:
        raise BadRequestError("headers and settings must be plain values", param="extra_headers") from error
    target = _targets.get(key)
    if target is None:
        while len(_targets) >= _MOST_TARGETS:
            _targets.pop(next(iter(_targets)))
        target = _targets[key] = Target.of(
            model, api_base, settings=settings, api_key=given.get("api_key"), headers=headers, **limits
        )
    return target


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
