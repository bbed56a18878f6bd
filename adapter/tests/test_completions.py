"""Text completions: prompts in every form, echo, log probabilities, streams."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import triton_adapter
from adapter.tests.driving import Sdk, ask, failure, read_report, text_of
from adapter.tests.upstream import Upstream, chunked, event
from triton_adapter import errors
from triton_adapter.transport import loop


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """A tokenizer of words."""
    words = ["SAY", "You", "said", ":", "one", "two", "three", "?"]
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return str(path)


@pytest.mark.parametrize("prompt", [None, [], [[]], 5, [1.5], ["a", 1], {"a": 1}], ids=json.dumps)
def test_a_prompt_that_is_none_is_refused_by_name(sdk: Sdk, prompt: Any) -> None:
    error = failure(lambda: sdk.text_completion("m", prompt, api_base="http://127.0.0.1:9"))
    assert isinstance(error, errors.BadRequestError)
    assert error.param == "prompt"


def test_a_reply_has_openais_fields(sdk: Sdk, triton: str) -> None:
    dumped = sdk.text_completion("trtllm", "SAY hi", api_base=triton).model_dump()
    assert list(dumped) == ["id", "object", "created", "model", "choices", "usage"]
    assert dumped["object"] == "text_completion"
    assert dumped["id"].startswith("cmpl-")
    assert dumped["choices"] == [{"index": 0, "text": "hi", "logprobs": None, "finish_reason": "stop"}]


def test_the_usage_of_several_prompts_is_their_sum(sdk: Sdk, triton: str) -> None:
    reply = sdk.text_completion("trtllm", ["SAY a", "SAY b c"], api_base=triton)
    assert reply.usage.model_dump() == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def test_streams_of_several_prompts_keep_their_indexes(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect_text("vllm", ["SAY a b", "SAY c d"], api_base=triton, n=2)
    assert error is None
    assert [text_of(chunks, index) for index in range(4)] == ["a b", "a b", "c d", "c d"]


def test_streams_of_more_prompts_than_are_read_at_a_time_keep_their_indexes(
    sdk: Sdk, triton: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STREAMS", 2)
    chunks, error = sdk.collect_text("vllm", [f"SAY {word}" for word in "abcdefg"], api_base=triton)
    assert error is None
    assert [text_of(chunks, index) for index in range(7)] == list("abcdefg")


def test_no_more_streams_of_one_answer_are_open_at_a_time(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STREAMS", 2)
    for _ in range(3):
        upstream.answer(*chunked(event(text_output="a"), end=False), then="hang")

    async def begin() -> None:
        stream: Any = await triton_adapter.atext_completion(
            "triton/m", ["x", "y", "z"], api_base=upstream.url, stream=True
        )
        seen = {(await anext(stream)).choices[0].index, (await anext(stream)).choices[0].index}
        assert seen == {0, 1}
        assert len(upstream.posts) == 2
        await stream.aclose()

    asyncio.run(begin())


def test_a_call_that_would_become_very_many_requests_is_refused(sdk: Sdk, upstream: Upstream) -> None:
    error = failure(lambda: sdk.text_completion("m", ["x"] * 1025, api_base=upstream.url, n=2))
    assert (error.status_code, error.param) == (400, "prompt")
    assert upstream.posts == []


def test_tokens_are_text_to_a_model_of_text(sdk: Sdk, triton: str, tokenizer: str) -> None:
    reply = sdk.text_completion("flat", [[0, 4], [0, 5]], api_base=triton, tokenizer=tokenizer)
    assert [choice.text for choice in reply.choices] == ["one", "two"]


def test_tokens_without_a_tokenizer_are_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.text_completion("flat", [1, 2], api_base=triton))
    assert (error.status_code, error.param) == (400, "prompt")


def test_a_local_tokenizer_counts_what_the_backend_does_not(sdk: Sdk, triton: str, tokenizer: str) -> None:
    reply = sdk.completion("flat", ask("SAY one two three"), api_base=triton, tokenizer=tokenizer)
    assert reply.usage.model_dump() == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_a_counted_text_at_its_limit_says_length(sdk: Sdk, triton: str, tokenizer: str) -> None:
    reply = sdk.completion(
        "flat", ask("SAY one two three"), api_base=triton, tokenizer=tokenizer, max_tokens=2
    )
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("one two", "length")


def test_a_logit_bias_reaches_tensorrt_llm_as_words(sdk: Sdk, triton: str, tokenizer: str) -> None:
    reply = sdk.completion(
        "trtllm", ask("REPORT"), api_base=triton, tokenizer=tokenizer, logit_bias={"4": 2, "5": -100}
    )
    inputs = read_report(reply)["inputs"]
    assert inputs["embedding_bias_words"] == ["one", "two"]
    assert inputs["embedding_bias_weights"] == [2.0, -100.0]
    error = failure(lambda: sdk.completion("trtllm", ask("x"), api_base=triton, logit_bias={"4": 2}))
    assert error.param == "logit_bias"


def test_a_tokenizer_that_is_not_there_is_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=triton, tokenizer="/no/such/file"))
    assert (error.status_code, error.param) == (400, "tokenizer")


def test_log_probabilities_have_offsets(sdk: Sdk, triton: str) -> None:
    reply = sdk.text_completion("vllm", "SAY one two", api_base=triton, logprobs=2)
    assert reply.choices[0].logprobs == {
        "tokens": ["one", " two"],
        "token_logprobs": [-0.25, -0.25],
        "top_logprobs": [{"one": -0.25, "alt1": -1.0}, {" two": -0.25, "alt1": -1.0}],
        "text_offset": [0, 3],
    }


def test_offsets_in_a_stream_go_on_where_the_last_chunk_ended(sdk: Sdk, triton: str) -> None:
    chunks, error = sdk.collect_text("vllm", "SAY one two three", api_base=triton, logprobs=0)
    assert error is None
    told = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [(one["tokens"], one["text_offset"]) for one in told] == [
        (["one"], [0]),
        ([" two"], [3]),
        ([" three"], [7]),
    ]


def test_a_tokenizer_names_the_tokens_whose_numbers_are_given(sdk: Sdk, triton: str, tokenizer: str) -> None:
    reply = sdk.text_completion("trtllm", "SAY one two", api_base=triton, logprobs=0, tokenizer=tokenizer)
    assert reply.choices[0].logprobs == {
        "tokens": ["one", " two"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": None,
        "text_offset": [0, 3],
    }


def test_tokens_with_equal_texts_keep_their_numbers_without_a_name(sdk: Sdk, triton: str) -> None:
    reply = sdk.text_completion("trtllm", "SAY one two", api_base=triton, logprobs=0)
    assert reply.choices[0].logprobs["tokens"] == ["", ""]
    assert reply.choices[0].logprobs["token_logprobs"] == [-0.5, -0.5]


@pytest.mark.parametrize("logprobs", [True, 6, "2"])
def test_log_probabilities_are_a_number_here(sdk: Sdk, logprobs: Any) -> None:
    error = failure(lambda: sdk.text_completion("m", "x", api_base="http://127.0.0.1:9", logprobs=logprobs))
    assert error.param == "logprobs"


def test_best_of_is_refused_by_a_model_without_it(sdk: Sdk, triton: str) -> None:
    assert failure(lambda: sdk.text_completion("trtllm", "x", api_base=triton, best_of=2)).param == "best_of"
    assert sdk.text_completion("trtllm", "SAY a", api_base=triton, best_of=1).choices[0].text == "a"
