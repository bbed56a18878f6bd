"""Simulated language models: equal prompts give equal words, in the tensors of each backend."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from emulator.tests.backends.standins.driving import Given, Model, tensor
from triton_emulator.backends import standins
from triton_emulator.backends.standins.generator import tokens
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.messages import InferRequest, InferResponse

CUSTOM = """
backend: "onnxruntime"
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "max_tokens" data_type: TYPE_INT32 dims: [ 1 ] optional: true } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ 1 ] } ]
"""

TRTLLM = """
backend: "tensorrtllm" max_batch_size: 8 model_transaction_policy { decoupled: %s }
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "max_tokens" data_type: TYPE_INT32 dims: [ 1 ] },
        { name: "stop_words" data_type: TYPE_STRING dims: [ -1 ] optional: true },
        { name: "bad_words" data_type: TYPE_STRING dims: [ -1 ] optional: true },
        { name: "end_id" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
        { name: "seed" data_type: TYPE_UINT64 dims: [ 1 ] optional: true },
        { name: "beam_width" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
        { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "exclude_input_in_output" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "return_log_probs" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "return_context_logits" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "return_num_input_tokens" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "return_num_output_tokens" data_type: TYPE_BOOL dims: [ 1 ] optional: true } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] },
         { name: "cum_log_probs" data_type: TYPE_FP32 dims: [ -1 ] },
         { name: "output_log_probs" data_type: TYPE_FP32 dims: [ -1, -1 ] },
         { name: "context_logits" data_type: TYPE_FP32 dims: [ -1, -1 ] },
         { name: "batch_index" data_type: TYPE_INT32 dims: [ 1 ] },
         { name: "sequence_index" data_type: TYPE_INT32 dims: [ 1 ] },
         { name: "num_input_tokens" data_type: TYPE_INT32 dims: [ 1 ] },
         { name: "num_output_tokens" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""
DECOUPLED, WHOLE = TRTLLM % "true", TRTLLM % "false"

LLMAPI = """
backend: "tensorrtllm" model_transaction_policy { decoupled: %s }
input [ { name: "text_input" data_type: TYPE_STRING dims: [ -1 ] },
        { name: "streaming" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "sampling_param_max_tokens" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
        { name: "sampling_param_stop" data_type: TYPE_STRING dims: [ -1 ] optional: true },
        { name: "sampling_param_exclude_input_from_output" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "return_finish_reason" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "return_stop_reason" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "stop" data_type: TYPE_BOOL dims: [ 1 ] optional: true } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] },
         { name: "finish_reason" data_type: TYPE_STRING dims: [ -1 ] },
         { name: "stop_reason" data_type: TYPE_STRING dims: [ -1 ] } ]
"""

VLLM = 'backend: "vllm"'
#: with tensors that the backends of later releases add: a config may have them
VLLM_LATER = (
    VLLM
    + """
input [
  { name: "return_finish_reason" data_type: TYPE_BOOL dims: 1 optional: true },
  { name: "return_logprobs" data_type: TYPE_BOOL dims: 1 optional: true },
  { name: "return_num_output_tokens" data_type: TYPE_BOOL dims: 1 optional: true }
]
output [
  { name: "finish_reason" data_type: TYPE_STRING dims: -1 },
  { name: "logprobs" data_type: TYPE_STRING dims: -1 },
  { name: "num_output_tokens" data_type: TYPE_UINT32 dims: -1 }
]
"""
)

FIVE_WORDS = "That plain batch reads a"


def prompt(text: str | bytes = "who are u?", **others: tuple[str, Sequence[Any]]) -> Given:
    """Inputs of an unbatched model."""
    return {"text_input": ("BYTES", [text]), **others}


def row(text: str = "who are u?", limit: int = 5, **others: tuple[str, Sequence[Any]]) -> Given:
    """Inputs of a batched model, one row."""
    return {
        "text_input": ("BYTES", [text], [1, 1]),
        "max_tokens": ("INT32", [limit], [1, 1]),
        **{name: (datatype, values, [1, len(values)]) for name, (datatype, values) in others.items()},
    }


# --- words ---


def test_a_prompt_always_gets_the_same_words() -> None:
    first = Model(CUSTOM).ask(prompt()).texts()
    assert first == Model(CUSTOM).ask(prompt()).texts()
    assert first == [
        ["That plain batch reads a shape. Every new tensor shows a line. Each long tensor follows."]
    ]


def test_another_prompt_gets_other_words() -> None:
    assert Model(CUSTOM).ask(prompt("hello")).texts() != Model(CUSTOM).ask(prompt()).texts()


def test_another_seed_in_the_settings_gives_other_words() -> None:
    assert Model(CUSTOM, "{seed: 1}").ask(prompt()).texts() != Model(CUSTOM).ask(prompt()).texts()


def test_max_tokens_cuts_the_answer_short() -> None:
    assert Model(CUSTOM).ask(prompt(max_tokens=("INT32", [5]))).texts() == [[FIVE_WORDS]]


@pytest.mark.parametrize("limit", [0, -3], ids=["none", "fewer than none"])
def test_a_limit_of_no_tokens_gives_an_empty_text(limit: int) -> None:
    assert Model(CUSTOM).ask(prompt(max_tokens=("INT32", [limit]))).texts() == [[""]]


def test_settings_bound_answers_to_requests_that_name_no_limit() -> None:
    assert Model(CUSTOM, "{max_tokens: 5}").ask(prompt()).texts() == [[FIVE_WORDS]]


def test_settings_choose_how_long_invented_answers_are() -> None:
    [[text]] = Model(CUSTOM, "{length: 3}").ask(prompt()).texts()
    assert len(tokens(text)) == 3


def test_an_enormous_limit_is_not_generated() -> None:
    [[text]] = Model(CUSTOM, "{length: 100000}").ask(prompt(max_tokens=("INT32", [2**31 - 1]))).texts()
    assert len(tokens(text)) == 4096


@pytest.mark.parametrize(
    "text",
    ["", " ", "one", "Hello, world!", "a\n\n b\t", "naïve 東京 🙂", "3.14 is π's 1st guess  "],
    ids=["empty", "blank", "a word", "punctuation", "white space", "not ASCII", "numbers"],
)
def test_tokens_joined_are_the_text_again(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_an_echoing_model_answers_with_the_prompt() -> None:
    assert Model(CUSTOM, "{echo: true}").ask(prompt("Hello, world!")).texts() == [["Hello, world!"]]


def test_an_echo_is_cut_short_as_well() -> None:
    echoed = Model(CUSTOM, "{echo: true}").ask(prompt("Hello, world!", max_tokens=("INT32", [2])))
    assert echoed.texts() == [["Hello,"]]


def test_bytes_that_are_not_utf8_come_back_unchanged() -> None:
    exchange = Model(CUSTOM, "{echo: true}").ask(prompt(b"\xff\xfe ok"))
    assert exchange.responses[0].outputs[0].array.tolist() == [b"\xff\xfe ok"]


def test_a_fixed_reply_answers_every_prompt() -> None:
    model = Model(CUSTOM, '{reply: "I am Triton."}')
    assert [model.ask(prompt(text)).texts() for text in ("who are u?", "hello")] == [[["I am Triton."]]] * 2


def test_a_prompt_always_gets_the_same_one_of_several_replies() -> None:
    model = Model(CUSTOM, "{reply: [Yes., No., Perhaps.]}")
    answers = [model.ask(prompt(str(number))).texts()[0][0] for number in range(40)]
    assert set(answers) == {"Yes.", "No.", "Perhaps."}
    assert answers == [model.ask(prompt(str(number))).texts()[0][0] for number in range(40)]


def test_a_reply_can_depend_on_the_prompt() -> None:
    model = Model(
        CUSTOM, '{replies: {"(?i)capital of france": Paris., "^2 ?\\\\+ ?2": "4"}, reply: "I see."}'
    )
    asked = ["What is the Capital of France?", "2+2", "hello"]
    assert [model.ask(prompt(text)).texts() for text in asked] == [[["Paris."]], [["4"]], [["I see."]]]


# --- any model that turns text into text ---


def test_a_model_with_names_of_its_own_answers_each_prompt_of_a_list() -> None:
    config = """
    backend: "pytorch"
    input [ { name: "QUESTION" data_type: TYPE_STRING dims: [ -1 ] } ]
    output [ { name: "ANSWER" data_type: TYPE_STRING dims: [ -1 ] } ]
    """
    answered = Model(config, "{echo: true}").ask({"QUESTION": ("BYTES", ["a", "b", "c"])})
    assert answered.texts("ANSWER") == [["a", "b", "c"]]


def test_settings_can_name_the_tensors() -> None:
    config = """
    backend: "pytorch"
    input [ { name: "A" data_type: TYPE_STRING dims: [ 1 ] }, { name: "B" data_type: TYPE_STRING dims: [ 1 ] } ]
    output [ { name: "C" data_type: TYPE_STRING dims: [ 1 ] } ]
    """
    model = Model(config, "{behaviour: text, input: B, output: C, echo: true}")
    assert model.ask({"A": ("BYTES", ["left"]), "B": ("BYTES", ["right"])}).texts("C") == [["right"]]


def test_a_decoupled_model_without_a_stream_input_always_streams() -> None:
    config = CUSTOM + "model_transaction_policy { decoupled: true }"
    exchange = Model(config).ask(prompt(max_tokens=("INT32", [3])))
    assert exchange.texts() == [["That"], [" plain"], [" batch"]]


def test_settings_can_stop_it_from_streaming() -> None:
    config = CUSTOM + "model_transaction_policy { decoupled: true }"
    exchange = Model(config, "{stream: false}").ask(prompt(max_tokens=("INT32", [3])))
    assert exchange.texts() == [["That plain batch"]]


# --- TensorRT-LLM ---


def test_trtllm_puts_the_prompt_before_the_answer() -> None:
    exchange = Model(DECOUPLED).ask(row())
    assert exchange.texts() == [[["who are u?" + FIVE_WORDS]]]
    assert exchange.outputs == ["text_output", "batch_index", "sequence_index"]


def test_trtllm_leaves_the_prompt_out_on_request() -> None:
    assert Model(DECOUPLED).ask(row(exclude_input_in_output=("BOOL", [True]))).texts() == [[[FIVE_WORDS]]]


@pytest.mark.parametrize(
    "settings", ["{exclude_input_in_output: true}", "{}"], ids=["emulator.yaml", "config"]
)
def test_trtllm_can_be_deployed_without_the_prompt(settings: str) -> None:
    config = DECOUPLED
    if settings == "{}":
        config += 'parameters { key: "exclude_input_in_output" value { string_value: "true" } }'
    assert Model(config, settings).ask(row()).texts() == [[[FIVE_WORDS]]]


def test_trtllm_streams_one_token_at_a_time_without_the_prompt() -> None:
    exchange = Model(DECOUPLED).ask(row(stream=("BOOL", [True])))
    assert exchange.texts() == [[[word]] for word in ("That", " plain", " batch", " reads", " a")]


def test_trtllm_refuses_to_stream_where_it_is_not_decoupled() -> None:
    exchange = Model(WHOLE).ask(row(stream=("BOOL", [True])))
    assert exchange.error == (
        "INTERNAL",
        "Streaming is only supported if model is deployed using decoupled mode.",
    )


def test_trtllm_counts_tokens_on_request() -> None:
    flags = {"return_num_input_tokens": ("BOOL", [True]), "return_num_output_tokens": ("BOOL", [True])}
    exchange = Model(DECOUPLED).ask(row("who are u?", 5, **flags))
    assert exchange.texts("num_input_tokens") == [[[4]]]
    assert exchange.texts("num_output_tokens") == [[[5]]]


def test_trtllm_gives_each_beam_its_own_text_and_log_probabilities() -> None:
    flags: dict[str, tuple[str, list[Any]]] = {
        "beam_width": ("INT32", [2]),
        "return_log_probs": ("BOOL", [True]),
        "exclude_input_in_output": ("BOOL", [True]),
    }
    exchange = Model(DECOUPLED).ask(row("who are u?", 5, **flags))
    [[texts]] = exchange.texts()
    assert texts[0] == FIVE_WORDS
    assert texts[1] != FIVE_WORDS
    [table] = exchange.responses[0].outputs[2:3]
    assert (table.name, table.shape) == ("output_log_probs", (1, 2, 5))
    [[sums]] = exchange.texts("cum_log_probs")
    assert sums == pytest.approx(table.array.sum(axis=2)[0], abs=1e-5)


def test_trtllm_stops_before_a_stop_word() -> None:
    assert Model(DECOUPLED).ask(
        row(stop_words=("BYTES", ["reads", "nothing"]), exclude_input_in_output=("BOOL", [True]))
    ).texts() == [[["That plain batch "]]]


def test_trtllm_leaves_out_bad_words() -> None:
    assert Model(DECOUPLED).ask(
        row(bad_words=("BYTES", ["plain"]), exclude_input_in_output=("BOOL", [True]))
    ).texts() == [[["That batch reads a"]]]


def test_trtllm_takes_a_seed() -> None:
    seeded = Model(DECOUPLED).ask(row(seed=("UINT64", [7]), exclude_input_in_output=("BOOL", [True])))
    assert seeded.texts() != [[[FIVE_WORDS]]]
    assert (
        seeded.texts()
        == Model(DECOUPLED).ask(row(seed=("UINT64", [7]), exclude_input_in_output=("BOOL", [True]))).texts()
    )


def test_an_optional_output_comes_only_when_its_flag_is_set() -> None:
    exchange = Model(DECOUPLED).ask(row(return_context_logits=("BOOL", [True])))
    assert "context_logits" in exchange.outputs
    assert "context_logits" not in Model(DECOUPLED).ask(row()).outputs


def test_each_row_of_a_batch_is_answered_as_if_it_were_alone() -> None:
    exchange = Model(DECOUPLED).ask(
        {
            "text_input": ("BYTES", ["who are u?", "hello"], [2, 1]),
            "max_tokens": ("INT32", [5, 2], [2, 1]),
            "exclude_input_in_output": ("BOOL", [True, True], [2, 1]),
        }
    )
    alone = Model(DECOUPLED).ask(row("hello", 2, exclude_input_in_output=("BOOL", [True]))).texts()[0][0]
    assert exchange.texts() == [[[FIVE_WORDS], alone]]
    assert exchange.texts("batch_index") == [[[0], [1]]]


def test_only_requested_outputs_are_sent() -> None:
    assert Model(DECOUPLED).ask(row(), outputs=["text_output"]).outputs == ["text_output"]


# --- TensorRT-LLM's LLM API ---


def test_llmapi_streams_the_text_so_far() -> None:
    exchange = Model(LLMAPI % "true").ask(
        prompt(streaming=("BOOL", [True]), sampling_param_max_tokens=("INT32", [3]))
    )
    assert exchange.texts() == [["That"], ["That plain"], ["That plain batch"]]


def test_llmapi_sends_its_finish_reason() -> None:
    exchange = Model(LLMAPI % "true").ask(
        prompt(
            sampling_param_stop=("BYTES", ["reads"]),
            return_finish_reason=("BOOL", [True]),
            return_stop_reason=("BOOL", [True]),
        )
    )
    assert exchange.texts("finish_reason") == [["stop"]]
    assert exchange.texts("stop_reason") == [["reads"]]


def test_llmapi_refuses_to_stream_where_it_is_not_decoupled() -> None:
    assert Model(LLMAPI % "false").ask(prompt(streaming=("BOOL", [True]))).error == (
        "INTERNAL",
        "Error generating request: Streaming is only supported in decoupled mode.",
    )


def test_llmapi_cancels_the_running_request_of_the_same_id() -> None:
    model = Model(LLMAPI % "true", "{time_per_token_ms: 10}")
    running = model.start(prompt(streaming=("BOOL", [True])), id="7")
    cancelling = model.start(prompt("", stop=("BOOL", [True])), id="7")
    model.clock.run()
    assert cancelling.error == ("CANCELLED", "Request cancelled by client")
    assert running.error == ("CANCELLED", "Request was cancelled")


def test_llmapi_cannot_cancel_without_an_id() -> None:
    exchange = Model(LLMAPI % "true").ask(prompt("", stop=("BOOL", [True])))
    assert exchange.error == ("INTERNAL", "A request id must be provided for request cancellation")


# --- TensorRT-LLM's engine, between the two models of a tokenizer ---

ENGINE = """
backend: "tensorrtllm" max_batch_size: 4 model_transaction_policy { decoupled: true }
input [ { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] },
        { name: "input_lengths" data_type: TYPE_INT32 dims: [ 1 ] reshape: { shape: [ ] } },
        { name: "request_output_len" data_type: TYPE_INT32 dims: [ 1 ] },
        { name: "end_id" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
        { name: "exclude_input_in_output" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "streaming" data_type: TYPE_BOOL dims: [ 1 ] optional: true } ]
output [ { name: "output_ids" data_type: TYPE_INT32 dims: [ -1, -1 ] },
         { name: "sequence_length" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""


def ids(*rows: list[int], limit: int = 4, **flags: bool) -> Given:
    width = max(map(len, rows))
    return {
        "input_ids": (
            "INT32",
            [one for row in rows for one in row + [0] * (width - len(row))],
            [len(rows), width],
        ),
        "input_lengths": ("INT32", [len(row) for row in rows], [len(rows), 1]),
        "request_output_len": ("INT32", [limit] * len(rows), [len(rows), 1]),
        **{name: ("BOOL", [flag] * len(rows), [len(rows), 1]) for name, flag in flags.items()},
    }


def test_an_engine_answers_with_its_input_ids_and_new_ids_after_them() -> None:
    exchange = Model(ENGINE).ask(ids([101, 7592, 2088]))
    [[[made]]] = exchange.texts("output_ids")
    assert (len(made), made[:3]) == (7, [101, 7592, 2088])
    assert exchange.texts("sequence_length") == [[[7]]]


def test_an_engine_generates_only_ids_that_the_tokenizer_knows() -> None:
    exchange = Model(ENGINE, "{length: 40}").ask(ids([101, 7592], limit=40, exclude_input_in_output=True))
    [[[made]]] = exchange.texts("output_ids")
    assert (len(made), set(made)) == (40, {101, 7592})


def test_an_engine_streams_one_id_at_a_time() -> None:
    exchange = Model(ENGINE, "{echo: true}").ask(ids([5, 6, 7], limit=9, streaming=True))
    assert exchange.texts("output_ids") == [[[[5]]], [[[6]]], [[[7]]]]
    assert exchange.texts("sequence_length") == [[[1]]] * 3


def test_an_engine_pads_shorter_rows() -> None:
    model = Model(ENGINE, "{echo: true}")
    exchange = model.ask(ids([5, 6, 7], [8], limit=9, exclude_input_in_output=True))
    assert exchange.texts("output_ids") == [[[[5, 6, 7]], [[8, 0, 0]]]]
    assert exchange.texts("sequence_length") == [[[3], [1]]]


# --- vLLM ---


def sampling(**parameters: Any) -> tuple[str, list[str]]:
    return ("BYTES", [json.dumps(parameters)])


def test_a_vllm_config_gets_the_tensors_that_its_backend_adds() -> None:
    config = Model(VLLM).config
    assert (config.max_batch_size, config.decoupled) == (0, True)
    assert [(spec.name, spec.optional) for spec in config.inputs] == [
        ("text_input", False),
        ("stream", True),
        ("sampling_parameters", True),
        ("exclude_input_in_output", True),
    ]
    assert [(spec.name, spec.datatype, spec.dims) for spec in config.outputs] == [
        ("text_output", "BYTES", (-1,))
    ]


COMPLETION = "auto-complete-config function"
COUPLED = (
    "trying to change decoupled property in auto-complete-config for model 'm', which is already set to 'False'.",
    "triton_python_backend_utils.py(592): set_model_transaction_policy",
    98,
)
BATCHED = (
    f"configuration specified max_batch_size 4, but in {COMPLETION} for model 'm' specified max_batch_size 0",
    "triton_python_backend_utils.py(335): set_max_batch_size",
    101,
)


@pytest.mark.parametrize(
    "more, told",
    [
        ("max_batch_size: 4 dynamic_batching { } model_transaction_policy { decoupled: True }", BATCHED),
        ("max_batch_size: 4 model_transaction_policy { decoupled: False }", COUPLED),
        ("model_transaction_policy { }", COUPLED),
    ],
    ids=["it batches", "it batches and is not decoupled", "a policy that says nothing"],
)
def test_a_vllm_config_that_contradicts_its_backend_is_refused(more: str, told: tuple[str, str, int]) -> None:
    # 2.51 with a backend in Python that calls the same functions; the folder is that of NVIDIA's image
    what, where, line = told
    with pytest.raises(TritonError) as caught:
        Model(f"{VLLM} {more}")
    assert caught.value.code is Code.INTERNAL
    assert caught.value.message == (
        f"ValueError: {what}\n\nAt:\n  /opt/tritonserver/backends/python/{where}\n"
        f"  /opt/tritonserver/backends/vllm/model.py({line}): auto_complete_config\n"
    )


def test_a_vllm_config_may_have_a_dynamic_batcher_that_has_nothing_to_do() -> None:
    assert Model(f"{VLLM} dynamic_batching {{ }}").config.max_batch_size == 0


def test_vllm_puts_the_prompt_first_and_makes_sixteen_tokens() -> None:
    [[text]] = Model(VLLM).ask(prompt()).texts()
    assert text.startswith("who are u?That plain batch")
    assert len(tokens(text.removeprefix("who are u?"))) == 16


@pytest.mark.parametrize("limit, words", [(5, 5), (40, 40)], ids=["below vLLM's 16", "above vLLM's 16"])
def test_settings_bound_answers_of_vllm_to_requests_that_name_no_limit(limit: int, words: int) -> None:
    model = Model(VLLM, f"{{max_tokens: {limit}, length: 100}}")
    [[text]] = model.ask(prompt(exclude_input_in_output=("BOOL", [True]))).texts()
    assert len(tokens(text)) == words


def test_a_limit_of_a_request_to_vllm_is_stronger_than_that_of_the_settings() -> None:
    model = Model(VLLM, "{max_tokens: 5, length: 100}")
    asked = prompt(exclude_input_in_output=("BOOL", [True]), sampling_parameters=sampling(max_tokens=7))
    [[text]] = model.ask(asked).texts()
    assert len(tokens(text)) == 7


def test_vllm_streams_tokens_and_says_none_until_it_ends() -> None:
    exchange = Model(VLLM_LATER).ask(
        prompt(
            stream=("BOOL", [True]),
            sampling_parameters=sampling(max_tokens=3),
            return_finish_reason=("BOOL", [True]),
            return_num_output_tokens=("BOOL", [True]),
        )
    )
    assert exchange.texts() == [["That"], [" plain"], [" batch"]]
    assert exchange.texts("finish_reason") == [["None"], ["None"], ["length"]]
    assert exchange.texts("num_output_tokens") == [[1], [1], [1]]


def test_vllm_takes_sampling_parameters_from_the_requests_own() -> None:
    exchange = Model(VLLM).ask(
        prompt(exclude_input_in_output=("BOOL", [True])), parameters={"max_tokens": 5, "id": "7"}
    )
    assert exchange.texts() == [[FIVE_WORDS]]


def test_vllm_gives_as_many_answers_as_requested() -> None:
    exchange = Model(VLLM).ask(
        prompt(exclude_input_in_output=("BOOL", [True]), sampling_parameters=sampling(n=3, max_tokens=5))
    )
    [texts] = exchange.texts()
    assert texts[0] == FIVE_WORDS
    assert len(set(texts)) == 3


def test_vllm_writes_log_probabilities_as_json() -> None:
    exchange = Model(VLLM_LATER).ask(
        prompt(sampling_parameters=sampling(logprobs=1, max_tokens=2), return_logprobs=("BOOL", [True]))
    )
    [[text]] = exchange.texts("logprobs")
    assert [detail["decoded_token"] for step in json.loads(text) for detail in step.values()] == [
        "That",
        " plain",
    ]


@pytest.mark.parametrize(
    "inputs, message",
    [
        (
            prompt(stream=("BOOL", [True]), exclude_input_in_output=("BOOL", [False])),
            "When streaming, `exclude_input_in_output` = False is not allowed.",
        ),
        (
            prompt(sampling_parameters=sampling(max_completion_tokens=3)),
            "'NoneType' object has no attribute 'lora_name'",
        ),
        (
            prompt(sampling_parameters=sampling(max_tokens="many")),
            "'NoneType' object has no attribute 'lora_name'",
        ),
        (
            prompt(sampling_parameters=("BYTES", ["{"])),
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
    ],
    ids=["echo while streaming", "an unknown parameter", "a parameter of a wrong type", "broken JSON"],
)
def test_vllm_refuses_with_its_own_words(inputs: Given, message: str) -> None:
    assert Model(VLLM).ask(inputs).error == ("INTERNAL", f"Error generating stream: {message}")


# --- time, failure, cancellation ---


def streaming(limit: int = 4) -> Given:
    return row("who are u?", limit, stream=("BOOL", [True]))


def test_a_stream_keeps_the_pace_of_its_settings() -> None:
    model = Model(DECOUPLED, "{time_to_first_token_ms: 200, time_per_token_ms: 50}")
    assert model.ask(streaming()).times == [0.2, 0.25, 0.3, 0.35]


def test_a_whole_answer_takes_as_long_as_its_stream_would() -> None:
    model = Model(DECOUPLED, "{time_to_first_token_ms: 200, time_per_token_ms: 50}")
    assert model.ask(row("who are u?", 4)).times == [0.35]


def test_without_a_pace_other_coroutines_run_during_a_long_stream() -> None:
    model = Model(DECOUPLED, "{length: 40}")
    exchange = model.start(streaming(limit=40))
    assert len(exchange.responses) == 16
    model.clock.run()
    assert len(exchange.responses) == 40
    assert model.clock.now == 0


def test_the_last_token_travels_with_the_final_flag() -> None:
    exchange = Model(DECOUPLED).ask(streaming(limit=2))
    assert [len(response.outputs) > 0 for response in exchange.responses] == [True, True]


def test_a_stream_can_be_set_to_fail_half_way() -> None:
    model = Model(DECOUPLED, '{fail_after_tokens: 2, fail_message: "out of memory"}')
    exchange = model.ask(streaming())
    assert exchange.texts() == [[["That"]], [[" plain"]]]
    assert exchange.error == ("INTERNAL", "out of memory")
    assert exchange.call.failed


def test_an_answer_that_ends_before_does_not_fail() -> None:
    assert Model(DECOUPLED, "{fail_after_tokens: 2}").ask(streaming(limit=2)).error is None


def test_a_whole_answer_fails_as_a_whole() -> None:
    assert Model(DECOUPLED, "{fail_after_tokens: 2}").ask(row()).error == (
        "INTERNAL",
        "the stand-in was told to fail here",
    )


def test_a_cancelled_stream_ends_with_an_error() -> None:
    model = Model(DECOUPLED, "{time_per_token_ms: 50}")
    exchange = model.start(streaming())
    model.clock.step()
    exchange.call.cancelled = True
    model.clock.run()
    assert len(exchange.texts()) == 2
    assert exchange.error == ("CANCELLED", "Request was cancelled")


@pytest.mark.parametrize("settings", ["{time_to_first_token_ms: 60000}", "{time_per_token_ms: 60000}"])
@pytest.mark.parametrize("asked", [streaming(), row("who are u?", 4)], ids=["a stream", "a whole answer"])
def test_a_wait_ends_when_the_request_is_cancelled(settings: str, asked: Given) -> None:
    model = Model(DECOUPLED, settings)
    exchange = model.start(asked)
    exchange.call.cancel()
    assert exchange.error == ("CANCELLED", "Request was cancelled")
    assert (exchange.final, model.clock.now, model.clock.due) == (True, 0, [])


def test_a_request_that_is_cancelled_already_does_not_wait() -> None:
    model = Model(DECOUPLED, "{time_to_first_token_ms: 60000}")
    responses: list[InferResponse | None] = []
    call = Call(
        model.start(streaming()).call.request, 1, lambda response, _: responses.append(response), print
    )
    call.cancelled = True
    model.executor.execute([call], 0)
    assert [str(response and response.error) for response in responses] == ["Request was cancelled"]


def test_a_request_for_a_thousand_million_answers_is_refused() -> None:
    exchange = Model(DECOUPLED).ask(row(beam_width=("INT32", [10**9])))
    assert exchange.error == (
        "INVALID_ARG",
        "1000000000 answers to one request are too many, 128 are allowed",
    )


def test_an_answer_records_the_times_of_its_stages() -> None:
    call = Model(CUSTOM).ask(prompt()).call
    times = call.times
    assert 0 < times.compute_start <= times.input_end <= times.output_start <= times.compute_end
    assert (call.execution, call.failed) == (1, False)


def test_on_an_event_loop_a_stream_waits_for_its_timers() -> None:
    """The default clock: another coroutine runs between the tokens of a stream."""
    definition = Model(DECOUPLED, "{time_per_token_ms: 0.01}").definition
    seen: list[str] = []

    async def both() -> None:
        done = asyncio.get_running_loop().create_future()

        def deliver(response: InferResponse | None, final: bool) -> None:
            seen.append("token")
            if final:
                done.set_result(None)

        inputs = [tensor(name, *given) for name, given in streaming(limit=3).items()]
        call = Call(InferRequest("m", inputs=inputs), 1, deliver, lambda *_: None)
        standins.load(definition).execute([call], 0)
        seen.append("the loop")
        await done

    asyncio.run(both())
    assert seen == ["token", "the loop", "token", "token"]


def test_a_token_that_is_late_does_not_make_the_next_ones_late() -> None:
    model = Model(DECOUPLED, "{time_to_first_token_ms: 100, time_per_token_ms: 20}")
    exchange = model.start(streaming(limit=5))
    for busy in (0, 0.015, 0.05, 0, 0):
        model.clock.now += busy  # the event loop has other work
        model.clock.step()
    assert exchange.times == [0.1, 0.12, 0.17, 0.17, 0.18]


def test_a_model_without_texts_cannot_answer_as_a_language_model() -> None:
    config = CUSTOM.replace("TYPE_STRING", "TYPE_FP32")
    with pytest.raises(
        LoadError, match="finds no BYTES input for the prompt or no BYTES output for the text"
    ):
        Model(config, "{behaviour: text}")


def test_a_prompt_may_be_left_out() -> None:
    config = CUSTOM.replace("dims: [ 1 ] }", "dims: [ 1 ] optional: true }", 1)
    assert Model(config, "{reply: Hello.}").ask({}).texts() == [["Hello."]]


def test_outputs_that_mean_nothing_here_hold_synthetic_values_the_same_in_each_response() -> None:
    config = DECOUPLED.replace(
        '{ name: "batch_index"', '{ name: "latency" data_type: TYPE_FP32 dims: [ 1 ] }, { name: "batch_index"'
    )
    exchange = Model(config, "{values: {latency: 0.5}}").ask(streaming(limit=2))
    assert exchange.texts("latency") == [[[0.5]], [[0.5]]]
