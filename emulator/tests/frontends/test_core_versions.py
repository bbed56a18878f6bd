"""What cores after 2.51 answer, over HTTP and gRPC. Each test names the source that its expectation was read in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.settings import TritonVersion

SERVICE = "/inference.GRPCInferenceService"
ASKS = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        try:
            text = str(pb_utils.is_model_ready(model_name="nope"))
        except pb_utils.TritonModelException as error:
            text = str(error)
        tensor = pb_utils.get_input_tensor_by_name(requests[0], "IN")
        inner = pb_utils.InferenceRequest(model_name="nope", inputs=[tensor], requested_output_names=["O"])
        return [pb_utils.InferenceResponse([], pb_utils.TritonError(text + "; " + inner.exec().error().message()))]
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }]
"""


@contextmanager
def serving(repository: Path, version: TritonVersion) -> Iterator[Emulator]:
    with Emulator(
        repository, triton_version=version, model_control_mode="explicit", load_models=("asks",)
    ) as served:
        yield served


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("asks", "a..b"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(CONFIG)
        (tmp_path / name / "1" / "model.py").write_text(ASKS)
    return tmp_path


def call(emulator: Emulator, method: str, request: str, **fields: str) -> tuple[grpc.StatusCode, str]:
    message = message_class(request)(**fields)
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        answer = channel.unary_unary(f"{SERVICE}/{method}").future(message.SerializeToString(), timeout=60)
        return answer.code(), answer.details()


# --- readiness: core 73aad7c (after r26.06), src/tritonserver.cc and src/server.cc ---

NO_MODEL = "Request for unknown model: 'nope' is not found"
REQUEST_FAILED = "Failed to process the request for model 'asks_0', message: "
NO_VERSION = "Request for unknown model: 'asks' version 7 is not found"


def test_before_2_71_an_unknown_model_is_not_ready(repository: Path) -> None:
    with serving(repository, "2.70.0") as emulator:
        for path in ("nope", "asks/versions/7"):
            answer = httpx.get(f"{emulator.http_url}/v2/models/{path}/ready")
            assert (answer.status_code, answer.text) == (400, '{"error":"Model version not ready"}')
        assert call(emulator, "ModelReady", "ModelReadyRequest", name="nope")[0] is grpc.StatusCode.OK


def test_from_2_71_readiness_says_that_there_is_no_such_model(repository: Path) -> None:
    with serving(repository, "2.71.0") as emulator:
        for path, text in (("nope", NO_MODEL), ("asks/versions/7", NO_VERSION)):
            answer = httpx.get(f"{emulator.http_url}/v2/models/{path}/ready")
            assert (answer.status_code, answer.json()) == (404, {"error": text})
        assert call(emulator, "ModelReady", "ModelReadyRequest", name="nope") == (
            grpc.StatusCode.NOT_FOUND,
            NO_MODEL,
        )
        assert httpx.get(f"{emulator.http_url}/v2/models/asks/ready").status_code == 200
        answer = httpx.get(f"{emulator.http_url}/v2/models/nope/trace/setting")
        assert (answer.status_code, answer.json()) == (404, {"error": NO_MODEL})


def test_from_2_71_a_model_that_asks_for_an_unknown_one_gets_the_same_error(repository: Path) -> None:
    body = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}
    found = []
    for version in ("2.70.0", "2.71.0"):
        with serving(repository, version) as emulator:
            answer = httpx.post(f"{emulator.http_url}/v2/models/asks/infer", json=body)
            found.append(answer.json()["error"])
    running = "Model nope - Error when running inference: "
    assert found == [
        f"False; {running}Failed for execute the inference request. Model 'nope' is not ready.",
        f"Failed to check model readiness: {REQUEST_FAILED}{NO_MODEL}; {running}{NO_MODEL}",
    ]


# --- models that have ended: core r25.12 and r26.04, src/server.cc; python_backend r25.12, src/python_be.cc ---

ENDS = """
import os
class TritonPythonModel:
    def execute(self, requests):
        os._exit(1)
"""


@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
@pytest.mark.parametrize(
    "version, model, server",
    [("2.63.0", 200, 200), ("2.64.0", 400, 200), ("2.67.0", 400, 200), ("2.68.0", 400, 400)],
)
def test_from_2_64_a_model_whose_process_has_ended_is_not_ready_and_from_2_68_the_server(
    tmp_path: Path, version: TritonVersion, model: int, server: int, processes: bool
) -> None:
    (tmp_path / "ends" / "1").mkdir(parents=True)
    (tmp_path / "ends" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "ends" / "1" / "model.py").write_text(ENDS)
    body = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}
    with Emulator(tmp_path, triton_version=version, python_process_per_model=processes) as emulator:
        urls = [f"{emulator.http_url}/v2/{path}/ready" for path in ("models/ends", "health")]
        assert [httpx.get(url).status_code for url in urls] == [200, 200]
        assert httpx.post(f"{emulator.http_url}/v2/models/ends/infer", json=body).status_code == 500
        assert [httpx.get(url).status_code for url in urls] == [model, server]


# --- the order of responses: core r25.09, src/dynamic_batch_scheduler.cc ---

#: a request with a 1 makes the file "begun" and waits for the file "go"; others make the file "answered"
ONE_WAITS = """
import pathlib
import threading
import triton_python_backend_utils as pb_utils
FOLDER = pathlib.Path(__file__).parent
class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN") for request in requests]
        if any(tensor.as_numpy()[0] == 1 for tensor in tensors):
            (FOLDER / "begun").touch()
            while not (FOLDER / "go").exists():
                threading.Event().wait(0.005)
        else:
            (FOLDER / "answered").touch()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", each.as_numpy())]) for each in tensors]
"""
ORDERED = "dynamic_batching { preserve_ordering: true } max_batch_size: 1 instance_group [{ count: 2 kind: KIND_CPU }]"


@pytest.mark.parametrize("version, overtakes", [("2.60.0", False), ("2.61.0", True)])
def test_from_2_61_a_response_overtakes_in_spite_of_preserve_ordering(
    tmp_path: Path, version: TritonVersion, overtakes: bool
) -> None:
    folder = tmp_path / "ordered" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "ordered" / "config.pbtxt").write_text(CONFIG + ORDERED)
    (folder / "model.py").write_text(ONE_WAITS)
    with Emulator(tmp_path, triton_version=version) as emulator, ThreadPoolExecutor() as pool:

        def ask(value: int) -> int:
            tensor = {"name": "IN", "datatype": "INT32", "shape": [1, 1], "data": [value]}
            url = f"{emulator.http_url}/v2/models/ordered/infer"
            answer = httpx.post(url, json={"inputs": [tensor]}, timeout=60).json()
            return int(answer["outputs"][0]["data"][0])

        first = pool.submit(ask, 1)
        while not (folder / "begun").exists():
            assert not first.done()
        second = pool.submit(ask, 2)
        if overtakes:
            assert second.result() == 2
        else:
            while not (folder / "answered").exists():
                assert not second.done()
            assert not second.done()
        (folder / "go").touch()
        assert (first.result(), second.result()) == (1, 2)


# --- names: core r26.03 and r26.04, src/model_repository_manager/model_repository_manager.cc ---

TRAVERSAL = "invalid model name '{}', model name must not contain path traversal characters"
EMPTY = "Model name cannot be empty. Please enter a valid name to deploy."


def poll_failed(name: str) -> str:
    return f"failed to load '{name}', failed to poll from model repository"


@pytest.mark.parametrize(
    "name, in_2_66, in_2_67, in_2_68",
    [
        ("", poll_failed(""), "model name must not be empty", EMPTY),
        (" \t", poll_failed(" \t"), "model name must not contain only whitespace characters", EMPTY),
        ("a/b", TRAVERSAL.format("a/b"), TRAVERSAL.format("a/b"), TRAVERSAL.format("a/b")),
        ("..", TRAVERSAL.format(".."), TRAVERSAL.format(".."), TRAVERSAL.format("..")),
        (" .. ", TRAVERSAL.format(" .. "), TRAVERSAL.format(" .. "), TRAVERSAL.format(" .. ")),
        ("a..b", TRAVERSAL.format("a..b"), TRAVERSAL.format("a..b"), ""),
        ("x", poll_failed("x"), poll_failed("x"), poll_failed("x")),
    ],
)
def test_a_name_that_no_model_may_have_is_refused_to_a_load(
    repository: Path, name: str, in_2_66: str, in_2_67: str, in_2_68: str
) -> None:
    versions: tuple[TritonVersion, ...] = ("2.66.0", "2.67.0", "2.68.0")
    for version, text in zip(versions, (in_2_66, in_2_67, in_2_68), strict=True):
        with serving(repository, version) as emulator:
            _, details = call(emulator, "RepositoryModelLoad", "RepositoryModelLoadRequest", model_name=name)
            assert details == text
