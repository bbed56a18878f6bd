"""Embeddings: every form of input and of model. The vectors have the order of the inputs."""

import base64
import json
import math
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from adapter.tests.driving import Sdk, failure
from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter import errors

TEXTS = [f"{'x' * length}" for length in range(1, 11)]
VECTORS = [[length, 1, 0, -1] for length in range(1, 11)]


@pytest.mark.parametrize("model", ["embed", "embed_flat", "embed_one", "embed_fp16", "vllm"])
def test_texts_become_vectors_in_their_order(sdk: Sdk, triton: str, model: str) -> None:
    reply = sdk.embedding(model, TEXTS, api_base=triton)
    assert [item.index for item in reply.data] == list(range(10))
    assert [item.embedding for item in reply.data] == VECTORS


def test_a_reply_has_openais_fields(sdk: Sdk, triton: str) -> None:
    dumped = sdk.embedding("embed", "abcd efgh", api_base=triton).model_dump()
    assert dumped == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [9, 1, 0, -1]}],
        "model": "embed",
        "usage": {"prompt_tokens": 3, "total_tokens": 3, "estimated": True},
    }


def test_tokens_go_to_a_model_of_tokens_with_their_mask(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed_tokens", [[5, 6, 7], [8]], api_base=triton)
    assert [item.embedding for item in reply.data] == [[3, 1, 0, -1], [1, 1, 0, -1]]
    assert reply.usage.model_dump() == {"prompt_tokens": 4, "total_tokens": 4}
    assert len(sdk.embedding("embed_tokens", [5, 6], api_base=triton).data) == 1


def test_text_for_a_model_of_tokens_needs_a_tokenizer(sdk: Sdk, triton: str, tmp_path: Path) -> None:
    error = failure(lambda: sdk.embedding("embed_tokens", "good morning", api_base=triton))
    assert (error.status_code, error.param) == (400, "input")
    made = Tokenizer(models.WordLevel({"good": 0, "morning": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    reply = sdk.embedding(
        "embed_tokens", "good morning", api_base=triton, tokenizer=str(tmp_path / "tokenizer.json")
    )
    assert reply.data[0].embedding == [2, 1, 0, -1]


def test_many_texts_go_side_by_side_in_requests_the_model_can_take(
    sdk: Sdk, whole_upstream: Upstream
) -> None:
    whole_upstream.metadata = {
        "name": "m",
        "inputs": [{"name": "input_text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 1]}],
    }
    whole_upstream.config = {"max_batch_size": 4}

    together = threading.Barrier(3)  # passes only if all three requests are in flight at once

    def reply(rows: int) -> bytes:
        together.wait(60)
        data = json.dumps([float(rows)] * rows)
        return http(
            f'{{"outputs":[{{"name":"embedding","datatype":"FP32","shape":[{rows},1],"data":{data}}}]}}'.encode()
        )

    whole_upstream.answer_rows = reply
    found = sdk.embedding("m", TEXTS, api_base=whole_upstream.url)
    assert len(found.data) == 10
    sent = [post.json()["inputs"][0] for post in whole_upstream.posts]
    assert sorted(item["shape"] for item in sent) == [[2, 1], [4, 1], [4, 1]]
    assert sorted(text for item in sent for text in item["data"]) == TEXTS


def test_the_size_of_requests_can_be_set(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed_flat", TEXTS, api_base=triton, max_batch_size=3)
    assert [item.embedding for item in reply.data] == VECTORS


def test_a_call_that_would_become_very_many_requests_is_refused(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.embedding("embed", ["a"] * 2049, api_base=triton, max_batch_size=1))
    assert (error.status_code, error.param) == (400, "input")


def test_dimensions_shorten_and_keep_the_length_of_one(sdk: Sdk, triton: str) -> None:
    (item,) = sdk.embedding("embed", "xxx", api_base=triton, dimensions=2).data
    assert item.embedding == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)])
    text = (
        sdk.embedding("embed", "xxx", api_base=triton, dimensions=2, encoding_format="base64")
        .data[0]
        .embedding
    )
    assert struct.unpack("<2f", base64.b64decode(text)) == pytest.approx(item.embedding)


def test_more_dimensions_than_there_are_are_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.embedding("embed", "x", api_base=triton, dimensions=5))
    assert (error.status_code, error.param) == (400, "dimensions")


def test_a_vector_for_each_token_is_pooled_as_configured(sdk: Sdk, triton: str) -> None:
    def pooled(pooling: str | None) -> list[list[float]]:
        reply = sdk.embedding("embed_tokens_3d", ["xx", "xxx"], api_base=triton, pooling=pooling)
        return [item.embedding for item in reply.data]

    assert pooled("mean") == [[2, 1, 0, -1], [3, 1, 0, -1]]
    assert pooled("cls") == [[4, 2, 0, -2], [6, 2, 0, -2]]
    assert pooled("last") == [[0, 0, 0, 0], [0, 0, 0, 0]]
    error = failure(lambda: pooled(None))
    assert isinstance(error, errors.BadGatewayError)
    assert "pooling" in error.message


def test_an_output_is_chosen_by_name(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed", ["x", "y"], api_base=triton, embedding_output="token_ids")
    assert [item.embedding for item in reply.data] == [[7], [7]]
    error = failure(lambda: sdk.embedding("embed", "x", api_base=triton, embedding_output="NOPE"))
    assert (error.status_code, error.param) == (400, "embedding_output")


def test_an_input_is_chosen_by_name(sdk: Sdk, triton: str) -> None:
    assert (
        sdk.embedding("embed", "xx", api_base=triton, embedding_input="input_text").data[0].embedding[0] == 2
    )
    error = failure(lambda: sdk.embedding("embed", "x", api_base=triton, embedding_input="NOPE"))
    assert error.param == "embedding_input"


def test_other_inputs_go_with_every_row(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed", ["x", "xx", "xxx", "xxxx", "xxxxx"], api_base=triton, SCALE=2)
    assert [item.embedding[0] for item in reply.data] == [2, 4, 6, 8, 10]


@pytest.mark.parametrize(
    "params, param",
    [
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "2"}, "dimensions"),
        ({"prompt_name": "query"}, "prompt_name"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_parameter_that_is_wrong_is_refused_by_name(
    sdk: Sdk, triton: str, params: dict[str, Any], param: str
) -> None:
    error = failure(lambda: sdk.embedding("embed", "x", api_base=triton, **params))
    assert (error.status_code, error.param) == (400, param)


def test_a_model_that_embeds_nothing_is_refused(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.embedding("flat", "x", api_base=triton))
    assert (error.status_code, error.param) == (400, "model")


def test_inputs_that_the_settings_fix_go_with_every_row(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("embed", ["x", "xx"], api_base=triton, fixed_inputs={"SCALE": 3, "tier": "gold"})
    assert [item.embedding[0] for item in reply.data] == [3, 6]


def test_what_triton_cannot_carry_is_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.embedding("embed", "a", api_base=triton, extra_body={"tier": [1]}))
    assert (error.status_code, error.param) == (400, "tier")


def embeds_by_event(upstream: Upstream) -> None:
    """Make the upstream's model a decoupled embedding model."""
    upstream.metadata = {
        "name": "m",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [2]}],
    }


def test_a_decoupled_embedder_is_asked_one_by_one(sdk: Sdk, upstream: Upstream) -> None:
    embeds_by_event(upstream)
    for number in range(2):
        upstream.answer(*chunked(event(embedding=[number, 0.5])))
    reply = sdk.embedding("m", ["a", "b"], api_base=upstream.url)
    assert sorted(item.embedding for item in reply.data) == [[0, 0.5], [1, 0.5]]
    assert [post.path for post in upstream.posts] == ["/v2/models/m/generate_stream"] * 2


@pytest.mark.parametrize(
    "events, kind",
    [
        ([], errors.BadGatewayError),
        ([event(embedding=[1]), event(embedding=[2])], errors.BadGatewayError),
        ([event(embedding="no vector")], errors.BadGatewayError),
        ([event(error="out of memory")], errors.InternalServerError),
    ],
    ids=["none", "two", "text", "an error"],
)
def test_a_decoupled_embedder_that_does_not_answer_once_is_an_error(
    sdk: Sdk, upstream: Upstream, events: list[bytes], kind: type[errors.AdapterError]
) -> None:
    embeds_by_event(upstream)
    upstream.answer(*chunked(*events))
    assert type(failure(lambda: sdk.embedding("m", "a", api_base=upstream.url))) is kind


def test_an_unknown_embedding_model_is_reported_in_tritons_words(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.embedding("nope", "a", api_base=triton))
    assert (error.status_code, error.message) == (404, "Request for unknown model: 'nope' is not found")
    assert failure(lambda: sdk.embedding("embed", None, api_base=triton)).param == "input"


@pytest.mark.parametrize(
    "shape", ["[1,1]", "[3,1]", "[2,2]"], ids=["too few rows", "too many", "a wrong shape"]
)
def test_rows_that_do_not_match_are_a_bad_gateway(sdk: Sdk, upstream: Upstream, shape: str) -> None:
    upstream.metadata = None
    body = f'{{"outputs":[{{"name":"e","datatype":"FP32","shape":{shape},"data":[1.0,2.0,3.0]}}]}}'
    upstream.answer(http(body.encode()))
    error = failure(lambda: sdk.embedding("m", ["a", "b"], api_base=f"{upstream.url}/embeddings"))
    assert isinstance(error, errors.BadGatewayError)


def test_the_backends_count_is_the_usage(sdk: Sdk, triton: str) -> None:
    reply = sdk.embedding("vllm", ["abc", "de"], api_base=triton)
    assert reply.usage.model_dump() == {"prompt_tokens": 5, "total_tokens": 5}
