"""The functions that block, with LiteLLM's call shape.

`ci/unasync.py` wrote this from `async_functions.py`: change that file, then run the script.
"""

from typing import Any, Literal, overload

from triton_adapter.openai.objects import ChatCompletion, ChatCompletionChunk, Completion, EmbeddingReply
from triton_adapter.sdk.arguments import Prompt, read_arguments
from triton_adapter.sdk.shared import shared_client
from triton_adapter.sdk.streams import Stream, built


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
    """Complete a chat. `model` is `triton/NAME`, `api_base` the URL of the server.

        completion("triton/llm", [{"role": "user", "content": "Hi"}], api_base="http://localhost:8000")

    Every OpenAI parameter, every `Settings` field and every input of the model is a keyword; so are `api_base`,
    `api_key`, `extra_headers`, `timeout` (seconds, 600), `stream_timeout` (seconds of silence), `num_retries` (2),
    `drop_params`, `allowed_openai_params`, `extra_body` and `request_id`. With `stream=True` the result is iterated.
    An AdapterError says whose fault a failure is; a stream raises it where it happens.
    """
    target, body, call = read_arguments(model, {"messages": messages, "stream": stream, **params})
    client = shared_client()
    result = client.chat(target, body, call)
    if isinstance(result, dict):
        return built(ChatCompletion, result, call)
    return Stream(result, ChatCompletionChunk, call.dropped)


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
    """Complete texts: one or several prompts, each with `n` choices. `completion` lists the keywords and errors."""
    target, body, call = read_arguments(model, {"prompt": prompt, "stream": stream, **params})
    client = shared_client()
    result = client.completion(target, body, call)
    if isinstance(result, dict):
        return built(Completion, result, call)
    return Stream(result, Completion, call.dropped)


def embedding(model: str, input: Prompt, **params: Any) -> EmbeddingReply:
    """Embed texts or token lists. `completion` lists the keywords and errors.

    `encoding_format` is float (lists) or base64 (of little-endian FP32); `dimensions` shortens the vectors.
    """
    target, body, call = read_arguments(model, {"input": input, **params})
    client = shared_client()
    return built(EmbeddingReply, client.embedding(target, body, call), call)
