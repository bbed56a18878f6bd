"""`reshape`: a client's shapes become the model's, and the model's become the client's."""

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
def test_a_shape_is_reshaped(
    shape: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
    batching: bool,
    seen: tuple[int, ...],
) -> None:
    assert reshaped(shape, before, after, batching=batching) == seen


def test_a_stand_in_answers_in_the_shape_that_clients_see(tmp_path: Path) -> None:
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


_ONE_TOO_FEW_OR_MANY = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        count = int(pb_utils.get_input_tensor_by_name(requests[0], "N").as_numpy()[0])
        numbers = pb_utils.Tensor("NUMBERS", np.arange(count, dtype=np.int32))
        texts = pb_utils.Tensor("TEXTS", np.array([b"%d" % number for number in range(count)], dtype=np.object_))
        return [pb_utils.InferenceResponse([numbers, texts])]
"""


@pytest.mark.parametrize(
    ("output", "count", "status", "answer"),
    [
        ("NUMBERS", 3, 500, "output tensor shape does not match size of output for 'NUMBERS'"),
        ("NUMBERS", 5, 500, "output tensor shape does not match size of output for 'NUMBERS'"),
        ("TEXTS", 3, 500, "output tensor shape does not match size of output for 'TEXTS'"),
        ("TEXTS", 5, 200, ["0", "1", "2", "3"]),
    ],
    ids=[
        "too few numbers are refused",
        "too many numbers are refused",
        "too few strings are refused",
        "of too many strings 2.51 writes what the shape promises",
    ],
)
def test_an_answer_of_another_size_than_reshape_promises(
    tmp_path: Path, output: str, count: int, status: int, answer: object
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.py").write_text(_ONE_TOO_FEW_OR_MANY)
    (tmp_path / "m" / "config.pbtxt").write_text(
        """
        backend: "python"
        input { name: "N" data_type: TYPE_INT32 dims: [ 1 ] }
        output { name: "NUMBERS" data_type: TYPE_INT32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } }
        output { name: "TEXTS" data_type: TYPE_STRING dims: [ 4 ] reshape { shape: [ 2, 2 ] } }
        """
    )
    number = {"name": "N", "datatype": "INT32", "shape": [1], "data": [count]}
    with Emulator(tmp_path) as triton:
        got = httpx.post(
            f"{triton.url}/v2/models/m/infer", json={"inputs": [number], "outputs": [{"name": output}]}
        )
    assert got.status_code == status
    body = got.json()
    assert (body["error"] if status == 500 else body["outputs"][0]["data"]) == answer
