"""Strings of a config that are not UTF-8, as 2.51.0 sends them over HTTP and gRPC: the bytes are those that it sent."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from triton_emulator import Emulator

TENSORS = b"""
backend: "python"
input { name: "X" data_type: TYPE_INT32 dims: 1 }
output { name: "Y" data_type: TYPE_STRING dims: 1 }
"""
#: answers with the names of its inputs and the values that it has seen; asks for the names in line 14
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    seen = []

    def execute(self, requests):
        answers = []
        for request in requests:
            names = []
            for tensor in request.inputs():
                names.append(tensor.name())
            self.seen.append(int(request.inputs()[0].as_numpy()[0]))
            answer = np.array([f"{names} {self.seen}"], dtype=object)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", answer)]))
        return answers
"""
WARM_UP = b'model_warmup { name: "%s" batch_size: %d inputs { key: "X" value { data_type: TYPE_INT32 dims: 1 %s } } }'
STATE = (
    b'sequence_batching { state { input_name: "%s" output_name: "T" data_type: TYPE_INT32 dims: 1 '
    b'initial_state { %s data_type: TYPE_INT32 dims: 1 data_file: "f\xff" } } }'
)
#: what a config has beside its tensors, by the model's name
CONFIGS = {
    "control": (
        b'sequence_batching { control_input { name: "C\xff" '
        b"control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } } }"
    ),
    "environment": b'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/env\xff.tar.gz" } }',
    "file": b'default_model_filename: "m\xff.py"',
    "group": b'instance_group { name: "g\xff" }',
    "platform": b'platform: "p\xff"',
    "state": STATE % (b"S\xff", b'name: "i"'),
    "state_misfit": STATE % (b"S\xff", b""),
    "state_missing": STATE % (b"S", b'name: "i"'),
    "tags": b'metric_tags { key: "t" value: "u\xff" }',
    "warm": WARM_UP % (b"w\xff", 1, b'input_data_file: "f\xff"'),
    "warm_big": WARM_UP % (b"w\xff", 2, b"zero_data: true"),
    "warm_missing": WARM_UP % (b"w", 1, b'input_data_file: "f\xff"'),
}
REASONS = {
    "file": b"Internal: Python model file not found in '{}/file/1/m.py'",  # 2.51 waits for ever
    "group": b"Internal: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 1: invalid start byte",
    "state_misfit": (
        b"Invalid argument: Field 'name' must be set when using initial_state for state input 'S\xff'."
    ),
    "state_missing": (
        b"Internal: failed to open text file for read {}/state_missing/initial_state/f\xff: "
        b"No such file or directory"
    ),
    "warm_big": (
        b"Invalid argument: failed to run warmup sample 'w\xff': "
        b"batch size 2 for 'warm_big_0', max allowed is 0; batch size 2 for 'warm_big_0', max allowed is 0; "
    ),
    "warm_missing": (
        b"Internal: failed to open text file for read {}/warm_missing/warmup/f\xff: No such file or directory"
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Path]]:
    repository = tmp_path_factory.mktemp("repository")
    for name, config in CONFIGS.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_bytes(TENSORS + config)
        (repository / name / "1" / "model.py").write_text(MODEL)
    for folder in ("warm/warmup", "state/initial_state"):
        (repository / folder).mkdir()
        (repository / folder / b"f\xff".decode("utf-8", "surrogateescape")).write_bytes(b"\x07\x00\x00\x00")
    with Emulator(repository, exit_on_error=False) as triton:
        yield triton, repository


def infer(triton: Emulator, model: str, **parameters: object) -> httpx.Response:
    tensor = {"name": "X", "datatype": "INT32", "shape": [1], "data": [1]}
    url = f"{triton.http_url}/v2/models/{model}/infer"
    return httpx.post(url, json={"inputs": [tensor], "parameters": parameters})


def call(triton: Emulator, method: str, request: bytes) -> bytes:
    with grpc.insecure_channel(triton.grpc_url) as channel:
        answer: bytes = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(request, timeout=20)
        return answer


def ask(triton: Emulator, method: str, model: str) -> bytes:
    return call(triton, method, b"\x0a" + bytes([len(model)]) + model.encode())


@pytest.mark.parametrize("model", REASONS)
def test_a_reason_has_the_bytes_of_the_config(served: tuple[Emulator, Path], model: str) -> None:
    triton, repository = served
    reason = REASONS[model].replace(b"{}", str(repository).encode())
    row = b'{"name":"%s","version":"1","state":"UNAVAILABLE","reason":"%s"}' % (model.encode(), reason)
    assert row in httpx.post(f"{triton.http_url}/v2/repository/index").content
    assert reason in call(triton, "RepositoryIndex", b"")


@pytest.mark.parametrize(
    "model, shown",
    [
        ("control", b"j\x0f\x08\xc0\x84=\x12\t\n\x01C\x12\x04\x12\x02\x00\x01\x8a\x01\x06python"),
        ("platform", b"\n\x08platform\x12\x01p\x1a\x04\n\x02\x08\x01"),
        (
            "state",
            b'j\x1e\x08\xc0\x84=*\x18\n\x01S\x12\x01T\x18\x08"\x01\x01*\x0b\x08\x08\x12\x01\x01"\x01f*\x01i\x8a\x01\x06python',
        ),
        ("tags", b"B\x08model.pyR\x06\n\x01t\x12\x01ub\x08*\x02\x08\x01"),
        (
            "warm",
            b"\x82\x01\x14\n\x01w\x10\x01\x1a\r\n\x01X\x12\x08\x08\x08\x12\x01\x01*\x01f\x8a\x01\x06python",
        ),
    ],
)
def test_a_config_over_grpc_leaves_the_bytes_out_as_the_one_over_http_does(
    served: tuple[Emulator, Path], model: str, shown: bytes
) -> None:
    assert shown in ask(served[0], "ModelConfig", model)


def test_metadata_have_the_bytes(served: tuple[Emulator, Path]) -> None:
    over_http = httpx.get(f"{served[0].http_url}/v2/models/platform").content
    assert over_http.startswith(b'{"name":"platform","versions":["1"],"platform":"p\xff",')
    assert ask(served[0], "ModelMetadata", "platform").startswith(
        b'\n\x08platform\x12\x011\x1a\x02p\xff"\r\n\x01X'
    )


def test_metrics_have_the_bytes_of_a_tag(served: tuple[Emulator, Path]) -> None:
    line = b'nv_inference_request_success{_t="u\xff",model="tags",version="1"} 0'
    assert line in httpx.get(served[0].metrics_url).content.splitlines()


def test_a_warm_up_reads_the_file_of_that_name(served: tuple[Emulator, Path]) -> None:
    assert infer(served[0], "warm").json()["outputs"][0]["data"] == ["['X'] [7, 1]"]


@pytest.mark.parametrize("model", ["control", "state"])
def test_a_tensor_whose_name_is_no_text_cannot_tell_it(served: tuple[Emulator, Path], model: str) -> None:
    answer = infer(served[0], model, sequence_id=1, sequence_start=True)
    assert answer.status_code == 500
    assert answer.json()["error"] == (
        f"Failed to process the request(s) for model '{model}_0', message: UnicodeDecodeError: 'utf-8' codec can't "
        f"decode byte 0xff in position 1: invalid start byte\n\nAt:\n"
        f"  {served[1]}/{model}/1/model.py(14): execute\n"
    )


def test_a_backend_gets_parameters_without_the_bytes(
    served: tuple[Emulator, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with served[0].session(served[1], model_control_mode="explicit", load_models=("environment",)):
        [warning] = [line for line in caplog.messages if line.startswith("EXECUTION_ENV_PATH")]
    assert warning.startswith("EXECUTION_ENV_PATH '/env.tar.gz' of model 'environment' is not used")


def test_a_load_that_fails_over_grpc_has_a_text_all_the_same(served: tuple[Emulator, Path]) -> None:
    """2.51 sends the byte itself in the status. grpc.aio cannot, so another character stands for it."""
    with (
        served[0].session(served[1], model_control_mode="explicit") as session,
        grpc.insecure_channel(session.grpc_url) as channel,
    ):
        load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        with pytest.raises(grpc.RpcError) as refused:
            load(b"\x12\x0cwarm_missing", timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "/warmup/f\ufffd: No such file or directory" in refused.value.details()
