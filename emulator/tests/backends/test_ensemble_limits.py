"""`max_inflight_requests` of ensembles: core r25.11 and r26.04, src/ensemble_scheduler/ensemble_scheduler.cc."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.backends.ensemble.limits import Lane, StepLimit
from triton_emulator.settings import TritonVersion

#: sends as many responses as X says
MANY = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb_utils.get_input_tensor_by_name(request, "X").as_numpy()[0, 0])
            for number in range(count):
                y = np.array([[number]], np.int32)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("Y", y)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
#: answers how many requests it got together
COUNTS = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        y = np.array([[len(requests)]], np.int32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", y)]) for _ in requests]
"""
TENSORS = """
max_batch_size: 4
input { name: "X" data_type: TYPE_INT32 dims: 1 }
output { name: "%s" data_type: TYPE_INT32 dims: 1 }
"""
BATCHING = 'backend: "python" dynamic_batching { preferred_batch_size: %d max_queue_delay_microseconds: %d }'
DECOUPLED = 'backend: "python" model_transaction_policy { decoupled: true }'
STEP = (
    'step { model_name: "%s" model_version: -1 '
    'input_map { key: "X" value: "%s" } output_map { key: "Y" value: "%s" } }'
)
#: longer than any test
LONG = 600_000_000


def write(repository: Path, name: str, config: str, output: str = "Y", model: str = "") -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config + TENSORS % output, encoding="utf-8")
    if model:
        (repository / name / "1" / "model.py").write_text(model, encoding="utf-8")


@contextmanager
def serving(
    repository: Path, version: TritonVersion, limit: int, together: int, delay: int
) -> Iterator[Emulator]:
    """An ensemble whose second step waits until it has `together` requests, or for the delay (microseconds)."""
    steps = STEP % ("many", "X", "BETWEEN") + STEP % ("counts", "BETWEEN", "SIZE")
    scheduling = f'platform: "ensemble" ensemble_scheduling {{ max_inflight_requests: {limit} {steps} }}'
    write(repository, "many", DECOUPLED, model=MANY)
    write(repository, "counts", BATCHING % (together, delay), model=COUNTS)
    write(repository, "stream", scheduling + "model_transaction_policy { decoupled: true }", "SIZE")
    with Emulator(repository, triton_version=version, allow_grpc=False, allow_metrics=False) as emulator:
        yield emulator


def sizes(emulator: Emulator, count: int) -> list[int]:
    """How many requests each of the responses' requests to the second step came with."""
    url = f"{emulator.http_url}/v2/models/stream/generate_stream"
    text = httpx.post(url, json={"X": [count]}, timeout=60).text
    return [json.loads(event.removeprefix("data: "))["SIZE"] for event in text.split("\n\n") if event]


@pytest.mark.parametrize(
    ("limit", "together", "delay", "expected"),
    [(0, 4, LONG, [4, 4, 4, 4]), (2, 2, LONG, [2, 2, 2, 2]), (1, 4, 50_000, [1, 1, 1, 1])],
)
def test_no_more_requests_of_a_step_are_in_flight(
    tmp_path: Path, limit: int, together: int, delay: int, expected: list[int]
) -> None:
    with serving(tmp_path, "2.63.0", limit, together, delay) as emulator:
        assert sizes(emulator, 4) == expected


@pytest.mark.parametrize(
    ("version", "delay", "expected"), [("2.67.0", LONG, [[2], [2]]), ("2.68.0", 200_000, [[1], [1]])]
)
def test_from_2_68_the_requests_to_an_ensemble_share_the_limit(
    tmp_path: Path, version: TritonVersion, delay: int, expected: list[list[int]]
) -> None:
    with serving(tmp_path, version, 1, 2, delay) as emulator, ThreadPoolExecutor() as pool:
        asked = [pool.submit(sizes, emulator, 1) for _ in range(2)]
        assert [each.result() for each in asked] == expected


@pytest.mark.parametrize(("version", "shown"), [("2.62.0", {}), ("2.63.0", {"max_inflight_requests": 0})])
def test_the_config_of_every_ensemble_shows_the_limit(
    tmp_path: Path, version: TritonVersion, shown: dict[str, int]
) -> None:
    write(tmp_path, "many", DECOUPLED, model=MANY)
    step = STEP % ("many", "X", "Y")
    write(tmp_path, "one", f'platform: "ensemble" ensemble_scheduling {{ {step} }}')
    with Emulator(tmp_path, triton_version=version, allow_grpc=False, allow_metrics=False) as emulator:
        scheduling = httpx.get(f"{emulator.http_url}/v2/models/one/config").json()["ensemble_scheduling"]
    del scheduling["step"]
    assert scheduling == shown


def test_a_place_goes_to_the_one_that_has_waited_longest() -> None:
    limit, resumed = StepLimit(1), list[str]()
    assert limit.take(lambda: None)
    for name in "ab":
        assert not limit.take(partial(resumed.append, name))
    limit.take_anyway()
    limit.release()
    assert resumed == []
    limit.release()
    assert resumed == ["a"]
    limit.release()
    assert resumed == ["a", "b"]


def test_a_step_that_ends_at_once_lets_the_next_one_go_without_recursion() -> None:
    limit, resumed = StepLimit(1), list[int]()
    assert limit.take(lambda: None)

    def end(number: int) -> None:
        resumed.append(number)
        limit.release()

    for number in range(10_000):
        assert not limit.take(partial(end, number))
    limit.release()
    assert resumed == list(range(10_000))


def test_what_comes_after_a_part_that_waits_keeps_its_order() -> None:
    lane, done = Lane(), list[str]()

    def wait() -> None:
        done.append("wait")
        lane.waits = True

    lane.do(wait)
    lane.do(wait)
    lane.do(lambda: done.append("last"))
    assert done == ["wait"]
    lane.go_on()
    assert done == ["wait", "wait"]
    lane.go_on()
    assert done == ["wait", "wait", "last"]
