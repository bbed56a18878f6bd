"""Inputs that name gigabytes: they are checked before anything is copied, and never hold up other requests."""

import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class

SIZE = 8 << 30
CONFIG = """
backend: "onnxruntime"
max_batch_size: 0
input { name: "IN" data_type: TYPE_%s dims: [-1] }
output { name: "OUT" data_type: TYPE_FP32 dims: [1] }
"""
CASES = {
    "a shape of less than the region": (
        "numbers",
        "FP32",
        [1],
        SIZE,
        "input byte size mismatch for input 'IN' for model 'numbers'. Expected 4, got 8589934592",
    ),
    "more than the emulator copies": (
        "numbers",
        "FP32",
        [SIZE // 4],
        SIZE,
        "shared memory inputs of 8589934592 bytes would be in flight; the emulator takes 2147483648 bytes",
    ),
    "more strings than the shape has": (
        "strings",
        "BYTES",
        [1],
        SIZE,
        "unexpected number of string elements 2 for inference input 'IN' for model 'strings', expecting 1",
    ),
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A server with a sparse region of 8 GB."""
    models = tmp_path_factory.mktemp("models")
    for name, datatype in (("numbers", "FP32"), ("strings", "STRING")):
        (models / name / "1").mkdir(parents=True)
        (models / name / "config.pbtxt").write_text(CONFIG % datatype)
    path = Path("/dev/shm") / f"emulator_test_{secrets.token_hex(6)}"  # noqa: S108
    path.touch()
    os.truncate(path, SIZE)
    try:
        with Emulator(models) as triton:
            region = f"{triton.http_url}/v2/systemsharedmemory/region/huge/register"
            body = {"key": path.name, "offset": 0, "byte_size": SIZE}
            assert httpx.post(region, json=body).status_code == 200
            yield triton
    finally:
        path.unlink()


@pytest.mark.parametrize(("model", "datatype", "shape", "size", "text"), CASES.values(), ids=CASES.keys())
def test_an_input_in_shared_memory_is_checked_before_it_is_copied(
    emulator: Emulator, model: str, datatype: str, shape: list[int], size: int, text: str
) -> None:
    where = {"shared_memory_region": "huge", "shared_memory_byte_size": size}
    given = {"name": "IN", "datatype": datatype, "shape": shape, "parameters": where}
    answer = httpx.post(f"{emulator.http_url}/v2/models/{model}/infer", json={"inputs": [given]}, timeout=60)
    assert answer.json()["error"].removeprefix("[request id: <id_unknown>] ") == text

    request = message_class("ModelInferRequest")(model_name=model)
    tensor = request.inputs.add(name="IN", datatype=datatype, shape=shape)
    tensor.parameters.add(key="shared_memory_region").value.string_param = "huge"
    tensor.parameters.add(key="shared_memory_byte_size").value.int64_param = size
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(request.SerializeToString(), timeout=60)
    details: str = refused.value.details()
    assert details.removeprefix("[request id: <id_unknown>] ") == text


def test_a_compressed_body_of_gigabytes_is_refused(emulator: Emulator) -> None:
    packer = zlib.compressobj(9)
    mebibyte = bytes(1 << 20)
    body = b"".join([*(packer.compress(mebibyte) for _ in range(1025)), packer.flush()])
    answer = httpx.post(
        f"{emulator.http_url}/v2/models/numbers/infer",
        content=body,
        headers={"Content-Encoding": "deflate"},
        timeout=60,
    )
    text = (
        "request size exceeds the maximum allowed input size of 1073741824 bytes. "
        "Use --http-max-input-size to increase the limit."
    )
    assert (len(body) < 2_000_000, answer.status_code, answer.json()) == (True, 400, {"error": text})
