"""The pipeline of docs/pipeline.md on the real server: the same files, with a Python model instead of the engine."""

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import require_reference
from triton_emulator import Emulator

CHAT = Path(__file__).parents[2] / "examples" / "chat"
#: answers with its input ids in reverse order, as many as requested
ENGINE = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            ids, lengths, wanted = (
                pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in ("input_ids", "input_lengths", "request_output_len")
            )
            count = int(wanted.max())
            answer = np.resize(ids[:, ::-1], (len(ids), 1, count)).astype(np.int32)
            sizes = np.minimum(wanted, count).reshape(-1, 1).astype(np.int32)
            tensors = [pb_utils.Tensor("output_ids", answer), pb_utils.Tensor("sequence_length", sizes)]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""
BODIES = {
    "words of the vocabulary": {"text_input": "tell me how a model can answer", "max_tokens": 4},
    "words that are spelled": {"text_input": "Zürich, éclair!", "max_tokens": 30},
    "nothing": {"text_input": "", "max_tokens": 3},
    "no tokens": {"text_input": "hello", "max_tokens": 0},
    "an input too few": {"text_input": "hello"},
    "an input of another type": {"text_input": "hello", "max_tokens": "four"},
    "an input too many": {"text_input": "hello", "max_tokens": 4, "temperature": 0.5},
    "two texts": {"text_input": ["one", "two"], "max_tokens": [4, 4]},
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "chat"
    shutil.copytree(CHAT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "tensorrt_llm" / "config.pbtxt"
    config.write_text(
        config.read_text()
        .replace('backend: "tensorrtllm"', 'backend: "python"')
        .replace("kind: KIND_GPU gpus: [ 0 ]", "kind: KIND_CPU")
    )
    (folder / "tensorrt_llm" / "1" / "model.py").write_text(ENGINE)
    return folder


@pytest.fixture(scope="module")
def real(pipeline: Path) -> Iterator[str]:
    require_reference()
    with TritonServer(pipeline, ["--exit-on-error=false"]) as triton:
        yield triton.http_url


@pytest.fixture(scope="module")
def emulated(pipeline: Path) -> Iterator[str]:
    with Emulator(pipeline) as triton:
        yield triton.url


def ask(url: str, model: str, body: object) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{url}/v2/models/{model}/generate", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def inference_counts(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/v2/models/stats", timeout=10) as answer:
        return {entry["name"]: entry["inference_count"] for entry in json.load(answer)["model_stats"]}


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_pipeline_answers_as_on_the_real_server(
    real: str, emulated: str, model: str, body: object
) -> None:
    assert ask(real, model, body) == ask(emulated, model, body)


def test_every_member_counts_what_the_real_server_counts(real: str, emulated: str) -> None:
    # All counts since the start are compared: both servers were asked the same, and the real one may count a request of
    # an earlier test late.
    urls = (real, emulated)
    for url in urls:
        assert ask(url, "ensemble", BODIES["words of the vocabulary"])[0] == 200
        assert ask(url, "tensorrt_llm_bls", BODIES["words of the vocabulary"])[0] == 200
    deadline = time.monotonic() + 60.0
    while True:  # a server counts after it has answered
        counted = [inference_counts(url) for url in urls]
        if counted[0] == counted[1] or time.monotonic() > deadline:
            break
    assert counted[0] == counted[1]
    assert all(counted[0].values())
