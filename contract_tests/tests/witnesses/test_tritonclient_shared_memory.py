"""NVIDIA's shared memory helpers with its HTTP clients: real regions for inputs and outputs, on both servers."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException, serialize_byte_tensor, shared_memory

from contract_tests.tests.witnesses.clients import connect, output, tensor
from contract_tests.tests.witnesses.conftest import MODELS
from triton_contract.targets import Target

ROW = 16  # the size in bytes of one INT32[1,4]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two models."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("http/two", "datatypes/id_bytes"):
        source = MODELS / name
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, server: Target) -> Iterator[Any]:
    made = connect(request.param, server)
    yield made
    made.unregister_system_shared_memory()
    made.close()


@pytest.fixture
def region(request: pytest.FixtureRequest) -> Iterator[Any]:
    """256 bytes under the key /witness_<worker>, removed after the test."""
    handle = shared_memory.create_shared_memory_region("witness", _key(request), 256, create_only=True)
    yield handle
    shared_memory.destroy_shared_memory_region(handle)


def _key(request: pytest.FixtureRequest) -> str:
    return f"/witness_{getattr(request.config, 'workerinput', {}).get('workerid', 'alone')}"


def lying_in(name: str, datatype: str, shape: list[int], size: int, offset: int) -> Any:
    made = tritonclient.http.InferInput(name, shape, datatype)
    made.set_shared_memory("witness", size, offset=offset)
    return made


def laid_in(name: str, size: int, offset: int) -> Any:
    made = output(name)
    made.set_shared_memory("witness", size, offset=offset)
    return made


def test_inputs_and_outputs_lie_in_shared_memory(
    client: Any, region: Any, request: pytest.FixtureRequest
) -> None:
    first, second = np.arange(4, dtype=np.int32), np.array([10, 20, 30, 40], dtype=np.int32)
    shared_memory.set_shared_memory_region(region, [first, second])
    client.register_system_shared_memory("witness", _key(request), 256)
    answer = client.infer(
        "two",
        [lying_in("INPUT0", "INT32", [1, 4], ROW, 0), lying_in("INPUT1", "INT32", [1, 4], ROW, ROW)],
        outputs=[laid_in("OUTPUT0", ROW, 2 * ROW), laid_in("OUTPUT1", ROW, 3 * ROW)],
    )
    added = shared_memory.get_contents_as_numpy(region, np.int32, [1, 4], offset=2 * ROW)
    taken = shared_memory.get_contents_as_numpy(region, np.int32, [1, 4], offset=3 * ROW)
    assert added.tolist() == [[10, 21, 32, 43]]
    assert taken.tolist() == [[-10, -19, -28, -37]]
    assert answer.get_response()["outputs"] == [
        {"name": name, "datatype": "INT32", "shape": [1, 4]} for name in ("OUTPUT0", "OUTPUT1")
    ]


def test_strings_lie_in_shared_memory(client: Any, region: Any, request: pytest.FixtureRequest) -> None:
    texts = np.array([b"one", b"", "drei ä".encode()], dtype=np.object_)
    size = 3 * 4 + 3 + 0 + 7
    shared_memory.set_shared_memory_region(region, [serialize_byte_tensor(texts)])
    client.register_system_shared_memory("witness", _key(request), 256)
    client.infer(
        "id_bytes",
        [lying_in("INPUT0", "BYTES", [3], size, 0)],
        outputs=[laid_in("OUTPUT0", 128, 128)],
    )
    back = shared_memory.get_contents_as_numpy(region, np.object_, [3], offset=128)
    assert back.tolist() == texts.tolist()


def test_one_input_in_shared_memory_and_one_in_the_request(
    client: Any, region: Any, request: pytest.FixtureRequest
) -> None:
    four = np.arange(4, dtype=np.int32)
    shared_memory.set_shared_memory_region(region, [four])
    client.register_system_shared_memory("witness", _key(request), 256)
    answer = client.infer(
        "two",
        [lying_in("INPUT0", "INT32", [1, 4], ROW, 0), tensor("INPUT1", "INT32", four.reshape(1, 4))],
        outputs=[output("OUTPUT0"), laid_in("OUTPUT1", ROW, 64)],
    )
    assert answer.as_numpy("OUTPUT0").tolist() == [[0, 2, 4, 6]]
    assert shared_memory.get_contents_as_numpy(region, np.int32, [4], offset=64).tolist() == [0, 0, 0, 0]


def test_a_region_is_shown_until_it_is_unregistered(
    client: Any, region: Any, request: pytest.FixtureRequest
) -> None:
    client.register_system_shared_memory("witness", _key(request), 200)
    shown = {"name": "witness", "key": _key(request), "offset": 0, "byte_size": 200}
    assert client.get_system_shared_memory_status() == [shown]
    assert client.get_system_shared_memory_status("witness") == [shown]
    client.unregister_system_shared_memory("witness")
    assert client.get_system_shared_memory_status() == []


def test_a_region_begins_where_a_page_begins(
    client: Any, region: Any, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(InferenceServerException, match="unable to process address spaceInvalid argument"):
        client.register_system_shared_memory("witness", _key(request), 200, offset=32)


def test_a_region_is_registered_once(client: Any, region: Any, request: pytest.FixtureRequest) -> None:
    client.register_system_shared_memory("witness", _key(request), 256)
    with pytest.raises(InferenceServerException, match="shared memory region 'witness' already in manager"):
        client.register_system_shared_memory("witness", _key(request), 256)


def test_a_key_that_is_not_there_is_refused(client: Any) -> None:
    with pytest.raises(
        InferenceServerException, match="Unable to open shared memory region: '/witness_nowhere'"
    ):
        client.register_system_shared_memory("nowhere", "/witness_nowhere", 64)


@pytest.mark.parametrize(
    "size, offset, message",
    [
        (ROW, 300, "Invalid offset for shared memory region: 'witness'"),
        (ROW, 250, "Invalid offset + byte size for shared memory region: 'witness'"),
        (8, 0, r"input byte size mismatch for input 'INPUT0' for model 'two'. Expected 16, got 8"),
    ],
)
def test_inputs_that_do_not_fit_their_region_are_refused(
    client: Any, region: Any, request: pytest.FixtureRequest, size: int, offset: int, message: str
) -> None:
    client.register_system_shared_memory("witness", _key(request), 256)
    inputs = [
        lying_in("INPUT0", "INT32", [1, 4], size, offset),
        lying_in("INPUT1", "INT32", [1, 4], ROW, 0),
    ]
    with pytest.raises(InferenceServerException) as refusal:
        client.infer("two", inputs)
    assert message in refusal.value.message()


def test_an_output_that_is_too_large_for_its_place_is_refused(
    client: Any, region: Any, request: pytest.FixtureRequest
) -> None:
    client.register_system_shared_memory("witness", _key(request), 256)
    four = np.zeros((1, 4), dtype=np.int32)
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(
            "two",
            [tensor("INPUT0", "INT32", four), tensor("INPUT1", "INT32", four)],
            outputs=[laid_in("OUTPUT0", 8, 0)],
        )
    assert refusal.value.message() == (
        "shared memory size specified with the request for output 'OUTPUT0' (8 bytes) should be at least 16 bytes "
        "to hold the results"
    )


def test_a_region_that_was_never_registered_is_refused(client: Any) -> None:
    four = np.zeros((1, 4), dtype=np.int32)
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'witness'"):
        client.infer(
            "two",
            [lying_in("INPUT0", "INT32", [1, 4], ROW, 0), tensor("INPUT1", "INT32", four)],
        )
