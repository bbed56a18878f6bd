"""The built-in models: the emulator and the real server give equal answers about each of them and from each of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from contract_tests.tests.witnesses.conftest import BUILTIN, serving

NAMES = sorted(path.parent.name for path in BUILTIN.glob("*/config.pbtxt"))


@dataclass(frozen=True)
class Servers:
    """Both servers, each with a client that has its own connection."""

    emulator: httpx.Client
    triton: httpx.Client


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with serving("emulator", BUILTIN) as emulator, serving("triton", BUILTIN) as triton:
        urls = [f"http://{each.http.host}:{each.http.port}" for each in (emulator, triton)]
        plain = {"Accept-Encoding": "identity"}  # two compressors may give different bytes
        with (
            httpx.Client(base_url=urls[0], headers=plain) as one,
            httpx.Client(base_url=urls[1], headers=plain) as other,
        ):
            yield Servers(one, other)


def answer(client: httpx.Client, path: str, body: Any) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send a GET, or a POST if there is a body; return status, headers and body."""
    reply = client.get(path) if body is None else client.post(path, content=json.dumps(body))
    return reply.status_code, sorted(reply.headers.items()), reply.content


def strings(name: str, *values: str, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": shape or [len(values)], "data": list(values)}


SIXTEEN = list(range(16))


def sums(datatype: str, values: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [1, 16], "data": values}
            for name in ("INPUT0", "INPUT1")
        ],
        **more,
    }


PROMPT = "Tell me about Triton, and a café."
QUESTIONS: dict[str, tuple[str, Any]] = {
    **{f"metadata of {name}": (f"/v2/models/{name}", None) for name in NAMES},
    **{f"config of {name}": (f"/v2/models/{name}/config", None) for name in NAMES},
    **{f"readiness of {name}": (f"/v2/models/{name}/ready", None) for name in NAMES},
    "simple adds": ("/v2/models/simple/infer", sums("INT32", SIXTEEN)),
    "simple with an id and one output": (
        "/v2/models/simple/infer",
        sums("INT32", SIXTEEN, id="7", outputs=[{"name": "OUTPUT1"}]),
    ),
    "simple in binary": (
        "/v2/models/simple/infer",
        sums("INT32", SIXTEEN, parameters={"binary_data_output": True}),
    ),
    "simple with an input too few": (
        "/v2/models/simple/infer",
        {"inputs": sums("INT32", SIXTEEN)["inputs"][:1]},
    ),
    "simple_int8 overflows": ("/v2/models/simple_int8/infer", sums("INT8", [100] * 16)),
    "simple_string adds numbers in words": (
        "/v2/models/simple_string/infer",
        sums("BYTES", [str(number) for number in SIXTEEN]),
    ),
    "simple_string of what is no number": ("/v2/models/simple_string/infer", sums("BYTES", ["x"] * 16)),
    "simple_identity": (
        "/v2/models/simple_identity/infer",
        {"inputs": [strings("INPUT0", "a", "ü", shape=[1, 2])]},
    ),
    "identity_fp32": (
        "/v2/models/identity_fp32/infer",
        {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [4], "data": [0.1, -0.0, 1e20, 1e-7]}]},
    ),
    "identity_fp32 of nothing": (
        "/v2/models/identity_fp32/infer",
        {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [0], "data": []}]},
    ),
    "embedding": ("/v2/models/embedding/infer", {"inputs": [strings("input_text", "good morning", "")]}),
    "custom_llm": ("/v2/models/custom_llm/infer", {"inputs": [strings("text_input", PROMPT)]}),
    "custom_llm generates": ("/v2/models/custom_llm/generate", {"text_input": PROMPT, "max_tokens": 7}),
    "custom_llm generates without a limit": ("/v2/models/custom_llm/generate", {"text_input": PROMPT}),
    "custom_llm streams": ("/v2/models/custom_llm/generate_stream", {"text_input": PROMPT, "max_tokens": 7}),
    **{
        f"{name} {verb} with {key}={value}": (
            f"/v2/models/{name}/{verb}",
            {"text_input": PROMPT, "max_tokens": 9, "stream": verb == "generate_stream", key: value},
        )
        for verb in ("generate", "generate_stream")
        for name, key, value in (
            ("trtllm", "bad_words", ["the"]),
            ("trtllm", "stop_words", ["."]),
            ("trtllm", "return_log_probs", True),
            ("trtllm", "end_id", 2),
            ("trtllm", "seed", 17),
            ("vllm", "sampling_parameters", '{"max_tokens": 5}'),
            ("vllm", "sampling_parameters", '{"max_tokens": 5, "n": 2, "seed": 3}'),
            ("vllm", "sampling_parameters", "{broken"),
            ("vllm", "exclude_input_in_output", True),
            ("vllm", "return_finish_reason", True),
            ("vllm", "return_num_output_tokens", True),
        )
    },
    "trtllm without a limit": ("/v2/models/trtllm/generate", {"text_input": PROMPT}),
    "trtllm in a batch": (
        "/v2/models/trtllm/generate",
        {"text_input": [PROMPT, "another"], "max_tokens": [3, 4]},
    ),
    "vllm over infer": ("/v2/models/vllm/infer", {"inputs": [strings("text_input", PROMPT)]}),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_both_servers_give_the_same_answer(servers: Servers, question: str) -> None:
    path, body = QUESTIONS[question]
    assert answer(servers.emulator, path, body) == answer(servers.triton, path, body)
