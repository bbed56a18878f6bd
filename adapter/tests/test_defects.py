# ruff: noqa: N802 - the numbers are names
"""The defects that were found in LiteLLM's Triton provider, by number. This SDK has none of them."""

import base64
import json
import struct
import subprocess
import sys
import time
from typing import Any

import pytest

from adapter.tests.driving import Sdk, ask, ends_of, failure, read_report, text_of
from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter import Target, errors


def reported(sdk: Sdk, model: str, triton: str, **params: Any) -> Any:
    """The inputs that a model received."""
    return read_report(sdk.completion(model, ask("REPORT"), api_base=triton, **params))


def test_D1_a_mid_stream_error_is_raised_not_swallowed(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect("vllm", ask("BREAK 2 one two three four"), api_base=triton)
    assert text_of(chunks) == "one two"
    assert ends_of(chunks) == []
    assert isinstance(error, errors.InternalServerError)
    assert error.message == "the engine broke in the middle"


def test_D1_a_mid_stream_error_fails_an_answer_that_is_not_streamed(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("vllm", ask("BREAK 2 one two three four"), api_base=triton))
    assert isinstance(error, errors.InternalServerError)
    assert error.message == "the engine broke in the middle"


def test_D2_a_stream_from_an_infer_address_has_its_text(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect("flat", ask("SAY one two"), api_base=f"{triton}/v2/models/flat/infer")
    assert error is None
    assert text_of(chunks) == "one two"
    assert ends_of(chunks) == ["stop"]


def test_D3_every_message_is_sent_to_infer(sdk: Sdk, triton: str) -> None:
    messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Who are you?"}]
    reply = sdk.completion("flat", messages, api_base=f"{triton}/v2/models/flat/infer")
    sent = "System: You are terse.\nUser: Who are you?\nAssistant:"
    assert reply.choices[0].message.content == f"You said: {sent}"


def test_D4_the_chat_template_that_is_given_is_used(sdk: Sdk, triton: str) -> None:
    messages = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi"}]
    reply = sdk.completion("flat", messages, api_base=triton, chat_template="chatml")
    sent = "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert reply.choices[0].message.content == f"You said: {sent}"


@pytest.mark.parametrize("name", ["roles", "initial_prompt_value", "final_prompt_value"])
def test_D4_what_would_shape_the_prompt_elsewhere_is_refused_by_name(
    sdk: Sdk, triton: str, name: str
) -> None:
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=triton, **{name: "x"}))
    assert isinstance(error, errors.UnsupportedParameterError)
    assert error.param == name


@pytest.mark.parametrize("model", ["trtllm", "trtllm_stream", "vllm", "flat"])
def test_D5_n_choices_are_n_choices(sdk: Sdk, triton: str, model: str) -> None:
    reply = sdk.completion(model, ask("SAY one two"), api_base=triton, n=2)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert all(choice.message.content.startswith("one two") for choice in reply.choices)


@pytest.mark.parametrize("model", ["trtllm_stream", "vllm", "flat", "flat_stream"])
def test_D5_n_choices_are_streamed_each_to_its_end(sdk: Sdk, triton: str, model: str) -> None:
    chunks, error = sdk.collect(model, ask("SAY one two"), api_base=triton, n=2)
    assert error is None
    assert [text_of(chunks, index).removesuffix(" (1)") for index in (0, 1)] == ["one two", "one two"]
    assert ends_of(chunks) == ["stop", "stop"]


def test_D5_several_texts_of_a_model_are_several_choices(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("two_texts", ask("SAY hi"), api_base=triton)
    assert [choice.message.content for choice in reply.choices] == ["hi", "hi (1)"]
    chunks, error = sdk.collect("two_texts", ask("SAY hi"), api_base=triton)
    assert error is None
    assert [text_of(chunks, index) for index in (0, 1)] == ["hi", "hi (1)"]


@pytest.mark.parametrize("model", ["vllm", "llmapi", "trtllm", "echoing"])
def test_D6_the_prompt_is_not_part_of_the_answer(sdk: Sdk, triton: str, model: str) -> None:
    assert sdk.completion(model, ask("SAY one two"), api_base=triton).choices[0].message.content == "one two"
    chunks, error = sdk.collect(model, ask("SAY one two"), api_base=triton)
    assert error is None
    assert text_of(chunks) == "one two"


def test_D7_each_prompt_of_a_list_has_its_own_choice(sdk: Sdk, triton: str) -> None:
    reply = sdk.text_completion("flat", ["SAY a", "SAY b"], api_base=triton, n=2)
    assert [(choice.index, choice.text) for choice in reply.choices] == [
        (0, "a"),
        (1, "a"),
        (2, "b"),
        (3, "b"),
    ]


def test_D7_echo_puts_the_prompt_before_the_text(sdk: Sdk, triton: str) -> None:
    reply = sdk.text_completion("flat", "SAY a", api_base=triton, echo=True)
    assert reply.choices[0].text == "SAY aa"
    chunks, error = sdk.collect_text("flat", "SAY a", api_base=triton, echo=True)
    assert error is None
    assert text_of(chunks) == "SAY aa"


def test_D7_a_suffix_is_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.text_completion("flat", "SAY a", api_base=triton, suffix="the end"))
    assert isinstance(error, errors.UnsupportedParameterError)
    assert error.param == "suffix"


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.5},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logit_bias": {"1": 5}},
        {"reasoning_effort": "low"},
        {"top_k": 5},
        {"tempratur": 0.5},
    ],
    ids=lambda params: next(iter(params)),
)
def test_D8_a_parameter_that_cannot_reach_the_model_is_refused_by_name(
    sdk: Sdk, triton: str, params: dict[str, Any]
) -> None:
    error = failure(lambda: sdk.completion("flat", ask("SAY a"), api_base=triton, **params))
    assert isinstance(error, errors.UnsupportedParameterError)
    assert (error.status_code, error.param, error.code) == (400, next(iter(params)), "unsupported_parameter")


def test_D8_dropped_parameters_are_listed_and_n_is_kept(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion(
        "flat",
        ask("SAY a"),
        api_base=triton,
        drop_params=True,
        temperature=0.5,
        n=3,
        logprobs=True,
        response_format={"type": "json_object"},
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    assert len(reply.choices) == 3
    assert sorted(reply.dropped_params) == ["logprobs", "response_format", "temperature", "tools"]


def test_D9_other_outputs_of_an_embedder_are_left_alone(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed", ["abc", "de"], api_base=triton)
    assert [(item.index, item.embedding) for item in reply.data] == [(0, [3, 1, 0, -1]), (1, [2, 1, 0, -1])]


def test_D10_line_separators_inside_the_text_are_text(sdk: Sdk, triton: str) -> None:
    said = "A\u2028B\u2029 C\x85D E"
    chunks, error = sdk.collect("vllm", ask(f"SAY {said}"), api_base=triton)
    assert error is None
    assert text_of(chunks) == said
    assert sdk.completion("vllm", ask(f"SAY {said}"), api_base=triton).choices[0].message.content == said


def test_D11_base64_is_little_endian_fp32(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed", ["abc"], api_base=triton, encoding_format="base64")
    assert reply.data[0].embedding == base64.b64encode(struct.pack("<4f", 3, 1, 0, -1)).decode()


def test_D11_float_can_be_requested(sdk: Sdk, triton: str) -> None:
    assert sdk.embedding("embed", ["abc"], api_base=triton, encoding_format="float").data[0].embedding == [
        3,
        1,
        0,
        -1,
    ]


def test_D12_one_string_is_one_input(sdk: Sdk, triton: str) -> None:
    assert [item.embedding for item in sdk.embedding("embed", "abcd", api_base=triton).data] == [
        [4, 1, 0, -1]
    ]


def test_D12_tokens_for_a_model_of_text_are_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.embedding("embed", [1, 2, 3], api_base=triton))
    assert isinstance(error, errors.BadRequestError)
    assert error.param == "input"


@pytest.mark.parametrize(
    "given", [[], "", [""], [[]]], ids=["no inputs", "no text", "an empty text", "no tokens"]
)
def test_D12_an_empty_input_is_refused_by_name(sdk: Sdk, triton: str, given: Any) -> None:
    error = failure(lambda: sdk.embedding("embed", given, api_base=triton))
    assert (error.status_code, error.param) == (400, "input")


def test_D13_batched_models_get_their_batch_dimension(sdk: Sdk, triton: str) -> None:
    report = reported(sdk, "trtllm", f"{triton}/infer", stop=["@@", "%%"], max_tokens=500)
    assert report["shapes"]["max_tokens"] == [1, 1]
    assert report["shapes"]["stop_words"] == [1, 2]


def test_D14_a_decoupled_model_answers_at_an_infer_address(sdk: Sdk, triton: str) -> None:
    reply = sdk.completion("vllm", ask("SAY one two"), api_base=f"{triton}/v2/models/vllm/infer")
    assert reply.choices[0].message.content == "one two"


@pytest.mark.parametrize(
    "model, where",
    [("trtllm", "max_tokens"), ("llmapi", "sampling_param_max_tokens"), ("flat", "max_tokens")],
    ids=["TensorRT-LLM", "its LLM API", "a custom model"],
)
def test_D15_max_completion_tokens_is_the_limit(sdk: Sdk, triton: str, model: str, where: str) -> None:
    report = reported(sdk, model, triton, max_completion_tokens=1000, max_tokens=2000)
    assert report["inputs"][where] == [1000]


def test_D15_max_completion_tokens_reaches_vllm_under_its_own_name(sdk: Sdk, triton: str) -> None:
    report = reported(sdk, "vllm", triton, max_completion_tokens=1000)
    assert json.loads(report["inputs"]["sampling_parameters"][0]) == {"max_tokens": 1000}


def test_D16_an_integer_temperature_is_a_number_like_any_other(sdk: Sdk, triton: str) -> None:
    assert reported(sdk, "trtllm", triton, temperature=1)["inputs"]["temperature"] == [1.0]


@pytest.mark.parametrize("model", ["trtllm", "trtllm_stream", "vllm", "llmapi"])
def test_D17_a_text_cut_at_the_limit_says_length(sdk: Sdk, triton: str, model: str) -> None:
    reply = sdk.completion(model, ask("SAY one two three four"), api_base=triton, max_tokens=2)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("one two", "length")


@pytest.mark.parametrize("model", ["trtllm", "trtllm_stream", "vllm"])
def test_D17_usage_is_what_the_backend_counted(sdk: Sdk, triton: str, model: str) -> None:
    reply = sdk.completion(model, ask("SAY one two three four"), api_base=triton)
    assert reply.usage.model_dump() == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    chunks, error = sdk.collect(
        model, ask("SAY one two three four"), api_base=triton, stream_options={"include_usage": True}
    )
    assert error is None
    assert chunks[-1].choices == []
    assert chunks[-1].usage.model_dump() == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


def test_D17_a_text_cut_at_the_limit_says_length_in_a_stream(sdk: Sdk, triton: str) -> None:
    for model in ("trtllm", "trtllm_stream", "vllm", "llmapi"):
        chunks, error = sdk.collect(model, ask("SAY one two three four"), api_base=triton, max_tokens=2)
        assert error is None
        assert (text_of(chunks), ends_of(chunks)) == ("one two", ["length"])


def test_D17_estimated_usage_says_that_it_is_an_estimate(sdk: Sdk, triton: str) -> None:
    usage = sdk.completion("flat", ask("SAY one two three four"), api_base=triton).usage
    assert usage.estimated is True
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (6, 5, 11)


def test_D18_the_key_and_extra_headers_reach_triton(sdk: Sdk, triton: str) -> None:
    params: dict[str, Any] = {"api_key": "k3y", "extra_headers": {"X-Team": "blue"}}
    for model in ("trtllm", "flat"):  # 2.51 forwards headers to the model on infer, not on generate
        sent = reported(sdk, model, triton, **params)["parameters"]
        assert (sent["Authorization"], sent["X-Team"]) == ("Bearer k3y", "blue")


def test_D18_the_key_and_extra_headers_are_sent_with_every_request(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output="hi")))
    sdk.completion("m", ask("x"), api_base=upstream.url, api_key="k3y", extra_headers={"X-Team": "blue"})
    for request in upstream.received:
        assert request.headers["Authorization"] == "Bearer k3y"
        assert request.headers["X-Team"] == "blue"


def test_D19_text_parts_are_text(sdk: Sdk, triton: str) -> None:
    parts = [{"type": "text", "text": "SAY one"}, {"type": "text", "text": "SAY two"}]
    reply = sdk.completion("flat", [{"role": "user", "content": parts}], api_base=triton)
    assert reply.choices[0].message.content == "two"


def test_D19_tool_messages_are_part_of_the_prompt(sdk: Sdk, triton: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    reply = sdk.completion("flat", messages, api_base=triton, chat_template="hermes")
    assert (
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>' in reply.choices[0].message.content
    )
    assert "<tool_response>\n42\n</tool_response>" in reply.choices[0].message.content


def test_D20_tensor_names_can_be_set(sdk: Sdk, triton: str) -> None:
    report = reported(
        sdk,
        "renamed",
        triton,
        prompt_input="QUERY",
        text_output="REPLY",
        parameter_inputs={"max_tokens": "LIMIT", "temperature": "HEAT"},
        fixed_inputs={"STYLE": "plain"},
        max_tokens=7,
        temperature=0,
    )
    assert report["inputs"] == {"QUERY": ["REPORT"], "LIMIT": [7], "HEAT": [0.0], "STYLE": ["plain"]}


def test_D20_the_llm_api_model_gets_its_own_names(sdk: Sdk, triton: str) -> None:
    report = reported(sdk, "llmapi", triton, max_tokens=500, stop="@@", seed=5)
    assert report["inputs"]["sampling_param_max_tokens"] == [500]
    assert report["inputs"]["sampling_param_stop"] == ["@@"]
    assert report["inputs"]["sampling_param_seed"] == [5]
    assert "stop" not in report["inputs"]


FORMS = """
/ /v2 /v2/ /generate /generate/ /generate_stream /infer /infer/ /embeddings /generate?key=1 /v2/models/flat
/v2/models/flat/generate /v2/models/flat/generate_stream/ /v2/models/flat/infer /v2/models/flat/versions/1/infer
"""


@pytest.mark.parametrize("form", ["", *FORMS.split()], ids=lambda form: form or "the bare base")
def test_D21_every_form_of_api_base_reaches_the_model(sdk: Sdk, triton: str, form: str) -> None:
    reply = sdk.completion("flat", ask("SAY hi"), api_base=triton + form)
    assert reply.choices[0].message.content == "hi"
    assert reply.model == "flat"


def test_D22_several_responses_to_one_generate_are_one_answer(sdk: Sdk, triton: str) -> None:
    script = json.dumps([{"text_output": ["one"]}, {"text_output": [" two"]}])
    reply = sdk.completion(
        "flat_stream", ask(f"SCRIPT {script}"), api_base=f"{triton}/v2/models/flat_stream/generate"
    )
    assert reply.choices[0].message.content == "one two"


def test_D22_no_response_at_all_is_an_error(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("vllm", ask("SILENT"), api_base=triton))
    assert (type(error), error.message) == (errors.BadGatewayError, "the model ended without an answer")
    chunks, error_of_stream = sdk.collect("vllm", ask("SILENT"), api_base=triton)
    assert (chunks, type(error_of_stream)) == ([], errors.BadGatewayError)


def test_D23_a_page_of_html_is_a_bad_gateway(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b"<html>Welcome</html>", kind="text/html"))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url))
    assert (error.status_code, error.message) == (502, "the reply is not an infer response")


def test_D23_the_message_is_tritons_own_decoded_once(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("vllm", ask("FAIL"), api_base=triton))
    assert error.message == "the engine is out of memory"
    assert error.to_dict()["error"]["message"] == "the engine is out of memory"


def test_D24_a_server_that_is_down_is_unavailable(sdk: Sdk) -> None:
    error = failure(lambda: sdk.completion("m", ask("x"), api_base="http://127.0.0.1:9", num_retries=0))
    assert isinstance(error, errors.ServiceUnavailableError)
    assert (error.status_code, error.message, error.retry_after) == (
        503,
        "Triton cannot be reached: connection refused",
        1,
    )


def test_D24_a_server_that_is_slow_times_out(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(then="hang")
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=upstream.url, timeout=0.2))
    assert isinstance(error, errors.APITimeoutError)
    assert (error.status_code, error.type) == (504, "upstream_error")


def test_D24_a_model_that_never_ends_times_out(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("endless", ask("talk"), api_base=triton, timeout=0.3))
    assert isinstance(error, errors.APITimeoutError)
    assert (error.status_code, error.code) == (504, "upstream_timeout")


def test_D25_only_triton_is_contacted(sdk: Sdk, upstream: Upstream) -> None:
    for _ in range(3):
        upstream.answer(*chunked(event(text_output="hi")))
    for _ in range(3):
        sdk.completion("m", ask("x"), api_base=upstream.url)
    paths = [request.path for request in upstream.received]
    assert paths == ["/v2/models/m", "/v2/models/m/config", *["/v2/models/m/generate_stream"] * 3]


def test_D26_a_call_gives_up_after_ten_minutes_not_after_a_hundred() -> None:
    target = Target.of("triton/m", "http://127.0.0.1:9")
    assert (target.timeout, target.retries) == (600, 2)


def test_D26_retries_need_nothing_installed(sdk: Sdk, upstream: Upstream) -> None:
    busy = http(b'{"error":"busy"}', status="503 Service Unavailable", extra="Retry-After: 0\r\n")
    upstream.answer(busy)
    upstream.answer(busy)
    upstream.answer(*chunked(event(text_output="hi")))
    reply = sdk.completion("m", ask("x"), api_base=upstream.url, num_retries=2)
    assert reply.choices[0].message.content == "hi"


def test_D26_a_refusal_after_the_last_retry_is_the_upstreams_own(sdk: Sdk, upstream: Upstream) -> None:
    for _ in range(2):
        upstream.answer(
            http(b'{"error":"busy"}', status="503 Service Unavailable", extra="Retry-After: 0\r\n")
        )
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=upstream.url, num_retries=1))
    assert (error.status_code, error.message, error.retry_after) == (503, "busy", 0)
    assert len(upstream.posts) == 2


def test_D27_importing_loads_no_client_and_opens_no_connection() -> None:
    program = (
        "import sys; from triton_adapter import completion, aembedding, errors;"
        "print(sorted(set(sys.modules) & {'httpx', 'aiohttp', 'jinja2', 'tokenizers', 'numpy', 'fastapi', 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_clock_of_created_is_unix_seconds(sdk: Sdk, triton: str) -> None:
    assert abs(sdk.completion("flat", ask("SAY a"), api_base=triton).created - time.time()) < 60
