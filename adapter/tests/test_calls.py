"""The keywords of the call itself. They are checked before anything is sent."""

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

import triton_adapter
import triton_adapter.proxy
from adapter.tests.driving import Sdk, ask, failure, read_report
from adapter.tests.upstream import Upstream
from triton_adapter import completion, errors

LAST = "{{ messages[-1].content }}"
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    "params, param",
    [
        ({"timeout": "long"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": (1, 2)}, "timeout"),
        ({"num_retries": 1.5}, "num_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"extra_headers": {"X": b"bytes"}}, "extra_headers"),
        ({"extra_headers": [("X", "a")]}, "extra_headers"),
        ({"headers": "X: a"}, "headers"),
        ({"api_key": 5}, "api_key"),
        ({"request_id": 5}, "request_id"),
        ({"allowed_openai_params": 5}, "allowed_openai_params"),
        ({"metadata": {"a": ...}}, None),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, None),
        ({"custom_llm_provider": "openai"}, "model"),
        ({"chat_template_kwargs": 5}, "chat_template_kwargs"),
        ({"stream_upstream": "yes"}, "stream_upstream"),
        ({"api_base": None}, "api_base"),
        ({"api_base": "nonsense://"}, "api_base"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_keyword_that_makes_no_sense_is_refused_by_name(
    sdk: Sdk, upstream: Upstream, params: dict[str, Any], param: str | None
) -> None:
    given = {"messages": ask("x"), "api_base": upstream.url, **params}
    error = failure(lambda: sdk.completion("m", **given))
    assert isinstance(error, errors.BadRequestError)
    assert (error.status_code, error.param) == (400, param)


@pytest.mark.parametrize("model", [None, 5, "", "triton/"])
def test_a_model_that_is_no_name_is_refused(model: Any) -> None:
    error = failure(lambda: completion(model, ask("x"), api_base="http://127.0.0.1:9"))
    assert (error.status_code, error.param, error.message) == (400, "model", "model must be 'triton/NAME'")


def test_a_replys_message_goes_into_the_next_call_as_it_is(sdk: Sdk, triton: str) -> None:
    messages: list[Any] = ask('SAY <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>')
    said = sdk.completion(
        "flat", messages, api_base=triton, tools=TOOLS, chat_template=LAST, tool_parser="hermes"
    )
    message = said.choices[0].message
    theirs = ChatCompletionMessage.model_validate(message.model_dump())
    answer = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "42"}
    for each in (message, theirs):
        reply = sdk.completion("flat", [*messages, each, answer], api_base=triton, chat_template="hermes")
        sent = reply.choices[0].message.content
        assert '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}' in sent


def test_arrays_and_tuples_are_lists_and_numbers(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion(
        "trtllm",
        tuple(ask("REPORT")),
        api_base=triton,
        temperature=np.float32(0.5),
        max_tokens=np.int64(50),
        stop=("@@", "%%"),
    )
    inputs = read_report(reply)["inputs"]
    assert (inputs["temperature"], inputs["max_tokens"], inputs["stop_words"]) == ([0.5], [50], ["@@", "%%"])
    found = sdk.embedding("embed", np.array(["a", "bb"]), api_base=triton)
    assert [item.embedding[0] for item in found.data] == [1, 2]


def test_a_class_of_pydantics_is_a_response_format(sdk: Sdk, triton: str) -> None:
    class Event(BaseModel):
        name: str

    inputs = read_report(sdk.completion("trtllm", ask("REPORT"), api_base=triton, response_format=Event))[
        "inputs"
    ]
    assert inputs["guided_decoding_guide_type"] == ["json_schema"]
    assert json.loads(inputs["guided_decoding_guide"][0]) == Event.model_json_schema()


def test_base_url_is_another_name_of_api_base(sdk: Sdk, triton: str) -> None:
    assert sdk.completion("flat", ask("SAY a"), base_url=triton).choices[0].message.content == "a"


def test_a_name_without_its_prefix_is_the_same_model(triton: str) -> None:
    assert completion("flat", ask("SAY a"), api_base=triton).choices[0].message.content == "a"


def test_a_header_that_cannot_be_sent_is_refused(sdk: Sdk, triton: str) -> None:
    headers = {"X-Team": "a\r\nX-Admin: yes"}
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=triton, extra_headers=headers))
    assert (error.status_code, error.param) == (400, "api_base")


@pytest.mark.parametrize(
    "params, told",
    [
        ({"model": "openai/gpt-4o"}, "write triton/NAME"),
        ({"max_token": 5}, "Did you mean 'max_tokens'?"),
        ({"tools": TOOLS}, "set chat_template to llama3, mistral, hermes or qwen"),
        ({"fallbacks": ["triton/vllm"]}, "the proxy falls back"),
        ({"mock_response": "hi"}, "start a triton-emulator and set api_base"),
        ({"prefix": "/v1"}, "is the path of api_base right?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_error_says_what_to_do(sdk: Sdk, triton: str, params: dict[str, Any], told: str) -> None:
    api_base = triton + params.get("prefix", "")
    given = {name: value for name, value in params.items() if name not in ("prefix", "model")}
    error = failure(lambda: sdk.completion(params.get("model", "flat"), ask("x"), api_base=api_base, **given))
    assert isinstance(error, errors.RequestError)
    assert told in error.message


def test_a_parameter_of_openais_is_not_taken_for_a_misspelling(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=triton, logprobs=True))
    assert (error.status_code, error.param) == (400, "logprobs")
    assert "Did you mean" not in error.message


@pytest.mark.parametrize("port", ["grpc", "metrics"])
def test_another_port_of_tritons_is_recognised_as_no_http_port(sdk: Sdk, port: str) -> None:
    from triton_emulator.emulator import Emulator

    with Emulator() as emulator:
        api_base = (
            f"http://{emulator.grpc_url}" if port == "grpc" else emulator.metrics_url.removesuffix("/metrics")
        )
        error = failure(lambda: sdk.completion("vllm", ask("x"), api_base=api_base, num_retries=0))
    assert isinstance(error, errors.AdapterError)
    assert "HTTP port?" in error.message


def test_litellms_keywords_without_a_value_are_accepted(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion(
        "flat",
        ask("SAY a"),
        api_base=triton,
        caching=False,
        mock_response=None,
        fallbacks=None,
        verbose=False,
    )
    assert reply.choices[0].message.content == "a"


def test_an_unknown_host_name_is_reported(sdk: Sdk) -> None:
    error = failure(
        lambda: sdk.completion("m", ask("x"), api_base="http://no-such-host.invalid:8000", num_retries=0)
    )
    assert error.message == "Triton cannot be reached: its name is unknown"


@pytest.mark.parametrize(
    "package", [triton_adapter, triton_adapter.proxy], ids=lambda package: package.__name__
)
def test_every_public_name_is_there(package: ModuleType) -> None:
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert dir(package) == package.__all__ == sorted(package.__all__)
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_every_error_and_result_is_a_public_name() -> None:
    raised = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    returned = {
        "AsyncStream",
        "ChatCompletion",
        "ChatCompletionChunk",
        "Completion",
        "EmbeddingReply",
        "Stream",
    }
    assert raised | returned <= set(triton_adapter.__all__)


def test_errors_are_grouped_by_their_fault() -> None:
    faults: dict[type[errors.AdapterError], set[int]] = {
        errors.RequestError: {400, 401, 403, 404, 413, 429},
        errors.ServerError: {500, 502, 503, 504},
    }
    for root, statuses in faults.items():
        found = {kind.status_code for kind in errors.BY_STATUS.values() if issubclass(kind, root)}
        assert found == statuses
