"""What an ensemble makes of its steps' errors since 2.66: core r26.02, src/ensemble_scheduler/ensemble_scheduler.cc."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.settings import TritonVersion

#: answers when the file `open` is there; a file of its own name says that it has a request
GATED = """
import time
from pathlib import Path
import triton_python_backend_utils as pb_utils
FOLDER = Path({folder!r})
class TritonPythonModel:
    def initialize(self, args):
        self.name = args["model_name"]

    def execute(self, requests):
        (FOLDER / self.name).touch()
        while not (FOLDER / "open").exists():
            time.sleep(0.001)
        return [{answer} for _ in requests]
"""
FAILS = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("no")) for _ in requests]
"""
CONFIG = """
backend: "python"
input { name: "X" data_type: TYPE_INT32 dims: 1 }
output { name: "Y" data_type: TYPE_INT32 dims: 1 }
dynamic_batching { default_queue_policy { max_queue_size: 1 } }
max_batch_size: 1
"""
STEP = (
    'step { model_name: "%s" model_version: -1 '
    'input_map { key: "X" value: "X" } output_map { key: "Y" value: "%s" } }\n'
)
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 1
input { name: "X" data_type: TYPE_INT32 dims: 1 }
output [ { name: "A" data_type: TYPE_INT32 dims: 1 }, { name: "B" data_type: TYPE_INT32 dims: 1 } ]
ensemble_scheduling { %s }
"""
BODY = {"inputs": [{"name": "X", "datatype": "INT32", "shape": [1, 1], "data": [1]}]}
OK = "pb_utils.InferenceResponse([])"
LATER = 'pb_utils.InferenceResponse(error=pb_utils.TritonError("later", pb_utils.TritonError.UNAVAILABLE))'


def write(folder: Path, name: str, config: str, model: str = "") -> None:
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if model:
        (folder / name / "1" / "model.py").write_text(model, encoding="utf-8")


@contextmanager
def serving(
    folder: Path, version: TritonVersion, steps: tuple[str, str], answer: str = OK
) -> Iterator[Emulator]:
    repository = folder / "models"
    for name in ("gated", "busy"):
        write(repository, name, CONFIG, GATED.format(folder=str(folder), answer=answer))
    write(repository, "fails", CONFIG, FAILS)
    write(repository, "both", ENSEMBLE % "".join(STEP % pair for pair in zip(steps, "AB", strict=True)))
    with Emulator(repository, triton_version=version, allow_grpc=False) as emulator:
        try:
            yield emulator
        finally:
            (folder / "open").touch()


def ask(emulator: Emulator, model: str) -> tuple[int, str]:
    answer = httpx.post(f"{emulator.http_url}/v2/models/{model}/infer", json=BODY, timeout=60)
    return answer.status_code, answer.text


def wait_for(emulator: Emulator, metric: str) -> None:
    while f"\n{metric}\n" not in httpx.get(emulator.metrics_url).text:
        pass


def test_until_2_65_an_error_is_sent_while_another_step_runs(tmp_path: Path) -> None:
    with serving(tmp_path, "2.65.0", ("gated", "fails")) as emulator:
        assert ask(emulator, "both") == (500, '{"error":"in ensemble \'both\', no"}')
        assert not (tmp_path / "open").exists()


@pytest.mark.parametrize(
    "answer, expected",
    [
        (OK, (500, "{\"error\":\"in ensemble 'both', in ensemble 'both', no\"}")),
        (LATER, (503, '{"error":"in ensemble \'both\', later"}')),
    ],
    ids=["the other step succeeds", "the other step fails"],
)
def test_from_2_66_an_error_waits_for_the_steps_that_run(
    tmp_path: Path, answer: str, expected: tuple[int, str]
) -> None:
    with (
        serving(tmp_path, "2.66.0", ("gated", "fails"), answer) as emulator,
        ThreadPoolExecutor() as pool,
    ):
        asked = pool.submit(ask, emulator, "both")
        wait_for(emulator, 'nv_inference_exec_count{model="fails",version="1"} 1')
        assert not asked.done()
        (tmp_path / "open").touch()
        assert asked.result() == expected


def test_from_2_66_a_refusal_is_told_when_the_other_step_has_ended(tmp_path: Path) -> None:
    with serving(tmp_path, "2.66.0", ("gated", "busy")) as emulator, ThreadPoolExecutor() as pool:
        pool.submit(ask, emulator, "busy")
        while not (tmp_path / "busy").exists():
            pass
        pool.submit(ask, emulator, "busy")
        pending = 'nv_inference_pending_request_count{model="%s",version="1"} %d'
        wait_for(emulator, pending % ("busy", 1))
        asked = pool.submit(ask, emulator, "both")
        while not (tmp_path / "gated").exists():
            pass
        wait_for(emulator, pending % ("gated", 0))  # the event loop has refused the other step by now
        (tmp_path / "open").touch()
        text = "in ensemble 'both', [request id: <id_unknown>] Exceeds maximum queue size"
        assert asked.result() == (503, f'{{"error":"{text}"}}')
