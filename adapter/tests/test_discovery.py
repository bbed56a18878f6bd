"""Metadata of models: what the adapter reads, when it reads it again, and what it does where there is none."""

import json

import pytest

from adapter.tests.driving import Sdk, ask, failure, text_of
from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter import errors

HI = http(b'{"outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["hi"]}]}')


def test_an_unknown_model_is_not_found_in_tritons_words(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("nope", ask("x"), api_base=triton))
    assert isinstance(error, errors.NotFoundError)
    assert (error.param, error.code) == ("model", "model_not_found")
    assert error.message == "Request for unknown model: 'nope' is not found"


def test_an_unknown_model_at_a_bare_address_is_not_found_by_the_real_server(
    sdk: Sdk, upstream: Upstream
) -> None:
    upstream.metadata = None
    upstream.answer(http(b'{"error":"Not Found"}', status="404 Not Found", kind="text/plain"))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=f"{upstream.url}/generate"))
    assert isinstance(error, errors.NotFoundError)
    assert error.message == "Request for unknown model: 'm' is not found"


def test_a_version_is_requested_by_its_number(sdk: Sdk, triton: str) -> None:
    assert (
        sdk.completion("flat", ask("SAY a"), api_base=triton, model_version="1").choices[0].message.content
        == "a"
    )
    error = failure(lambda: sdk.completion("flat", ask("SAY a"), api_base=triton, model_version="9"))
    assert error.status_code == 404


def test_a_model_that_has_changed_is_read_again(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(HI)
    sdk.completion("m", ask("x"), api_base=whole_upstream.url)
    whole_upstream.config["max_batch_size"] = 4
    assert whole_upstream.metadata is not None
    whole_upstream.metadata = {
        **whole_upstream.metadata,
        "inputs": [
            {"name": "text_input", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "max_tokens", "datatype": "INT32", "shape": [-1, 1]},
        ],
    }
    refusal = (
        b"{\"error\":\"unexpected shape for input 'text_input' for model 'm'. Expected [-1,1], got [1]. \"}"
    )
    whole_upstream.answer(http(refusal, status="400 Bad Request"))
    whole_upstream.answer(HI)
    assert sdk.completion("m", ask("x"), api_base=whole_upstream.url).choices[0].message.content == "hi"
    assert [post.json()["inputs"][0]["shape"] for post in whole_upstream.posts] == [[1], [1], [1, 1]]


def test_what_a_model_takes_after_its_change_was_not_dropped(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(HI)
    sdk.completion("m", ask("x"), api_base=whole_upstream.url)
    assert whole_upstream.metadata is not None
    temperature = {"name": "temperature", "datatype": "FP32", "shape": [1]}
    inputs = [*whole_upstream.metadata["inputs"], temperature]
    whole_upstream.metadata = {**whole_upstream.metadata, "inputs": inputs}
    refusal = b"{\"error\":\"unexpected shape for input 'text_input' for model 'm'.\"}"
    whole_upstream.answer(http(refusal, status="400 Bad Request"))
    whole_upstream.answer(HI)
    asked = {"temperature": 0.5, "top_k": 7, "drop_params": True}
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, **asked)
    sent = {each["name"] for each in whole_upstream.posts[-1].json()["inputs"]}
    assert "temperature" in sent
    assert reply.dropped_params == ["top_k"]


def test_a_model_that_has_not_changed_is_not_asked_twice(sdk: Sdk, whole_upstream: Upstream) -> None:
    refusal = b"{\"error\":\"unexpected shape for input 'text_input' for model 'm'.\"}"
    whole_upstream.answer(http(refusal, status="400 Bad Request"))
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=whole_upstream.url))
    assert isinstance(error, errors.BadRequestError)
    assert len(whole_upstream.posts) == 1


def test_a_decoupled_model_whose_config_is_hidden_is_found_out(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.hide_config = True
    refusal = b'{"error":"HTTP end point doesn\'t support models with decoupled transaction policy"}'
    whole_upstream.answer(http(refusal, status="501 Not Implemented", kind="text/plain"))
    whole_upstream.answer(*chunked(event(text_output="one"), event(text_output=" two")))
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url)
    assert reply.choices[0].message.content == "one two"
    assert [post.path for post in whole_upstream.posts] == [
        "/v2/models/m/infer",
        "/v2/models/m/generate_stream",
    ]


def test_a_bare_generate_gets_the_body_that_litellm_sends(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.answer(http(b'{"model_name":"m","model_version":"1","text_output":"hi"}'))
    reply = sdk.completion("m", ask("who are u?"), max_tokens=10, api_base=f"{upstream.url}/triton/generate")
    assert reply.choices[0].message.content == "hi"
    (post,) = upstream.posts
    assert post.path == "/triton/generate"
    assert post.json() == {"text_input": "who are u?", "parameters": {"max_tokens": 10}, "stream": False}


def test_a_bare_generate_is_streamed_from_generate_stream(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.answer(*chunked(event(text_output="one"), event(text_output=" two")))
    chunks, error = sdk.collect("m", ask("who are u?"), api_base=f"{upstream.url}/generate")
    assert error is None
    assert text_of(chunks) == "one two"
    (post,) = upstream.posts
    assert post.path == "/generate_stream"
    assert post.json() == {"text_input": "who are u?", "parameters": {"max_tokens": 2000}, "stream": True}


def test_a_bare_infer_gets_the_tensors_that_litellm_sends(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.answer(HI)
    reply = sdk.completion("m", ask("who are u?"), max_tokens=20, api_base=f"{upstream.url}/infer")
    assert reply.choices[0].message.content == "hi"
    tensors = {tensor["name"]: tensor for tensor in upstream.posts[0].json()["inputs"]}
    assert tensors["text_input"] == {
        "name": "text_input",
        "shape": [1],
        "datatype": "BYTES",
        "data": ["who are u?"],
    }
    assert tensors["max_tokens"] == {"name": "max_tokens", "shape": [1], "datatype": "INT32", "data": [20]}


def test_a_bare_infer_is_streamed_as_one_piece(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.answer(HI)
    chunks, error = sdk.collect("m", ask("who are u?"), api_base=f"{upstream.url}/infer")
    assert error is None
    assert text_of(chunks) == "hi"


def test_a_bare_embeddings_address_gets_the_tensors_that_litellm_sends(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.answer(
        http(b'{"outputs":[{"name":"e","datatype":"FP32","shape":[2,2],"data":[1.0,2.0,3.0,4.0]}]}')
    )
    reply = sdk.embedding("m", ["good", "morning"], api_base=f"{upstream.url}/embeddings")
    assert [item.embedding for item in reply.data] == [[1, 2], [3, 4]]
    (post,) = upstream.posts
    assert post.path == "/embeddings"
    (tensor,) = post.json()["inputs"]
    assert tensor == {"name": "input_text", "shape": [2], "datatype": "BYTES", "data": ["good", "morning"]}


def test_what_cannot_be_known_to_arrive_is_refused_at_a_bare_address(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    error = failure(
        lambda: sdk.completion("m", ask("x"), temperature=0.5, api_base=f"{upstream.url}/generate")
    )
    assert isinstance(error, errors.UnsupportedParameterError)
    assert error.param == "temperature"
    assert upstream.posts == []


def test_a_profile_says_what_a_bare_address_takes(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.answer(http(b'{"text_output":"hi"}'))
    sdk.completion(
        "m", ask("x"), temperature=0, stop="@", profile="trtllm", api_base=f"{upstream.url}/generate"
    )
    sent = upstream.posts[0].json()["parameters"]
    assert (sent["temperature"], sent["stop_words"]) == (0.0, ["@"])
    assert sent["exclude_input_in_output"] is True


def test_metadata_that_is_no_json_is_a_bad_gateway(sdk: Sdk, upstream: Upstream) -> None:
    upstream.metadata = {"name": "m"}
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=upstream.url))
    assert isinstance(error, errors.BadGatewayError)


@pytest.mark.parametrize(
    "settings, param",
    [
        ({"profile": "gpt"}, "profile"),
        ({"prompt_input": "NOPE"}, "prompt_input"),
        ({"text_output": "NOPE"}, "text_output"),
        ({"parameter_inputs": {"temperature": "NOPE"}}, "parameter_inputs"),
        ({"operation": "guess"}, "operation"),
        ({"default_max_tokens": "many"}, "default_max_tokens"),
        ({"chat_template": "/no/such/file"}, "chat_template"),
        ({"chat_template": "{% if %}"}, "chat_template"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_setting_that_does_not_fit_is_refused_by_name(
    sdk: Sdk, triton: str, settings: dict[str, object], param: str
) -> None:
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=triton, **settings))
    assert (error.status_code, error.param) == (400, param)


def test_generate_can_be_set_for_a_model_that_also_takes_infer(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"text_output":"hi"}'))
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, operation="generate")
    assert reply.choices[0].message.content == "hi"
    assert whole_upstream.posts[0].path == "/v2/models/m/generate"
