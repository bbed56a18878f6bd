"""Whether clients may register shared memory, by the version and by `--allow-client-shm`.

The answers of 2.68 are what its sources say: server r26.04, src/http_server.cc and src/grpc/grpc_server.cc.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.settings import TritonVersion

SERVICE = "/inference.GRPCInferenceService"
DISABLED = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(triton_version="2.68.0") as running:
        yield running


@pytest.fixture
def key() -> Iterator[str]:
    path = Path("/dev/shm") / f"emulator_test_{secrets.token_hex(6)}"  # noqa: S108
    path.write_bytes(bytes(64))
    yield path.name
    path.unlink()


def call(emulator: Emulator, method: str, data: bytes = b"") -> bytes:
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        answer: bytes = channel.unary_unary(f"{SERVICE}/{method}")(data, timeout=60)
        return answer


@pytest.mark.parametrize("kind", ["system", "cuda"])
@pytest.mark.parametrize(
    "path, body",
    [
        ("/region/r/register", b'{"key":"/nothing_of_this_name","byte_size":64}'),
        ("/region/r/register", b"no JSON"),
        ("/register", b""),
        ("/region/r/unregister", b""),
        ("/unregister", b""),
    ],
    ids=["register", "no JSON", "no name", "unregister", "unregister all"],
)
def test_from_2_68_http_refuses_before_it_reads_the_request(
    emulator: Emulator, kind: str, path: str, body: bytes
) -> None:
    answer = httpx.post(f"{emulator.http_url}/v2/{kind}sharedmemory{path}", content=body)
    assert (answer.status_code, answer.json()) == (501, {"error": DISABLED})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "method",
    [
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
    ],
)
def test_from_2_68_grpc_says_unimplemented(emulator: Emulator, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(emulator, method)
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, DISABLED)


def test_from_2_68_the_status_is_shown_all_the_same(emulator: Emulator) -> None:
    for kind in ("system", "cuda"):
        answer = httpx.get(f"{emulator.http_url}/v2/{kind}sharedmemory/status")
        assert (answer.status_code, answer.content) == (200, b"[]")
    assert call(emulator, "SystemSharedMemoryStatus") == b""


def test_from_2_68_a_request_finds_no_region(emulator: Emulator) -> None:
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2], "parameters": parameters}]}
    answer = httpx.post(f"{emulator.http_url}/v2/models/identity_fp32/infer", json=body)
    assert (answer.status_code, answer.json()) == (404, {"error": "Unable to find shared memory region: 'r'"})


@pytest.mark.parametrize(
    "version, allowed, status",
    [
        ("2.67.0", None, 200),
        ("2.67.0", False, 501),
        ("2.68.0", None, 501),
        ("2.68.0", True, 200),
        ("2.72.0", True, 200),
    ],
)
def test_the_setting_decides_where_it_is_given(
    key: str, version: TritonVersion, allowed: bool | None, status: int
) -> None:
    with Emulator(triton_version=version, allow_client_shm=allowed, allow_grpc=False) as emulator:
        answer = httpx.post(
            f"{emulator.http_url}/v2/systemsharedmemory/region/r/register", json={"key": key, "byte_size": 64}
        )
        assert answer.status_code == status


def test_a_session_may_allow_what_the_others_may_not(emulator: Emulator, key: str) -> None:
    with emulator.session(allow_client_shm=True) as session:
        message = message_class("SystemSharedMemoryRegisterRequest")(name="r", key=key, byte_size=64)
        with grpc.insecure_channel(session.grpc_url) as channel:
            register = channel.unary_unary(f"{SERVICE}/SystemSharedMemoryRegister")
            assert register(message.SerializeToString(), timeout=60) == b""
