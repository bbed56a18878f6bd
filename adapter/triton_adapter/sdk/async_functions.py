"""The functions that await, with LiteLLM's call shape.

`ci/unasync.py` writes the functions that block, `functions.py`, from this file.
"""

from typing import Any, Literal, overload

from triton_adapter.openai.objects import ChatCompletion, ChatCompletionChunk, Completion, EmbeddingReply
from triton_adapter.sdk.arguments import Prompt, read_arguments
from triton_adapter.sdk.shared import shared_async_client
from triton_adapter.sdk.streams import AsyncStream, built


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
    """Complete a chat. `model` is `triton/NAME`, `api_base` the URL of the server.

        await acompletion("triton/llm", [{"role": "user", "content": "Hi"}], api_base="http://localhost:8000")

    Every OpenAI parameter, every `Settings` field and every input of the model is a keyword; so are `api_base`,
    `api_key`, `extra_headers`, `timeout` (seconds, 600), `stream_timeout` (seconds of silence), `num_retries` (2),
    `drop_params`, `allowed_openai_params`, `extra_body` and `request_id`. With `stream=True` the result is iterated.
    An AdapterError says whose fault a failure is; a stream raises it where it happens.
    """
    target, body, call = read_arguments(model, {"messages": messages, "stream": stream, **params})
    client = await shared_async_client()
    result = await client.chat(target, body, call)
    if isinstance(result, dict):
        return built(ChatCompletion, result, call)
    return AsyncStream(result, ChatCompletionChunk, call.dropped)


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
    """Complete texts: one or several prompts, each with `n` choices. `acompletion` lists the keywords and errors."""
    target, body, call = read_arguments(model, {"prompt": prompt, "stream": stream, **params})
    client = await shared_async_client()
    result = await client.completion(target, body, call)
    if isinstance(result, dict):
        return built(Completion, result, call)
    return AsyncStream(result, Completion, call.dropped)


async def aembedding(model: str, input: Prompt, **params: Any) -> EmbeddingReply:
    """Embed texts or token lists. `acompletion` lists the keywords and errors.

    `encoding_format` is float (lists) or base64 (of little-endian FP32); `dimensions` shortens the vectors.
    """
    target, body, call = read_arguments(model, {"input": input, **params})
    client = await shared_async_client()
    return built(EmbeddingReply, await client.embedding(target, body, call), call)
