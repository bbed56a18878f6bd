"""Requests to the built-in models: (model, inputs, request parameters)."""

import json
from typing import Any

from emulator.tests.backends.standins.driving import Given

Inputs = dict[str, tuple[str, list[Any]]]


def _texts(*texts: str | bytes, shape: list[int] | None = None) -> Any:
    return ("BYTES", list(texts), shape or [len(texts)])


def _row(**inputs: tuple[str, list[Any]]) -> Given:
    return {name: (datatype, values, [1, len(values)]) for name, (datatype, values) in inputs.items()}


def _trtllm(limit: int = 6, /, **others: tuple[str, list[Any]]) -> Given:
    return _row(text_input=("BYTES", ["who are u?"]), max_tokens=("INT32", [limit]), **others)


def _vllm(**others: tuple[str, list[Any]]) -> Given:
    return {
        name: (datatype, values)
        for name, (datatype, values) in {"text_input": ("BYTES", ["who are u?"]), **others}.items()
    }


def _sampling(**parameters: Any) -> tuple[str, list[Any]]:
    return ("BYTES", [json.dumps(parameters)])


YES, NO = ("BOOL", [True]), ("BOOL", [False])
COUNTED: Inputs = {"return_num_input_tokens": YES, "return_num_output_tokens": YES}
TRTLLM_ALL: Inputs = {**COUNTED, "return_log_probs": YES}
VLLM_ALL: Inputs = {
    **COUNTED,
    "return_finish_reason": YES,
    "return_cumulative_logprob": YES,
    "return_logprobs": YES,
}

REQUESTS: dict[str, tuple[str, Given, dict[str, Any]]] = {
    "custom: a prompt": ("custom_llm", {"text_input": _texts("who are u?")}, {}),
    "custom: a limit": ("custom_llm", {"text_input": _texts("hello"), "max_tokens": ("INT32", [7])}, {}),
    "custom: no tokens": ("custom_llm", {"text_input": _texts("hello"), "max_tokens": ("INT32", [0])}, {}),
    "custom: a huge limit": (
        "custom_llm",
        {"text_input": _texts(""), "max_tokens": ("INT32", [2**31 - 1])},
        {},
    ),
    "custom: not ASCII": ("custom_llm", {"text_input": _texts("東京 \N{SLIGHTLY SMILING FACE}")}, {}),
    "custom: not UTF-8": ("custom_llm", {"text_input": _texts(b"\xff\x00\xfe")}, {}),
    "trtllm: a prompt": ("trtllm", _trtllm(), {}),
    "trtllm: streamed": ("trtllm", _trtllm(stream=YES), {}),
    "trtllm: streamed with everything": ("trtllm", _trtllm(stream=YES, **TRTLLM_ALL), {}),
    "trtllm: whole with everything": ("trtllm", _trtllm(**TRTLLM_ALL), {}),
    "trtllm: without the prompt": ("trtllm", _trtllm(exclude_input_in_output=YES), {}),
    "trtllm: streamed with the prompt": ("trtllm", _trtllm(stream=YES, exclude_input_in_output=NO), {}),
    "trtllm: beams": ("trtllm", _trtllm(beam_width=("INT32", [3]), **TRTLLM_ALL), {}),
    "trtllm: sequences streamed": ("trtllm", _trtllm(stream=YES, num_return_sequences=("INT32", [2])), {}),
    "trtllm: a seed": ("trtllm", _trtllm(seed=("UINT64", [12345])), {}),
    "trtllm: at least so many": ("trtllm", _trtllm(80, min_tokens=("INT32", [70]), **COUNTED), {}),
    "trtllm: stop words": ("trtllm", _trtllm(stop_words=("BYTES", ["reads", "plain batch"]), **COUNTED), {}),
    "trtllm: bad words": ("trtllm", _trtllm(bad_words=("BYTES", ["plain", "reads"]), **COUNTED), {}),
    "trtllm: no tokens": ("trtllm", _trtllm(0, stream=YES, **TRTLLM_ALL), {}),
    "trtllm: a batch": (
        "trtllm",
        {
            "text_input": _texts("who are u?", "hello", shape=[2, 1]),
            "max_tokens": ("INT32", [3, 50], [2, 1]),
            "return_num_output_tokens": ("BOOL", [True, True], [2, 1]),
        },
        {},
    ),
    "trtllm: a batch of unlike beams": (
        "trtllm",
        {
            "text_input": _texts("who are u?", "hello", shape=[2, 1]),
            "max_tokens": ("INT32", [3, 4], [2, 1]),
            "beam_width": ("INT32", [1, 2], [2, 1]),
        },
        {},
    ),
    "trtllm: too many beams": ("trtllm", _trtllm(beam_width=("INT32", [10**9])), {}),
    "vllm: too many answers": ("vllm", _vllm(sampling_parameters=_sampling(n=129)), {}),
    "vllm: an infinite limit": (
        "vllm",
        _vllm(sampling_parameters=("BYTES", ['{"max_tokens": Infinity}'])),
        {},
    ),
    "vllm: a prompt": ("vllm", _vllm(), {}),
    "vllm: everything": (
        "vllm",
        _vllm(**VLLM_ALL, sampling_parameters=_sampling(max_tokens=5, logprobs=1)),
        {},
    ),
    "vllm: streamed with everything": (
        "vllm",
        _vllm(stream=YES, **VLLM_ALL, sampling_parameters=_sampling(max_tokens=4, logprobs=1)),
        {},
    ),
    "vllm: without the prompt": ("vllm", _vllm(exclude_input_in_output=YES), {}),
    "vllm: answers": ("vllm", _vllm(**VLLM_ALL, sampling_parameters=_sampling(n=3, max_tokens=4)), {}),
    "vllm: a stop word": (
        "vllm",
        _vllm(stream=YES, return_finish_reason=YES, sampling_parameters=_sampling(stop="reads", seed=0)),
        {},
    ),
    "vllm: without an end": (
        "vllm",
        _vllm(return_finish_reason=YES, sampling_parameters=_sampling(ignore_eos=True, max_tokens=90)),
        {},
    ),
    "vllm: the request's own parameters": ("vllm", _vllm(), {"max_tokens": 3, "temperature": 0.5}),
    "vllm: an unknown parameter": ("vllm", _vllm(sampling_parameters=_sampling(max_completion_tokens=3)), {}),
    "vllm: a wrong type": ("vllm", _vllm(sampling_parameters=_sampling(max_tokens="many")), {}),
    "vllm: broken JSON": ("vllm", _vllm(sampling_parameters=("BYTES", ["{"])), {}),
    "vllm: echo while streaming": ("vllm", _vllm(stream=YES, exclude_input_in_output=NO), {}),
    "embedding: texts": ("embedding", {"input_text": _texts("good morning", "", "東京")}, {}),
    "embedding: no texts": ("embedding", {"input_text": ("BYTES", [], [0])}, {}),
    "identity": ("identity_fp32", {"INPUT0": ("FP32", [0.1, -2.0, 3e38])}, {}),
    "simple": (
        "simple",
        {"INPUT0": ("INT32", list(range(16)), [1, 16]), "INPUT1": ("INT32", [2**31 - 1] * 16, [1, 16])},
        {},
    ),
    "simple_int8": (
        "simple_int8",
        {"INPUT0": ("INT8", list(range(-8, 8)), [1, 16]), "INPUT1": ("INT8", [127] * 16, [1, 16])},
        {},
    ),
    "simple_string": (
        "simple_string",
        {
            "INPUT0": _texts(*map(str, range(16)), shape=[1, 16]),
            "INPUT1": _texts(*["-7"] * 16, shape=[1, 16]),
        },
        {},
    ),
    "simple_string: no number": (
        "simple_string",
        {"INPUT0": _texts(*["x"] * 16, shape=[1, 16]), "INPUT1": _texts(*["1"] * 16, shape=[1, 16])},
        {},
    ),
    "simple_identity": ("simple_identity", {"INPUT0": _texts("a", "", b"\xff", shape=[1, 3])}, {}),
}
