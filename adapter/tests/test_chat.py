"""Chat completions: how requests are checked, what each backend receives, and what the reply holds."""

import base64
import json
from typing import Any

import pytest

from adapter.tests.driving import Sdk, ask, ends_of, failure, read_report, text_of
from adapter.tests.upstream import Upstream, http
from triton_adapter import errors

IMAGE = "data:image/png;base64," + base64.b64encode(b"not really a picture").decode()


def reported(sdk: Sdk, model: str, triton: str, **params: Any) -> Any:
    """The inputs that a model received."""
    return read_report(sdk.completion(model, ask("REPORT"), api_base=triton, **params))


@pytest.mark.parametrize(
    "body, param",
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usag": True}}, "stream_options.include_usag"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "search"}]}, "tools[0]"),
        ({"tools": "f"}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"user": 5}, "user"),
        ({"stream": "yes"}, "stream"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_malformed_request_is_refused_by_name(sdk: Sdk, body: dict[str, Any], param: str) -> None:
    body = {"messages": ask("x"), "api_base": "http://127.0.0.1:9", **body}
    error = failure(lambda: sdk.completion("m", **body))
    assert isinstance(error, errors.BadRequestError)
    assert (error.status_code, error.type, error.param) == (400, "invalid_request_error", param)
    assert error.to_dict()["error"]["param"] == param


def test_a_reply_has_openais_fields(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("trtllm", ask("SAY hi"), api_base=triton)
    dumped = reply.model_dump()
    assert list(dumped) == ["id", "object", "created", "model", "choices", "usage"]
    assert dumped["id"].startswith("chatcmpl-")
    assert (dumped["object"], dumped["model"]) == ("chat.completion", "trtllm")
    assert dumped["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_a_stream_has_openais_chunks(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect("vllm", ask("SAY one two"), api_base=triton)
    assert error is None
    assert [chunk.model_dump()["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        for delta, finish in [
            ({"role": "assistant", "content": ""}, None),
            ({"content": "one"}, None),
            ({"content": " two"}, None),
            ({}, "stop"),
        ]
    ]
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "chat.completion.chunk", "vllm")
    }


EVERYTHING = {
    "max_tokens": 50,
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 3,
    "stop": ["@@", "%%"],
    "seed": 7,
    "presence_penalty": 1,
    "frequency_penalty": 0.5,
}


@pytest.mark.parametrize("model", ["trtllm", "trtllm_stream"])
def test_every_sampling_parameter_reaches_tensorrt_llm(sdk: Sdk, triton: str, model: str) -> None:
    report = reported(sdk, model, triton, repetition_penalty=1.5, **EVERYTHING)
    inputs = report["inputs"]
    assert {name: inputs[name] for name in inputs if name not in ("text_input", "stream")} == {
        "max_tokens": [50],
        "temperature": [1.0],
        "top_p": [0.5],
        "top_k": [3],
        "stop_words": ["@@", "%%"],
        "seed": [7],
        "presence_penalty": [1.0],
        "frequency_penalty": [0.5],
        "repetition_penalty": [1.5],
        "exclude_input_in_output": [True],
        "return_num_input_tokens": [True],
        "return_num_output_tokens": [True],
    }


def test_every_sampling_parameter_reaches_the_llm_api(sdk: Sdk, triton: str) -> None:
    inputs = reported(sdk, "llmapi", triton, **EVERYTHING)["inputs"]
    assert {name: inputs[name] for name in inputs if name not in ("text_input", "streaming")} == {
        "sampling_param_max_tokens": [50],
        "sampling_param_temperature": [1.0],
        "sampling_param_top_p": [0.5],
        "sampling_param_top_k": [3],
        "sampling_param_stop": ["@@", "%%"],
        "sampling_param_seed": [7],
        "sampling_param_presence_penalty": [1.0],
        "sampling_param_frequency_penalty": [0.5],
        "sampling_param_exclude_input_from_output": [True],
        "return_finish_reason": [True],
    }


def test_every_sampling_parameter_reaches_vllm(sdk: Sdk, triton: str) -> None:
    inputs = reported(sdk, "vllm", triton, min_p=0.25, logit_bias={"5": 2}, **EVERYTHING)["inputs"]
    packed = json.loads(inputs["sampling_parameters"][0])
    assert packed == {**EVERYTHING, "min_p": 0.25, "logit_bias": {"5": 2}}


def test_an_input_of_the_model_is_a_keyword(sdk: Sdk, triton: str) -> None:
    report = reported(sdk, "trtllm", triton, bad_words=["x", "y"])
    assert report["inputs"]["bad_words"] == ["x", "y"]


def test_extra_body_reaches_inputs_and_request_parameters(sdk: Sdk, triton: str) -> None:
    report = reported(
        sdk, "trtllm", triton, extra_body={"top_k": 4, "trace": "on"}, user="me", metadata={"a": 1}
    )
    assert report["inputs"]["top_k"] == [4]
    sent = report["parameters"]
    assert (sent["trace"], sent["user"], sent["metadata"]) == ("on", "me", '{"a":1}')


def test_an_extra_that_triton_cannot_carry_is_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=triton, extra_body={"shape": [1, 2]}))
    assert (error.status_code, error.param) == (400, "shape")


def test_an_allowed_parameter_goes_as_a_request_parameter(sdk: Sdk, triton: str) -> None:
    report = reported(sdk, "flat", triton, temperature=0.5, allowed_openai_params=["temperature"])
    assert report["parameters"]["temperature"] == 0.5


def test_values_without_effect_are_not_sent(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion(
        "flat",
        ask("SAY a"),
        api_base=triton,
        n=1,
        presence_penalty=0,
        frequency_penalty=0.0,
        logprobs=False,
        stop=None,
        tools=[],
        parallel_tool_calls=True,
        response_format={"type": "text"},
        temperature=None,
        logit_bias={},
    )
    assert reply.choices[0].message.content == "a"


def test_a_value_outside_the_tensors_range_is_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("trtllm", ask("x"), api_base=triton, seed=-1))
    assert (error.status_code, error.param) == (400, "seed")


def test_a_required_input_without_a_value_is_named_as_missing(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("renamed", ask("x"), api_base=triton, prompt_input="QUERY"))
    assert isinstance(error, errors.MissingParameterError)
    assert error.param == "STYLE"
    reply = sdk.completion("renamed", ask("SAY hi"), api_base=triton, prompt_input="QUERY", STYLE="plain")
    assert reply.choices[0].message.content == "hi"


def test_the_default_token_limit_can_be_set(sdk: Sdk, triton: str) -> None:
    assert reported(sdk, "trtllm", triton)["inputs"]["max_tokens"] == [2000]
    assert reported(sdk, "trtllm", triton, default_max_tokens=77)["inputs"]["max_tokens"] == [77]


@pytest.mark.parametrize("model", ["vllm", "trtllm", "flat", "flat_stream"])
def test_the_text_ends_before_a_stop_sequence(sdk: Sdk, triton: str, model: str) -> None:
    reply = sdk.completion(model, ask("SAY one two STOP three"), api_base=triton, stop=["STOP"])
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("one two ", "stop")
    chunks, error = sdk.collect(model, ask("SAY one two STOP three"), api_base=triton, stop="o STOP")
    assert error is None
    assert text_of(chunks) == "one tw"
    assert ends_of(chunks) == ["stop"]


def test_text_that_only_begins_like_a_stop_sequence_is_kept(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect("vllm", ask("SAY one two ST"), api_base=triton, stop="STOP")
    assert error is None
    assert text_of(chunks) == "one two ST"


def test_further_choices_of_a_model_without_n_take_the_next_seeds(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("echoing", ask("REPORT"), api_base=triton, n=3, seed=10)
    assert [read_report(reply, index)["inputs"]["seed"] for index in range(3)] == [[10], [11], [12]]


@pytest.mark.parametrize(
    "model, flag", [("vllm", "stream"), ("trtllm_stream", "stream"), ("llmapi", "streaming")]
)
def test_tokens_are_requested_one_by_one_so_that_leaving_cancels(
    sdk: Sdk, triton: str, model: str, flag: str
) -> None:
    assert reported(sdk, model, triton)["inputs"][flag] == [True]
    assert reported(sdk, model, triton, stream_upstream=False)["inputs"][flag] == [False]


def test_a_model_that_cannot_stream_is_never_asked_to(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect("trtllm", ask("REPORT"), api_base=triton)
    assert error is None
    assert json.loads(base64.b64decode(text_of(chunks)))["inputs"]["stream"] == [False]


def test_a_prompt_asked_several_times_counts_once(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("flat", ask("SAY one two three four"), api_base=triton, n=3)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (6, 15)


def test_a_model_of_two_texts_gives_two_choices(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("two_texts", ask("SAY hi"), api_base=triton, n=2)
    assert [choice.message.content for choice in reply.choices] == ["hi", "hi"]


def test_log_probabilities_of_vllm_have_their_tokens(sdk: Sdk, triton: str) -> None:
    params: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    expected = [
        {
            "token": token,
            "logprob": -0.25,
            "bytes": list(token.encode()),
            "top_logprobs": [
                {"token": token, "logprob": -0.25, "bytes": list(token.encode())},
                {"token": "alt1", "logprob": -1.0, "bytes": list(b"alt1")},
            ],
        }
        for token in ("one", " two")
    ]
    reply = sdk.completion("vllm", ask("SAY one two"), api_base=triton, **params)
    assert reply.choices[0].logprobs == {"content": expected, "refusal": None}
    chunks, error = sdk.collect("vllm", ask("SAY one two"), api_base=triton, **params)
    assert error is None
    streamed = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [entry for item in streamed for entry in item["content"]] == expected


def test_log_probabilities_of_tensorrt_llm_are_numbers_without_tokens(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("trtllm", ask("SAY one two"), api_base=triton, logprobs=True, n=2)
    for choice in reply.choices:
        assert [entry["logprob"] for entry in choice.logprobs["content"]] == [-0.5, -0.5]
        assert {entry["token"] for entry in choice.logprobs["content"]} == {""}
    error = failure(
        lambda: sdk.completion("trtllm", ask("x"), api_base=triton, logprobs=True, top_logprobs=2)
    )
    assert error.param == "top_logprobs"


def test_tokens_of_tensorrt_llm_are_named_where_each_comes_by_itself(sdk: Sdk, triton: str) -> None:
    params: dict[str, Any] = {"api_base": triton, "logprobs": True}
    reply = sdk.completion("trtllm_stream", ask("SAY one two"), **params)
    expected = [
        {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
        for token in ("one", " two")
    ]
    assert reply.choices[0].logprobs["content"] == expected
    chunks, error = sdk.collect("trtllm_stream", ask("SAY one two"), **params)
    assert error is None
    assert streamed_logprobs(chunks) == expected


def streamed_logprobs(chunks: list[Any]) -> list[Any]:
    return [
        entry
        for chunk in chunks
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs["content"]
    ]


@pytest.mark.parametrize("stop", [" STOP", "ST", "o STOP x"])
def test_tokens_after_a_stop_sequence_have_no_log_probabilities(sdk: Sdk, triton: str, stop: str) -> None:
    params: dict[str, Any] = {"api_base": triton, "logprobs": True, "stop": stop}
    tokens = {" STOP": ["one", " two"], "ST": ["one", " two", " STOP"], "o STOP x": ["one", " two"]}[stop]
    reply = sdk.completion("vllm", ask("SAY one two STOP x"), **params)
    assert [entry["token"] for entry in reply.choices[0].logprobs["content"]] == tokens
    chunks, error = sdk.collect("vllm", ask("SAY one two STOP x"), **params)
    assert error is None
    assert [entry["token"] for entry in streamed_logprobs(chunks)] == tokens


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_a_json_schema_guides_tensorrt_llm(sdk: Sdk, triton: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    inputs = reported(sdk, "trtllm", triton, response_format=form)["inputs"]
    assert inputs["guided_decoding_guide_type"] == ["json_schema"]
    assert json.loads(inputs["guided_decoding_guide"][0]) == SCHEMA
    inputs = reported(sdk, "trtllm", triton, response_format={"type": "json_object"})["inputs"]
    assert inputs["guided_decoding_guide_type"] == ["json"]


def test_a_json_schema_guides_vllm(sdk: Sdk, triton: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    packed = json.loads(
        reported(sdk, "vllm", triton, response_format=form)["inputs"]["sampling_parameters"][0]
    )
    assert json.loads(packed["structured_outputs"]) == {"json": SCHEMA}


def test_the_name_of_guided_decoding_in_vllm_can_be_set(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.metadata = None
    whole_upstream.answer(http(b'{"text_output":"{}"}'))
    sdk.completion(
        "m",
        ask("x"),
        api_base=f"{whole_upstream.url}/generate",
        profile="vllm",
        guided_parameter="guided_decoding",
        response_format={"type": "json_object"},
    )
    packed = json.loads(whole_upstream.posts[0].json()["parameters"]["sampling_parameters"])
    assert json.loads(packed["guided_decoding"]) == {"json_object": True}


@pytest.mark.parametrize("model", ["echoing", "llmapi", "flat"])
def test_a_format_that_no_backend_can_promise_is_refused_by_name(sdk: Sdk, triton: str, model: str) -> None:
    error = failure(
        lambda: sdk.completion(model, ask("x"), api_base=triton, response_format={"type": "json_object"})
    )
    assert isinstance(error, errors.UnsupportedParameterError)
    assert error.param == "response_format"


def with_image(url: str) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "REPORT"}]
    return [{"role": "user", "content": parts}]


def test_an_image_reaches_vllm_as_base64(sdk: Sdk, triton: str) -> None:
    inputs = read_report(sdk.completion("vllm", with_image(IMAGE), api_base=triton))["inputs"]
    assert base64.b64decode(inputs["image"][0]) == b"not really a picture"


def test_an_image_reaches_the_llm_api_as_its_url(sdk: Sdk, triton: str) -> None:
    inputs = read_report(sdk.completion("llmapi", with_image("https://e.org/a.png"), api_base=triton))[
        "inputs"
    ]
    assert inputs["image_url"] == ["https://e.org/a.png"]


def test_an_image_that_would_have_to_be_fetched_is_refused(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("vllm", with_image("https://e.org/a.png"), api_base=triton))
    assert "nothing is fetched" in error.message


def test_an_image_for_a_model_of_text_is_refused(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("flat", with_image(IMAGE), api_base=triton))
    assert (error.status_code, error.code) == (400, "unsupported_content")


def test_a_part_that_no_model_takes_is_refused_by_its_place(sdk: Sdk, triton: str) -> None:
    parts = [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]
    error = failure(lambda: sdk.completion("flat", [{"role": "user", "content": parts}], api_base=triton))
    assert error.param == "messages[0].content"


def test_the_engines_error_before_the_first_token_is_an_error_at_once(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect("vllm", ask("FAIL"), api_base=triton)
    assert chunks == []
    assert error is not None
    assert error.message == "the engine is out of memory"


def test_a_stream_that_ends_before_its_backend_says_so_is_an_error(sdk: Sdk, triton: str) -> None:
    script = json.dumps([{"text_output": ["one"], "finish_reason": ["None"]}])
    chunks, error = sdk.collect("vllm", ask(f"SCRIPT {script}"), api_base=triton)
    assert text_of(chunks) == "one"
    assert ends_of(chunks) == []
    assert isinstance(error, errors.BadGatewayError)


def test_a_backend_that_aborts_is_an_error(sdk: Sdk, triton: str) -> None:
    script = json.dumps([{"text_output": ["one"], "finish_reason": ["abort"]}])
    error = failure(lambda: sdk.completion("vllm", ask(f"SCRIPT {script}"), api_base=triton))
    assert error.message == "the model stopped early: abort"


def test_a_model_that_gives_too_few_choices_is_an_error(sdk: Sdk, triton: str) -> None:
    script = json.dumps([{"text_output": ["one"], "finish_reason": ["stop"]}])
    error = failure(lambda: sdk.completion("vllm", ask(f"SCRIPT {script}"), api_base=triton, n=2))
    assert error.message == "the model gave 1 of the 2 choices asked for"
