"""The proxy as the `openai` client sees it: every call, blocking and async, with each server as upstream."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from adapter.tests.proxy.serving import MASTER, entry, events, post, serve
from triton_adapter.proxy import ProxyServer

Ask = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest, proxy: ProxyServer) -> Ask:
    """Makes one call of the client by its name, as `ask("chat.completions.create", ...)`. It collects streams."""

    def blocking(path: str, **params: Any) -> Any:
        with openai.OpenAI(api_key=MASTER, base_url=f"{proxy.url}/v1", max_retries=0) as client:
            result = _method(client, path)(**params)
            return list(result) if params.get("stream") else result

    def awaiting(path: str, **params: Any) -> Any:
        async def call() -> Any:
            async with openai.AsyncOpenAI(
                api_key=MASTER, base_url=f"{proxy.url}/v1", max_retries=0
            ) as client:
                result = await _method(client, path)(**params)
                return [chunk async for chunk in result] if params.get("stream") else result

        return asyncio.run(call())

    return blocking if request.param == "blocking" else awaiting


def _method(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("model", ["flat", "trtllm", "trtllm_stream", "llmapi", "vllm", "wild/vllm", "gpt-4"])
def test_a_chat_completion(ask: Ask, model: str) -> None:
    reply = ask("chat.completions.create", model=model, messages=messages("SAY one two"), max_tokens=10)
    assert reply.model == model
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.choices[0].message.content == "one two"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert reply._request_id.startswith("req_")


@pytest.mark.parametrize("model", ["flat", "trtllm", "trtllm_stream", "llmapi", "vllm"])
def test_a_streamed_chat_completion(ask: Ask, model: str) -> None:
    chunks = ask(
        "chat.completions.create",
        model=model,
        messages=messages("SAY one two"),
        stream=True,
        stream_options={"include_usage": True},
    )
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {model}
    assert chunks[0].choices[0].delta.role == "assistant"
    told = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in told) == "one two"
    assert [choice.finish_reason for choice in told if choice.finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 2
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": messages("SAY one two")}),
        ("/v1/completions", {"prompt": "SAY one two"}),
    ],
)
def test_a_stream_has_no_usage_unless_it_is_asked_for(
    proxy: ProxyServer, path: str, asked: dict[str, Any]
) -> None:
    *chunks, done = events(post(proxy, path, {"model": "vllm", "stream": True, **asked}).text)
    assert done == "[DONE]"
    assert {tuple(sorted(chunk)) for chunk in chunks} == {("choices", "created", "id", "model", "object")}


@pytest.mark.parametrize("model", ["flat", "vllm"])
def test_a_text_completion_of_several_prompts(ask: Ask, model: str) -> None:
    reply = ask("completions.create", model=model, prompt=["SAY a", "SAY b"], n=2)
    assert reply.object == "text_completion"
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert [choice.text.removesuffix(" (1)") for choice in reply.choices] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("model", ["flat", "vllm"])
def test_a_streamed_text_completion(ask: Ask, model: str) -> None:
    chunks = ask("completions.create", model=model, prompt="SAY one two", stream=True)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "one two"


@pytest.mark.parametrize("given", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}], ids=str)
def test_embeddings_in_the_clients_default_encoding_and_in_the_others(
    ask: Ask, given: dict[str, Any]
) -> None:
    reply = ask("embeddings.create", model="embed", input=["good morning", "bye"], **given)
    assert reply.object == "list"
    assert [item.index for item in reply.data] == [0, 1]
    if given.get("encoding_format") == "base64":
        assert all(isinstance(item.embedding, str) for item in reply.data)
    else:
        assert [item.embedding[0] for item in reply.data] == [12, 3]
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


def test_models_are_listed(ask: Ask) -> None:
    page = ask("models.list")
    names = [model.id for model in page.data]
    assert {"flat", "vllm", "embed", "wild/*", "ns/flat", "gpt-4"} <= set(names)
    assert len(names) == len(set(names))
    assert {(model.object, model.owned_by) for model in page.data} == {("model", "triton")}


@pytest.mark.parametrize("name", ["flat", "ns/flat", "wild/anything", "gpt-4"])
def test_a_model_is_found_by_its_name_slashes_and_all(ask: Ask, name: str) -> None:
    assert ask("models.retrieve", model=name).id == name


def test_an_unknown_model_is_not_found(ask: Ask) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask("chat.completions.create", model="nobody", messages=messages("hi"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        ask("models.retrieve", model="no/such/model")


def test_a_model_that_triton_does_not_have_is_not_found(ask: Ask) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask("chat.completions.create", model="wild/nobody", messages=messages("hi"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_parameter_that_cannot_reach_the_model_is_a_bad_request(ask: Ask) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask("chat.completions.create", model="flat", messages=messages("hi"), temperature=0.5)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "temperature")


def test_a_failure_in_mid_stream_is_raised_after_what_came_before(proxy: ProxyServer) -> None:
    said: list[str] = []
    with openai.OpenAI(api_key=MASTER, base_url=proxy.url, max_retries=0) as client:
        stream = client.chat.completions.create(
            model="vllm", messages=[{"role": "user", "content": "BREAK 2 one two three"}], stream=True
        )
        with pytest.raises(openai.APIError, match="the engine broke in the middle"):
            said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(said) == "one two"


def test_the_base_url_may_lack_v1(proxy: ProxyServer) -> None:
    with openai.OpenAI(api_key=MASTER, base_url=proxy.url, max_retries=0) as client:
        reply = client.embeddings.create(model="embed", input="good morning")
    assert reply.data[0].embedding[0] == 12


def test_a_wrong_key_is_an_authentication_error(proxy: ProxyServer) -> None:
    with (
        openai.OpenAI(api_key="sk-wrong", base_url=proxy.url, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="flat", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == "invalid_api_key"


def test_azures_client_is_answered_by_its_deployment(proxy: ProxyServer) -> None:
    with openai.AzureOpenAI(
        api_key=MASTER, azure_endpoint=proxy.url, api_version="2024-02-01", max_retries=0
    ) as client:
        reply = client.chat.completions.create(
            model="flat", messages=[{"role": "user", "content": "SAY hello"}]
        )
    assert reply.choices[0].message.content == "hello"
    assert reply.model == "flat"


def test_many_at_a_time_get_their_own_answers(proxy: ProxyServer) -> None:
    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(api_key=MASTER, base_url=proxy.url, max_retries=0) as client:

            async def whole(at: int) -> str:
                reply = await client.chat.completions.create(model="flat", messages=messages(f"SAY {at}"))  # type: ignore[arg-type]
                return reply.choices[0].message.content or ""

            async def streamed(at: int) -> str:
                stream: Any = await client.chat.completions.create(
                    model="vllm",
                    messages=messages(f"SAY {at} and {at}"),  # type: ignore[arg-type]
                    stream=True,
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*map(whole, range(20)), *map(streamed, range(20)))

    assert asyncio.run(ask_all()) == [*map(str, range(20)), *(f"{at} and {at}" for at in range(20))]


def test_tool_calls_grow_as_the_client_follows_them(triton: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "strict": True, "parameters": parameters},
    }
    calls = [
        f'<tool_call> {{"name": "weather", "arguments": {{"city": "{city}"}}}} </tool_call>'
        for city in ("Zürich on the Limmat", "Bern")
    ]
    said: Any = messages("SAY Let me see. " + " ".join(calls))
    model = entry("t", triton, "vllm", chat_template="{{ messages[-1].content }}", tool_parser="hermes")
    with (
        serve(model) as proxy,
        openai.OpenAI(api_key=MASTER, base_url=proxy.url) as client,
        client.chat.completions.stream(model="t", messages=said, tools=[tool], max_tokens=99) as stream,
    ):
        grown = [event.arguments for event in stream if event.type == "tool_calls.function.arguments.delta"]
        choice = stream.get_final_completion().choices[0]
    assert '{"city": "Zürich on' in grown
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see. ")
    parsed = [call.function.parsed_arguments for call in choice.message.tool_calls or ()]
    assert parsed == [{"city": "Zürich on the Limmat"}, {"city": "Bern"}]
