"""A Python model's `is_ready`: python_backend r26.03, src/pb_stub.cc and src/python_be.cc; core r26.04, src/server.cc.

Each test runs with instances in the server's process and in processes of their own, where that may matter.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.backends.python import readiness
from triton_emulator.backends.python.readiness import Readiness
from triton_emulator.frontends.grpc.messages import health_class, message_class
from triton_emulator.settings import TritonVersion

CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_INT32 dims: 1 }
output { name: "OUT" data_type: TYPE_STRING dims: 1 }
"""
#: its `is_ready` evaluates what stands in the file `says` beside it
SAYS = """
import asyncio
import sys
import time
from pathlib import Path
import numpy as np
SAYS = Path(__file__).with_name("says")
async def later(value):
    await asyncio.sleep(0)
    return value
def wait():
    SAYS.with_name("asked").touch()
    while not SAYS.with_name("answer").exists():
        time.sleep(0.001)
    return True
class TritonPythonModel:
    def execute(self, requests):
        raise RuntimeError("not asked to")
    def is_ready(self):
        return eval(SAYS.read_text())
"""
#: asks about `says`, and sends it a request
ASKS = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        ready = pb_utils.is_model_ready("says")
        tensor = pb_utils.get_input_tensor_by_name(requests[0], "IN")
        inner = pb_utils.InferenceRequest(model_name="says", inputs=[tensor], requested_output_names=["OUT"])
        text = f"{ready}: {inner.exec().error().message()}"
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([text.encode()], np.object_))])]
"""
#: gets an `is_ready` after `initialize`
LATE = """
class TritonPythonModel:
    def execute(self, requests):
        type(self).is_ready = lambda self: False
        raise RuntimeError("it is set")
"""


def write(repository: Path, name: str, model: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG)
    (repository / name / "1" / "model.py").write_text(model)


@contextmanager
def serving(
    repository: Path, version: TritonVersion, says: str, *, processes: bool = False, strict: bool = True
) -> Iterator[tuple[Emulator, Callable[[str], int]]]:
    """A server with the models `says` and `asks`, and what gets the status of a path below `/v2`."""
    write(repository, "says", SAYS)
    write(repository, "asks", ASKS)
    (repository / "says" / "1" / "says").write_text(says)
    with Emulator(
        repository, triton_version=version, python_process_per_model=processes, strict_readiness=strict
    ) as emulator:
        yield emulator, lambda path: httpx.get(f"{emulator.http_url}/v2/{path}").status_code


processes = pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])


@processes
@pytest.mark.parametrize(
    ("says", "status"),
    [
        ("True", 200),
        ("False", 400),
        ("1", 400),
        ("None", 400),
        ("np.True_", 400),
        ("1 / 0", 400),
        ("sys.exit(0)", 400),
        ("later(True)", 200),
        ("later(False)", 400),
        ("later(1)", 400),
    ],
)
def test_a_model_is_ready_if_it_says_true(tmp_path: Path, says: str, status: int, processes: bool) -> None:
    with serving(tmp_path, "2.67.0", says, processes=processes) as (_, get):
        assert get("models/says/ready") == status
        assert get("models/says/versions/1/ready") == status
        (tmp_path / "says" / "1" / "says").write_text("True")
        assert get("models/says/ready") == 200


def test_until_2_66_no_model_is_asked(tmp_path: Path) -> None:
    with serving(tmp_path, "2.66.0", "False") as (_, get):
        assert get("models/says/ready") == 200


@processes
def test_a_function_that_is_gone_is_not_missed_and_one_that_comes_late_is_not_asked(
    tmp_path: Path, processes: bool
) -> None:
    write(tmp_path, "late", LATE)
    with serving(tmp_path, "2.67.0", "delattr(TritonPythonModel, 'is_ready')", processes=processes) as (
        emulator,
        get,
    ):
        assert get("models/says/ready") == 400  # it returned None
        assert get("models/says/ready") == 200
        body = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}
        assert "set" in httpx.post(f"{emulator.http_url}/v2/models/late/infer", json=body).text
        assert get("models/late/ready") == 200


@processes
def test_all_that_asks_whether_the_model_is_ready_asks_it(tmp_path: Path, processes: bool) -> None:
    with serving(tmp_path, "2.67.0", "False", processes=processes) as (emulator, get):
        assert get("models/says/trace/setting") == 400
        body = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}
        answer = httpx.post(f"{emulator.http_url}/v2/models/asks/infer", json=body).json()
        running = "Model says - Error when running inference: "
        not_ready = "Failed for execute the inference request. Model 'says' is not ready."
        assert answer["outputs"][0]["data"] == [f"False: {running}{not_ready}"]
        with grpc.insecure_channel(emulator.grpc_url) as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            reply = ask(message_class("ModelReadyRequest")(name="says").SerializeToString())
        assert message_class("ModelReadyResponse").FromString(reply).ready is False


@pytest.mark.parametrize(
    ("version", "strict", "ready"),
    [("2.67.0", True, True), ("2.68.0", True, False), ("2.68.0", False, True)],
)
def test_from_2_68_a_strict_server_is_as_ready_as_its_models(
    tmp_path: Path, version: TritonVersion, strict: bool, ready: bool
) -> None:
    with serving(tmp_path, version, "False", strict=strict) as (emulator, get):
        assert get("health/ready") == (200 if ready else 400)
        with grpc.insecure_channel(emulator.grpc_url) as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            reply = ask(message_class("ServerReadyRequest")().SerializeToString())
            assert message_class("ServerReadyResponse").FromString(reply).ready is ready
            reply = channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
            status = health_class("HealthCheckResponse").FromString(reply).status
        assert status == (1 if ready else 2)


@processes
def test_a_server_goes_on_while_a_model_is_asked(tmp_path: Path, processes: bool) -> None:
    with (
        serving(tmp_path, "2.67.0", "wait()", processes=processes) as (_, get),
        ThreadPoolExecutor() as pool,
    ):
        asked = pool.submit(get, "models/says/ready")
        while not (tmp_path / "says" / "1" / "asked").exists():
            pass
        assert get("health/live") == 200
        (tmp_path / "says" / "1" / "answer").touch()
        assert asked.result() == 200


def test_a_model_that_takes_too_long_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_LIMIT_SECONDS", 0.01)
    goes_on, asked = threading.Event(), list[int]()

    def ask() -> bool:
        asked.append(1)
        return goes_on.wait()

    model = Readiness("m_0", ask)
    assert model.answer() is False
    assert model.answer() is False
    assert len(asked) == 1  # the second one waited for the first one's answer
    monkeypatch.setattr(readiness, "_LIMIT_SECONDS", 60)
    with ThreadPoolExecutor() as pool:
        third = pool.submit(model.answer)
        goes_on.set()
        assert third.result() is True


@pytest.mark.parametrize("fault", [ValueError("no"), SystemExit(0)])
def test_what_a_model_raises_makes_it_not_ready(fault: BaseException) -> None:
    def ask() -> bool:
        raise fault

    assert Readiness("m_0", ask).answer() is False
