"""Counts of tokens that are estimates: they do not exceed what the model may have written."""

from typing import Any

import pytest

from adapter.tests.driving import Sdk, ask, ends_of
from adapter.tests.upstream import TEXT, Upstream, chunked, event, http

# 48 bytes, which are estimated as 12 tokens.
SAID = "one two six ten one two six ten one two six ten "
WHOLE = http(
    b'{"model_name":"m","model_version":"1","outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],'
    b'"data":["one two six ten one two six ten one two six ten "]}]}'
)
LENGTH = {"name": "request_output_len", "datatype": "INT32", "shape": [1]}


def counted(usage: Any) -> tuple[int, bool]:
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage.completion_tokens, usage.estimated


def test_an_estimate_is_at_most_max_tokens(sdk: Sdk, whole_upstream: Upstream) -> None:
    whole_upstream.answer(WHOLE)
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, max_tokens=10)
    assert (counted(reply.usage), ends_of([reply])) == ((10, True), ["stop"])


def test_an_estimate_of_a_stream_is_at_most_max_tokens(sdk: Sdk, upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output=SAID[:20]), event(text_output=SAID[20:])))
    chunks, error = sdk.collect(
        "m", ask("x"), api_base=upstream.url, max_tokens=10, stream_options={"include_usage": True}
    )
    assert error is None
    assert (counted(chunks[-1].usage), ends_of(chunks)) == ((10, True), ["stop"])


def test_a_limit_that_does_not_reach_the_model_limits_no_estimate(sdk: Sdk, whole_upstream: Upstream) -> None:
    assert whole_upstream.metadata is not None
    whole_upstream.metadata["inputs"] = [TEXT]
    whole_upstream.config["input"] = [{"name": "text_input"}]
    whole_upstream.answer(WHOLE)
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, max_tokens=10, drop_params=True)
    assert counted(reply.usage) == (12, True)


@pytest.mark.parametrize("params", [{"request_output_len": 50}, {"extra_body": {"request_output_len": 50}}])
def test_the_limit_of_the_models_own_input_replaces_the_default(
    sdk: Sdk, whole_upstream: Upstream, params: dict[str, Any]
) -> None:
    assert whole_upstream.metadata is not None
    whole_upstream.metadata["inputs"] = [TEXT, LENGTH]
    whole_upstream.config["input"] = [
        {"name": "text_input"},
        {"name": "request_output_len", "optional": True},
    ]
    whole_upstream.answer(WHOLE)
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, default_max_tokens=10, **params)
    assert whole_upstream.posts[0].json()["inputs"][1]["data"] == [50]
    assert counted(reply.usage) == (12, True)


def test_a_limit_that_does_not_reach_the_model_is_no_reason_to_finish(
    sdk: Sdk, whole_upstream: Upstream
) -> None:
    assert whole_upstream.metadata is not None
    whole_upstream.metadata["inputs"] = [TEXT]
    whole_upstream.metadata["outputs"].append(
        {"name": "num_output_tokens", "datatype": "INT32", "shape": [1]}
    )
    whole_upstream.config["input"] = [{"name": "text_input"}]
    whole_upstream.answer(
        http(
            b'{"model_name":"m","model_version":"1","outputs":['
            b'{"name":"text_output","datatype":"BYTES","shape":[1],"data":["one two"]},'
            b'{"name":"num_output_tokens","datatype":"INT32","shape":[1],"data":[12]}]}'
        )
    )
    reply = sdk.completion("m", ask("x"), api_base=whole_upstream.url, max_tokens=10, drop_params=True)
    assert (reply.usage.completion_tokens, ends_of([reply])) == (12, ["stop"])
