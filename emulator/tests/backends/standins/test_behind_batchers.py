"""Stand-ins are scheduled by the batchers that the configuration names."""

from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator

CONFIG = """
backend: "onnxruntime"
max_batch_size: 2
input { name: "X" data_type: TYPE_INT32 dims: [ 1 ] }
output { name: "Y" data_type: TYPE_INT32 dims: [ 1 ] }
sequence_batching { max_sequence_idle_microseconds: 60000000 %s }
"""


def ask(url: str, **parameters: object) -> tuple[int, object]:
    tensor = {"name": "X", "datatype": "INT32", "shape": [1, 1], "data": [1]}
    answer = httpx.post(f"{url}/v2/models/m/infer", json={"parameters": parameters, "inputs": [tensor]})
    body = answer.json()
    return answer.status_code, body.get("error") or body["outputs"][0]["shape"]


@pytest.mark.parametrize("strategy", ["direct {}", "oldest { max_candidate_sequences: 2 }"])
def test_a_stand_in_with_a_sequence_batcher_requires_sequences(tmp_path: Path, strategy: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG % strategy)
    with Emulator(tmp_path) as triton:
        assert ask(triton.url) == (
            400, "inference request to model 'm' must specify a non-zero or non-empty correlation ID",
        )  # fmt: skip
        assert ask(triton.url, sequence_id=5) == (
            400,
            (
                "inference request for sequence 5 to model 'm' must specify the START flag on the first request of "
                "the sequence"
            ),
        )
        assert ask(triton.url, sequence_id=5, sequence_start=True) == (200, [1, 1])
        assert ask(triton.url, sequence_id=5) == (200, [1, 1])
        assert ask(triton.url, sequence_id=5, sequence_end=True) == (200, [1, 1])


def test_the_execution_of_a_request_of_two_rows_is_one_of_two(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG.partition("sequence_batching")[0])
    tensor = {"name": "X", "datatype": "INT32", "shape": [2, 1], "data": [1, 2]}
    with Emulator(tmp_path) as triton:
        httpx.post(f"{triton.url}/v2/models/m/infer", json={"inputs": [tensor]}).raise_for_status()
        (statistics,) = httpx.get(f"{triton.url}/v2/models/m/stats").json()["model_stats"]
    assert (statistics["inference_count"], statistics["execution_count"]) == (2, 1)
    assert [batch["batch_size"] for batch in statistics["batch_stats"]] == [2]
