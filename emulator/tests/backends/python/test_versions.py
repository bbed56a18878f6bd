"""What `pb_utils` has in versions after 2.51, with instances in the server's process and in processes of their own.

Each test names the source that its expectation was read in.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.settings import TritonVersion

#: evaluates its input with `pb_utils` and `request`, and answers with what that gives, as text, where it is no response
EVALUATES = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]
    def answer(self, request):
        def response(**more):
            return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([b"x"], dtype=object))], **more)
        def inner(model, text, **more):
            tensor = pb_utils.Tensor("IN", np.array([text.encode()], dtype=object))
            request = pb_utils.InferenceRequest(model_name=model, inputs=[tensor], requested_output_names=["OUT"])
            return request.exec(**more)
        text = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0].decode()
        try:
            found = eval(text, {"pb_utils": pb_utils, "request": request, "response": response, "inner": inner})
        except (TypeError, AttributeError, pb_utils.TritonModelException) as error:
            found = f"{type(error).__name__}: {error}"
        if isinstance(found, pb_utils.InferenceResponse):
            return found
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([str(found).encode()], dtype=object))])
"""
#: sends "begun", and "cancelled" when its request is cancelled
LONG = """
import threading
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()
    def answer(self, request, sender):
        def send(text, flags=0):
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([text], dtype=object))]), flags)
        send(b"begun")
        while not request.is_cancelled():
            threading.Event().wait(0.005)
        send(b"cancelled", pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
#: asks `long`, cancels it after its first response, and answers with all that came
CANCELS = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        tensor = pb_utils.get_input_tensor_by_name(requests[0], "IN")
        asked = pb_utils.InferenceRequest(model_name="long", inputs=[tensor], requested_output_names=["OUT"])
        found = []
        responses = asked.exec(decoupled=True)
        for response in responses:
            found += [output.as_numpy()[0] for output in response.output_tensors()]
            responses.cancel()
        responses.cancel()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([b" ".join(found)], dtype=object))])]
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_STRING dims: [ 1 ] }]
output [{ name: "OUT" data_type: TYPE_STRING dims: [ 1 ] }]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, model in (("one", EVALUATES), ("two", EVALUATES), ("long", LONG), ("cancels", CANCELS)):
        (folder / name / "1").mkdir(parents=True)
        more = "model_transaction_policy { decoupled: true }" if name == "long" else ""
        (folder / name / "config.pbtxt").write_text(CONFIG + more)
        (folder / name / "1" / "model.py").write_text(model)
    return folder


@contextmanager
def serving(repository: Path, version: TritonVersion, *, processes: bool = False) -> Iterator[Emulator]:
    with Emulator(repository, triton_version=version, python_process_per_model=processes) as emulator:
        yield emulator


@pytest.fixture(scope="module", params=[False, True], ids=["threads", "processes"])
def newest(repository: Path, request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with serving(repository, "2.72.0", processes=request.param) as emulator:
        yield emulator


def infer(emulator: Emulator, text: str, model: str = "one") -> Any:
    body = {"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    return httpx.post(f"{emulator.http_url}/v2/models/{model}/infer", json=body, timeout=60).json()


def found(emulator: Emulator, text: str, model: str = "one") -> str:
    answer: str = infer(emulator, text, model)["outputs"][0]["data"][0]
    return answer


# --- parameters: python_backend r25.02, src/pb_stub.cc, src/infer_response.cc and src/request_executor.cc ---

PARAMETERS = "response(parameters={'text': 'a', 'number': -7, 'yes': True})"


def test_from_2_55_a_response_has_parameters_over_http(newest: Emulator) -> None:
    answer = infer(newest, PARAMETERS)
    assert answer["parameters"] == {"text": "a", "number": -7, "yes": True}
    assert "parameters" not in infer(newest, "response()")
    assert "parameters" not in infer(newest, "response(parameters={})")


def test_from_2_55_a_response_has_parameters_in_generate(newest: Emulator) -> None:
    body = {"IN": PARAMETERS}
    answer = httpx.post(f"{newest.http_url}/v2/models/one/generate", json=body, timeout=60)
    assert answer.json() == {
        "OUT": "x",
        "model_name": "one",
        "model_version": "1",
        "number": -7,
        "text": "a",
        "yes": True,
    }


def test_from_2_55_a_response_has_parameters_over_grpc(newest: Emulator) -> None:
    message = message_class("ModelInferRequest")(model_name="one")
    tensor = message.inputs.add(name="IN", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(PARAMETERS.encode())
    with grpc.insecure_channel(newest.grpc_url) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = message_class("ModelInferResponse").FromString(call(message.SerializeToString(), timeout=60))
    assert answer.parameters["text"].string_param == "a"
    assert answer.parameters["number"].int64_param == -7
    assert answer.parameters["yes"].bool_param is True


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("response(parameters={'a': 1}).parameters()", '{"a": 1}'),
        ("response().parameters()", "{}"),
        ("inner('two', \"response(parameters={'a': 'b', 'c': False})\").parameters()", '{"a":"b","c":false}'),
        ("inner('two', 'response()').parameters()", "{}"),
        (
            "response(parameters={1: 2})",
            "TritonModelException: Expect parameters keys to have type str, found type <class 'int'>",
        ),
        (
            "response(parameters={'a': 1.5})",
            "TritonModelException: Expect parameters values to have type bool/int/str, found type <class 'float'>",
        ),
        ("response(parameters=[])", "TritonModelException: Expect N8pybind114dictE, got <class 'list'>"),
        ("response(parameters=None, error=pb_utils.TritonError('e')).error().message()", "e"),
    ],
)
def test_from_2_55_a_model_gives_and_reads_parameters(newest: Emulator, text: str, wanted: str) -> None:
    assert found(newest, text) == wanted


def test_an_error_has_no_parameters(newest: Emulator) -> None:
    assert infer(newest, "response(parameters={'a': 1}, error=pb_utils.TritonError('no'))") == {"error": "no"}


def test_before_2_55_there_are_no_parameters(repository: Path) -> None:
    with serving(repository, "2.54.0") as emulator:
        assert found(emulator, "response(parameters={})").startswith(
            "TypeError: __init__(): incompatible constructor arguments."
        )
        assert found(emulator, "hasattr(pb_utils.InferenceResponse, 'parameters')") == "False"


# --- requests of a model: python_backend r25.04, src/request_executor.cc and src/pb_stub.cc ---

CODE = "inner('two', \"response(error=pb_utils.TritonError('no', pb_utils.TritonError.NOT_FOUND))\").error().code()"


def test_from_2_57_the_error_of_an_inner_request_keeps_its_code(newest: Emulator) -> None:
    assert found(newest, CODE) == "__ErrorCode.NOT_FOUND"
    assert found(newest, "inner('nope', '').error().code()") == "__ErrorCode.INTERNAL"


def test_before_2_57_the_error_of_an_inner_request_is_internal(repository: Path) -> None:
    with serving(repository, "2.56.0") as emulator:
        assert found(emulator, CODE) == "__ErrorCode.INTERNAL"


def test_from_2_57_a_model_cancels_its_request(newest: Emulator) -> None:
    assert found(newest, "", "cancels") == "begun cancelled"


def test_before_2_57_an_iterator_has_no_cancel(repository: Path) -> None:
    with serving(repository, "2.56.0") as emulator:
        assert "'c_python_backend_utils.ResponseIterator' object has no attribute 'cancel'" in infer(
            emulator, "", "cancels"
        ).get("error", "")


def test_the_classes_keep_their_names(newest: Emulator) -> None:
    names = found(newest, "[pb_utils.InferenceResponse.__name__, pb_utils.InferenceResponse.__module__]")
    assert json.loads(names.replace("'", '"')) == ["InferenceResponse", "c_python_backend_utils"]
