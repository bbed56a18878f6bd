"""The LiteLLM SDK makes the calls of its Triton page to the bare endpoints and to a model's endpoints.

LiteLLM runs in its own environment, because its pinned versions conflict with this project's. It requests every model
from a model hub; here a proxy address that refuses connections keeps it from the network.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract_tests.tests.witnesses.conftest import BUILTIN, serving
from triton_contract.reference.pytest_support import in_ci
from triton_contract.targets import Target

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-litellm" / "bin" / "python"
PROGRAM = Path(__file__).with_name("litellm_calls.py")
QUESTION = [{"role": "user", "content": "who are u?"}]
#: the built-in models' answer to QUESTION with ten tokens
ANSWER = "That plain batch reads a shape. Every new tensor"
NOWHERE = "http://127.0.0.1:9"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.environ.get("HOME", "/"),
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Asked:
    """A call of the SDK: the function, the path of its `api_base`, and its other arguments."""

    call: str
    endpoint: str
    arguments: tuple[tuple[str, Any], ...] = ()

    def on(self, server: Target) -> dict[str, Any]:
        base = {"model": "triton/some-model", "api_base": f"{url_of(server)}{self.endpoint}"}
        what = (
            {"input": ["good morning from litellm"]} if "embedding" in self.call else {"messages": QUESTION}
        )
        return {"call": self.call, "arguments": {**base, **what, **dict(self.arguments)}}


def asked(call: str, endpoint: str, **arguments: Any) -> Asked:
    return Asked(call, endpoint, tuple(arguments.items()))


def url_of(server: Target) -> str:
    return f"http://{server.http.host}:{server.http.port}"


def calls(server: Target, questions: dict[str, Asked]) -> dict[str, Any]:
    """The SDK's answers by the question's name. One program makes all calls, because it takes seconds to start."""
    if not PYTHON.exists():
        (pytest.fail if in_ci() else pytest.skip)("LiteLLM is not installed; `make install` does it")
    done = subprocess.run(
        [PYTHON, PROGRAM],
        input=json.dumps([question.on(server) for question in questions.values()]),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(questions, json.loads(done.stdout.splitlines()[-1]), strict=True))


# --- the three endpoints that name no model: the emulator's own ----------------------------------------------------

BARE = {
    f"{call} {endpoint}": asked(call, endpoint, max_tokens=10)
    for call in ("completion", "acompletion")
    for endpoint in ("/generate", "/infer", "/triton/generate", "/some/prefix/infer")
} | {
    "streamed completion": asked("completion", "/generate", max_tokens=10, stream=True),
    "streamed acompletion": asked("acompletion", "/triton/generate", max_tokens=10, stream=True),
    "embedding": asked("embedding", "/embeddings"),
    "aembedding": asked("aembedding", "/triton/embeddings"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Target]:
    with serving("emulator", BUILTIN, "--default-generate-model=custom_llm") as target:
        yield target


@pytest.fixture(scope="module")
def bare(emulator: Target) -> dict[str, Any]:
    return calls(emulator, BARE)


@pytest.mark.parametrize("name", [name for name in BARE if name.endswith(("generate", "infer"))])
def test_a_completion_through_a_bare_endpoint(bare: dict[str, Any], name: str) -> None:
    assert bare[name] == {"text": ANSWER, "finish_reason": "stop", "model": bare[name]["model"]}


@pytest.mark.parametrize("name", ["streamed completion", "streamed acompletion"])
def test_a_stream_through_a_bare_endpoint(bare: dict[str, Any], name: str) -> None:
    assert "".join(bare[name]["chunks"]) == ANSWER
    assert bare[name]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["embedding", "aembedding"])
def test_an_embedding_through_the_bare_endpoint(bare: dict[str, Any], emulator: Target, name: str) -> None:
    (vector,) = bare[name]["vectors"]
    body = {
        "inputs": [
            {"name": "input_text", "shape": [1], "datatype": "BYTES", "data": ["good morning from litellm"]}
        ]
    }
    direct = httpx.post(f"{url_of(emulator)}/v2/models/embedding/infer", json=body).json()
    assert vector == direct["outputs"][0]["data"]
    assert sum(number * number for number in vector) == pytest.approx(1)


# --- a model's own endpoints: on both servers ----------------------------------------------------------------------

MODELS = {
    "generate": asked("completion", "/v2/models/custom_llm/generate", max_tokens=10),
    "generate, async": asked("acompletion", "/v2/models/custom_llm/generate", max_tokens=10),
    "generate of a versioned model": asked(
        "completion", "/v2/models/custom_llm/versions/1/generate", max_tokens=10
    ),
    "generate with TRT-LLM's tensors": asked("completion", "/v2/models/trtllm/generate", max_tokens=10),
    "generate with vLLM's tensors": asked("completion", "/v2/models/vllm/generate", max_tokens=10),
    "infer": asked("completion", "/v2/models/custom_llm/infer", max_tokens=10),
    "infer, async": asked("acompletion", "/v2/models/custom_llm/infer", max_tokens=10),
    "stream of TRT-LLM's tensors": asked(
        "completion", "/v2/models/trtllm/generate", max_tokens=10, stream=True
    ),
    "stream of vLLM's tensors, async": asked(
        "acompletion", "/v2/models/vllm/generate", max_tokens=10, stream=True
    ),
    "stream of one": asked("completion", "/v2/models/custom_llm/generate", max_tokens=10, stream=True),
    "embedding": asked("embedding", "/v2/models/embedding/infer"),
    "embedding, async": asked("aembedding", "/v2/models/embedding/infer"),
    "an unknown model": asked("completion", "/v2/models/nope/generate", max_tokens=10),
    "infer of a decoupled model": asked("completion", "/v2/models/vllm/infer", max_tokens=10),
    "infer of a model with a batch": asked("completion", "/v2/models/simple_string/infer", max_tokens=10),
}


@pytest.fixture(scope="module")
def told(builtin_server: Target) -> dict[str, Any]:
    return calls(builtin_server, MODELS)


@pytest.mark.parametrize(
    "name",
    ["generate", "generate, async", "generate of a versioned model", "infer", "infer, async"],
)
def test_a_completion_of_a_model(told: dict[str, Any], name: str) -> None:
    assert (told[name]["text"], told[name]["finish_reason"]) == (ANSWER, "stop")


@pytest.mark.parametrize("name", ["generate with TRT-LLM's tensors", "generate with vLLM's tensors"])
def test_a_completion_that_begins_with_its_prompt(told: dict[str, Any], name: str) -> None:
    assert told[name]["text"].startswith("who are u?")


def test_a_stream_of_trtllm_tensors(told: dict[str, Any]) -> None:
    assert "".join(told["stream of TRT-LLM's tensors"]["chunks"]) == ANSWER


def test_a_stream_of_vllm_tensors(told: dict[str, Any]) -> None:
    assert len(told["stream of vLLM's tensors, async"]["chunks"]) > 1


def test_a_stream_of_a_model_that_answers_once(told: dict[str, Any]) -> None:
    assert told["stream of one"] == {"chunks": [ANSWER], "finish_reason": "stop"}


@pytest.mark.parametrize("name", ["embedding", "embedding, async"])
def test_an_embedding_of_a_model(told: dict[str, Any], name: str) -> None:
    (vector,) = told[name]["vectors"]
    assert sum(number * number for number in vector) == pytest.approx(1)


@pytest.mark.parametrize(
    "name, error, status, text",
    [
        ("an unknown model", "NotFoundError", 404, "Request for unknown model: 'nope' is not found"),
        (
            "infer of a decoupled model",
            "APIError",
            501,
            "HTTP end point doesn't support models with decoupled",
        ),
        ("infer of a model with a batch", "BadRequestError", 400, "unexpected inference input"),
    ],
)
def test_an_error_of_triton_is_the_sdk_s_error(
    told: dict[str, Any], name: str, error: str, status: int, text: str
) -> None:
    answer = told[name]
    assert (answer["error"], answer["status"]) == (error, status)
    assert text in answer["text"]
