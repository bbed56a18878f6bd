"""An iterative sequence of a decoupled model with `async def execute`: which release flags count."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from triton_emulator import Emulator

CONFIG = """
backend: "python" max_batch_size: 1
input { name: "X" data_type: TYPE_INT32 dims: 1 }
output { name: "SEEN" data_type: TYPE_INT32 dims: 1 }
sequence_batching { iterative_sequence: true }
model_transaction_policy { decoupled: true }
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

AGAIN = pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args):
        self.seen = 0

    async def tell(self, request, flags):
        self.seen += 1
        seen = pb_utils.Tensor("SEEN", np.array([[self.seen]], np.int32))
        request.get_response_sender().send(pb_utils.InferenceResponse([seen]), flags=flags)

"""
IN_THE_COROUTINE = """
    async def execute(self, requests):
        requests[0].set_release_flags(AGAIN)
        await self.tell(requests[0], 0)
"""
BEFORE_THE_COROUTINE = """
    def execute(self, requests):
        again = self.seen == 0
        if again:
            requests[0].set_release_flags(AGAIN)
        return self.rest(requests[0], again)

    async def rest(self, request, again):
        request.set_release_flags(AGAIN)
        await self.tell(request, 0 if again else FINAL)
"""


@pytest.fixture
def triton(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emulator]:
    (tmp_path / "counts" / "1").mkdir(parents=True)
    (tmp_path / "counts" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "counts" / "1" / "model.py").write_text(MODEL + request.param)
    with Emulator(tmp_path) as emulator:
        yield emulator


def events(triton: Emulator) -> Iterator[int]:
    """What a stream of the model's responses tells, until it ends."""
    url = f"{triton.http_url}/v2/models/counts/generate_stream"
    with urllib.request.urlopen(urllib.request.Request(url, data=b'{"X":[1]}')) as answer:
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))["SEEN"]


@pytest.mark.parametrize("triton", [IN_THE_COROUTINE], indirect=True)
def test_a_flag_that_the_coroutine_sets_comes_too_late(triton: Emulator) -> None:
    # 2.51: each request is seen once, and its stream stays open
    streams = [events(triton) for _ in range(5)]
    assert [next(stream) for stream in streams] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("triton", [BEFORE_THE_COROUTINE], indirect=True)
def test_a_flag_that_is_set_before_the_coroutine_begins_counts(triton: Emulator) -> None:
    assert list(events(triton))[:2] == [1, 2]
