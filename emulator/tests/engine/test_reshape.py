"""`reshape`: which shape a model sees of which shape of a client, and back."""

from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.engine.reshape import reshaped


@pytest.mark.parametrize(
    ("shape", "before", "after", "batching", "seen"),
    [
        ((4,), (4,), (2, 2), False, (2, 2)),
        ((3, 4), (4,), (2, 2), True, (3, 2, 2)),
        ((3, 1), (1,), (), True, (3,)),
        ((3,), (), (1,), True, (3, 1)),
        ((2, 5), (-1,), (-1, 1), True, (2, 5, 1)),
        ((2, 5, 7), (-1, -1), (-1, 1, -1), True, (2, 5, 1, 7)),
        ((2,), (-1, 1), (-1,), True, (2, 1)),
    ],
    ids=[
        "fixed dims",
        "a batch dimension stays",
        "to a scalar for each row",
        "and back",
        "a variable dim is taken over",
        "two in order",
        "a tensor that does not fit at all",
    ],
)
def test_reshaped(
    shape: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
    batching: bool,
    seen: tuple[int, ...],
) -> None:
    assert reshaped(shape, before, after, batching=batching) == seen


def test_what_stands_in_for_a_model_answers_in_the_shape_that_clients_see(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(
        """
        backend: "onnxruntime"
        max_batch_size: 4
        input { name: "X" data_type: TYPE_INT32 dims: [ 1, -1 ] reshape { shape: [ -1 ] } }
        output { name: "Y" data_type: TYPE_INT32 dims: [ 1, -1 ] reshape { shape: [ -1 ] } }
        """
    )
    asked = {"inputs": [{"name": "X", "datatype": "INT32", "shape": [2, 1, 3], "data": [1, 2, 3, 4, 5, 6]}]}
    with Emulator(tmp_path) as triton:
        answer = httpx.post(f"{triton.url}/v2/models/m/infer", json=asked)
    assert answer.json()["outputs"][0]["shape"] == [2, 1, 3]
