"""Large gRPC requests are read, and large answers are written, beside the event loop: others are answered meanwhile."""

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from triton_emulator import Emulator

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]) for array in arrays]
"""
CONFIG = """
backend: "python"
input [{name: "IN" data_type: TYPE_%s dims: [-1]}]
output [{name: "OUT" data_type: TYPE_%s dims: [-1]}]
"""
COUNT = 50_000


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("models")
    for name, datatype in (("int16", "INT16"), ("strings", "STRING")):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(CONFIG % (datatype, datatype))
        (folder / name / "1" / "model.py").write_text(MODEL)
    with Emulator(folder) as triton:
        yield triton


@pytest.fixture
def in_threads() -> Iterator[set[str]]:
    """The functions that threads call which begin after this."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add(frame.f_code.co_name)

    before = sys.getprofile()
    threading.setprofile(note)
    yield called
    threading.setprofile(before)


def numbers() -> bytes:
    asked = pb.ModelInferRequest(model_name="int16")
    entry = asked.inputs.add(name="IN", datatype="INT16", shape=[COUNT])
    entry.contents.int_contents.extend(range(COUNT))
    encoded: bytes = asked.SerializeToString()
    return encoded


def strings() -> bytes:
    asked = pb.ModelInferRequest(model_name="strings")
    entry = asked.inputs.add(name="IN", datatype="BYTES", shape=[COUNT])
    entry.contents.bytes_contents.extend(b"%d" % number for number in range(COUNT))
    encoded: bytes = asked.SerializeToString()
    return encoded


def test_a_large_call_is_read_and_answered_in_threads(triton: Emulator, in_threads: set[str]) -> None:
    with grpc.insecure_channel(triton.grpc_url) as channel:
        answer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(numbers())
    [raw] = pb.ModelInferResponse.FromString(answer).raw_output_contents
    # narrower integers keep their lowest bytes
    assert raw == np.arange(COUNT, dtype="<i4").astype("<i2").tobytes()
    assert {"read_infer", "_encoded"} <= in_threads


def test_a_large_request_of_a_stream_is_read_in_a_thread(triton: Emulator, in_threads: set[str]) -> None:
    with grpc.insecure_channel(triton.grpc_url) as channel:
        method = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        answers = [pb.ModelStreamInferResponse.FromString(answer) for answer in method(iter([strings()] * 3))]
    expected = b"".join(len(b"%d" % n).to_bytes(4, "little") + b"%d" % n for n in range(COUNT))
    assert [list(answer.infer_response.raw_output_contents) for answer in answers] == [[expected]] * 3
    assert "read_infer" in in_threads
