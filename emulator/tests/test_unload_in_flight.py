"""Models that are unloaded while requests run, and requests that other models send: each gets its answer."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator, EmulatorOptions
from triton_emulator.inference import HTTP_INFER, Exchange
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings

TENSORS = """
input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] }]
"""
PYTHON = 'backend: "python"' + TENSORS
ECHO = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.answer(request).as_numpy())])
            for request in requests
        ]

    def answer(self, request):
        return pb_utils.get_input_tensor_by_name(request, "IN")
"""
#: reports through one pipe that it has begun, and continues when the other one is opened
WAITING = (
    ECHO
    + """
    def execute(self, requests, super_execute=execute):
        open(BEGUN, "w").close()
        open(GO).close()
        return super_execute(self, requests)
"""
)
CHAIN = (
    'platform: "ensemble"'
    + TENSORS
    + """
ensemble_scheduling { step [
  { model_name: "waiting" model_version: -1
    input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "MID" } },
  { model_name: "echo" model_version: -1
    input_map { key: "IN" value: "MID" } output_map { key: "OUT" value: "OUT" } }
] }
"""
)
ASKS_A_SEQUENCE_MODEL = (
    ECHO
    + """
    def answer(self, request):
        asked = pb_utils.InferenceRequest(
            model_name="stand_in",
            requested_output_names=["OUT"],
            inputs=[pb_utils.get_input_tensor_by_name(request, "IN")],
        ).exec()
        if asked.has_error():
            raise ValueError(asked.error().message())
        return asked.output_tensors()[0]
"""
)
ONE = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [41]}]}


def add(repository: Path, name: str, config: str, model: str = "") -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    if model:
        (repository / name / "1" / "model.py").write_text(model)


def states(url: str) -> dict[str, str]:
    return {row["name"]: row["state"] for row in httpx.post(f"{url}/v2/repository/index").json()}


@pytest.fixture
def pipes(tmp_path: Path) -> tuple[Path, Path]:
    begun, go = tmp_path / "begun", tmp_path / "go"
    os.mkfifo(begun)
    os.mkfifo(go)
    return begun, go


def test_an_ensemble_finishes_with_the_members_that_it_began_with(
    tmp_path: Path, pipes: tuple[Path, Path]
) -> None:
    begun, go = pipes
    repository = tmp_path / "models"
    add(repository, "waiting", PYTHON, f"BEGUN, GO = {str(begun)!r}, {str(go)!r}\n{WAITING}")
    add(repository, "echo", PYTHON, ECHO)
    add(repository, "chain", CHAIN)
    options: EmulatorOptions = {
        "model_control_mode": "explicit",
        "load_models": ("chain",),
        "allow_grpc": False,
    }
    with Emulator(repository, **options) as triton, ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx.post, f"{triton.url}/v2/models/chain/infer", json=ONE)
        begun.open().close()
        httpx.post(f"{triton.url}/v2/repository/models/echo/unload")
        shown = states(triton.url)
        go.open("w").close()
        assert answer.result().json()["outputs"][0]["data"] == [41]
    # 2.51 too lists the models in these states until the request is done
    assert shown == {"chain": "UNLOADING", "echo": "UNLOADING", "waiting": "READY"}


def test_a_refusal_by_a_model_on_the_event_loop_reaches_the_model_that_asked(tmp_path: Path) -> None:
    add(tmp_path, "stand_in", 'backend: "onnxruntime"' + TENSORS + "sequence_batching {}")
    add(tmp_path, "asks", PYTHON, ASKS_A_SEQUENCE_MODEL)
    with Emulator(tmp_path, allow_grpc=False) as triton:
        answer = httpx.post(f"{triton.url}/v2/models/asks/infer", json=ONE)
    assert "must specify a non-zero or non-empty correlation ID" in answer.json()["error"]


def test_a_request_that_finds_its_model_unloading_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "echo", PYTHON, ECHO)

    def nobody(response: InferResponse | None, final: bool) -> None:
        raise AssertionError("a refused request is not answered")

    async def submit() -> None:
        session = SessionState(Settings(model_repositories=(str(tmp_path),)), asyncio.get_running_loop())
        await asyncio.to_thread(session.start)
        exchange = Exchange(HTTP_INFER, session, "echo", "")
        exchange.find()
        await asyncio.to_thread(session.close)
        request = InferRequest("echo", inputs=[Tensor("IN", "INT32", [1], data=bytes(4))])
        with pytest.raises(TritonError, match="model: 'echo' version 1 is not at ready state"):
            exchange.submit(request, nobody)

    asyncio.run(submit())
