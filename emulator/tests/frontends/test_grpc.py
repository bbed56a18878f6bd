"""gRPC where the real server cannot be compared: sessions, other clients in the process, the channel."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from triton_emulator.emulator import Emulator
from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.server import PortInUse

CERTIFICATES = Path(__file__).parent / "certificates"
SERVICE = "/inference.GRPCInferenceService"
MODEL = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN") for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", each.as_numpy())]) for each in tensors]
"""
WAITING_MODEL = """
import pathlib
import threading
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        folder = pathlib.Path(__file__).parent
        folder.joinpath("started").write_text("")
        while not requests[0].is_cancelled():
            threading.Event().wait(0.005)
        folder.joinpath("cancelled").write_text("")
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
CONFIG = """
backend: "python"
input [{name: "IN" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "OUT" data_type: TYPE_FP32 dims: [-1]}]
"""


def add_model(repository: Path, name: str, model: str = MODEL) -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(model)
    return version


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    add_model(folder, "same")
    return folder


@pytest.fixture(scope="module")
def emulator(repository: Path) -> Iterator[Emulator]:
    with Emulator(repository) as running:
        yield running


def infer_request(model: str = "same", values: tuple[float, ...] = (1.5,)) -> bytes:
    message = message_class("ModelInferRequest")(model_name=model)
    message.inputs.add(name="IN", datatype="FP32", shape=[len(values)])
    message.raw_input_contents.append(np.array(values, dtype=np.float32).tobytes())
    data: bytes = message.SerializeToString()
    return data


def call(
    channel: grpc.Channel, method: str, request: bytes = b"", metadata: Any = None, timeout: float = 10
) -> Any:
    answer = channel.unary_unary(f"{SERVICE}/{method}")(request, metadata=metadata, timeout=timeout)
    return message_class(f"{method}Response").FromString(answer)


@contextmanager
def channel_to(target: str, **options: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target, **options) as channel:
        yield channel


# --- the process around it -----------------------------------------------------------------------------------------

USER_PROGRAM = """
import sys
{imports}
import numpy
with Emulator({repository!r}) as emulator:
    with tritonclient.grpc.InferenceServerClient(emulator.grpc_url) as client:
        given = tritonclient.grpc.InferInput("IN", [2], "FP32")
        given.set_data_from_numpy(numpy.array([1, 2], dtype=numpy.float32))
        print(client.infer("same", [given]).as_numpy("OUT").tolist())
        print(client.get_model_config("same").config.name)
"""
IMPORTS = ["import tritonclient.grpc", "from triton_emulator.emulator import Emulator"]


@pytest.mark.parametrize("imports", [IMPORTS, IMPORTS[::-1]], ids=["the client first", "the emulator first"])
def test_a_program_can_use_its_own_tritonclient_with_the_emulator(
    repository: Path, imports: list[str]
) -> None:
    program = USER_PROGRAM.format(imports="\n".join(imports), repository=str(repository))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        # grpcio tells now and then that the server has ended its connection
        env=os.environ | {"GRPC_VERBOSITY": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[1.0, 2.0]\nsame\n", "")


WITHOUT_GRPCIO = """
import sys
sys.modules["grpc"] = None
from triton_emulator.emulator import Emulator
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
with Emulator({repository!r}) as emulator:
    print(emulator.url.startswith("http://"))
    try:
        emulator.grpc_url
    except RuntimeError as error:
        print(error)
"""


def test_without_grpcio_it_serves_http_and_says_once_how_to_get_grpc(repository: Path) -> None:
    program = WITHOUT_GRPCIO.format(repository=str(repository))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    advice = "gRPC is not served, as grpcio is not installed: pip install 'triton-emulator[grpc]'"
    assert done.stdout == f"True\n{advice}\n"
    assert done.stderr == (
        "WARNING gRPC is not served, as grpcio is not installed: pip install 'triton-emulator[grpc]', "
        "or say --allow-grpc=false\n"
    )


def test_nothing_of_grpc_is_imported_where_it_is_turned_off(repository: Path) -> None:
    program = (
        "import sys\nfrom triton_emulator.emulator import Emulator\n"
        f"with Emulator({str(repository)!r}, allow_grpc=False):\n    print('grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_port_that_is_taken_is_named_with_its_flag(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = (
            f"failed to start GRPC service: Unavailable - Socket '127.0.0.1:{port}' already in use; "
            "choose another with --grpc-port"
        )
        with pytest.raises(PortInUse, match=re.escape(text)), Emulator(repository, grpc_port=port):
            pass


def test_several_emulators_and_an_asyncio_client_share_a_process(repository: Path) -> None:
    async def ask(target: str) -> list[bytes]:
        async with grpc.aio.insecure_channel(target) as channel:
            infer = channel.unary_unary(f"{SERVICE}/ModelInfer")
            return [await infer(infer_request()) for _ in range(50)]

    async def ask_all(*targets: str) -> list[list[bytes]]:
        return await asyncio.gather(*(ask(target) for target in targets))

    with Emulator(repository) as one, Emulator(repository) as other:
        answers = asyncio.run(ask_all(one.grpc_url, other.grpc_url, one.grpc_url))
    [answer] = {each for listed in answers for each in listed}
    assert message_class("ModelInferResponse").FromString(answer).model_name == "same"


# --- sessions ------------------------------------------------------------------------------------------------------


def test_a_session_is_named_in_the_metadata(emulator: Emulator) -> None:
    def count(metadata: Any = None) -> int:
        return int(call(channel, "ModelStatistics", metadata=metadata).model_stats[0].inference_count)

    with channel_to(emulator.grpc_url) as channel, emulator.session() as session:
        here = tuple(session.grpc_headers.items())
        before = count()
        call(channel, "ModelInfer", infer_request(), metadata=here)
        assert (count(here), count()) == (1, before)


def test_an_unknown_session_is_not_found(emulator: Emulator) -> None:
    with channel_to(emulator.grpc_url) as channel, emulator.session(), pytest.raises(grpc.RpcError) as raised:
        call(channel, "ServerLive", metadata=(("triton-session", "nope"),))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == "session 'nope' is not found"


# --- cancellation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect"])
def test_a_model_learns_at_once_that_its_client_has_gone(tmp_path: Path, how: str) -> None:
    version = add_model(tmp_path, "waits", WAITING_MODEL)
    with Emulator(tmp_path) as emulator, grpc.insecure_channel(emulator.grpc_url) as channel:
        timeout = 10 if how == "deadline" else 60
        pending = channel.unary_unary(f"{SERVICE}/ModelInfer").future(infer_request("waits"), timeout=timeout)
        _wait_for(version / "started")
        if how == "cancel":
            pending.cancel()
        elif how == "disconnect":
            channel.close()
        _wait_for(version / "cancelled")


def _wait_for(file: Path) -> None:
    while not file.exists():  # the test's timeout ends it
        threading.Event().wait(0.005)


def test_a_stop_lets_calls_in_flight_finish(tmp_path: Path) -> None:
    slow = MODEL.replace("        tensors", "        __import__('time').sleep(0.3)\n        tensors")
    add_model(tmp_path, "slow", slow)
    emulator = Emulator(tmp_path, exit_timeout_secs=60).start()
    with grpc.insecure_channel(emulator.grpc_url) as channel:
        pending = channel.unary_unary(f"{SERVICE}/ModelInfer").future(infer_request("slow"))
        while not call(channel, "ServerLive").live:
            pass
        emulator.stop()
        assert message_class("ModelInferResponse").FromString(pending.result(timeout=60)).model_name == "slow"


# --- the channel ---------------------------------------------------------------------------------------------------


def test_a_certificate_that_is_not_there_is_named(repository: Path) -> None:
    key = str(CERTIFICATES / "server.key")
    with (
        pytest.raises(FileNotFoundError, match=r"nowhere\.pem"),
        Emulator(repository, grpc_use_ssl=True, grpc_server_cert="nowhere.pem", grpc_server_key=key),
    ):
        pass


@pytest.mark.parametrize("size", [0, 1])
def test_a_message_of_any_size_is_answered(emulator: Emulator, size: int) -> None:
    values = (1.0,) * (size * 2_000_000)
    unlimited = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    with channel_to(emulator.grpc_url, options=unlimited) as channel:
        answer = call(channel, "ModelInfer", infer_request(values=values))
    assert len(answer.raw_output_contents[0]) == 4 * len(values)
