"""A model repository in the shadow of a real Triton 2.51: the server answers, and what differs is reported."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from emulator.tests.harness.conftest import FLAGS
from emulator.tests.harness.test_upstream import (
    GRPC,
    HTTP,
    JSON_BODY,
    PROMPT,
    answer,
    called,
    infer_message,
    prompt_message,
)
from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import require_reference, telling_deaths
from triton_emulator import Emulator, fault
from triton_emulator.builtin import REPOSITORY

MODELS = ("simple", "simple_string", "vllm")
UNKNOWN = "a method that is not there"


def test_the_emulator_answers_as_the_real_server_does() -> None:
    require_reference()
    with (
        TritonServer(REPOSITORY, FLAGS) as real,
        telling_deaths(real),
        Emulator(
            upstream=real.http_url,
            upstream_grpc=real.grpc_url,
            shadow=REPOSITORY,
            model_control_mode="explicit",
            load_models=MODELS,
        ) as front,
    ):
        for request in HTTP.values():
            answer(front.http_url, request)
        for name, call in GRPC.items():
            if name != UNKNOWN:
                called(front.grpc_url, *call)
        called(front.grpc_url, "ModelStreamInfer", prompt_message("a").SerializeToString())
        report = front.shadow_report
    assert [each for each in report.disagreements if "INPUT" in str(each)] == []
    assert str(report).splitlines()[0] == (
        f"the emulator answers as the server does for {report.agreed} of {report.compared} requests"
    )
    assert {each.operation for each in report.disagreements} <= {"server_metadata"}, str(report)
    assert report.left_out == {"whose answers are a server's own": 6}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The built-in models, of which one has another config and one another code."""
    folder = tmp_path / "models"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "simple_string" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 4"))
    code = folder / "simple" / "1" / "model.py"
    code.write_text(code.read_text().replace("left + right", "left - right"))
    return folder


def test_what_differs_is_told_field_by_field(other: Path) -> None:
    with (
        Emulator() as real,
        Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url, shadow=other) as front,
        front.session() as session,
    ):
        for server in (front, session):
            url = f"{server.http_url}/v2/models"
            first = httpx.post(f"{url}/simple/infer", content=JSON_BODY)
            assert first.json()["outputs"][0]["data"][:3] == [0, 2, 4]  # the server's
            httpx.get(f"{url}/simple_string/config")
            httpx.get(f"{url}/vllm/config")
            httpx.get(f"{url}/vllm/stats")
            httpx.post(f"{url}/vllm/generate_stream", json=PROMPT)
            server.inject(fault.error(500), operation="server_live")
            httpx.get(f"{server.http_url}/v2/health/live")
            called(server.grpc_url, "ModelInfer", infer_message().SerializeToString())
            called(server.grpc_url, "ModelStreamInfer", infer_message().SerializeToString())
            report = server.shadow_report
            assert (report.compared, report.agreed) == (6, 2)
            assert report.left_out == {"whose answers are a server's own": 1}
            assert str(report) == SAID
            assert [each.number for each in report.disagreements] == [1, 2, 7, 8]
            assert len(server.requests.where(operation="infer")) == 2  # the journal has each request once
    assert str(front.shadow_report) == SAID


SAID = """the emulator answers as the server does for 2 of 6 requests
not compared: 1 whose answers are a server's own
http infer simple: 1 otherwise
  request 1
    OUTPUT0: 15 of 16 elements differ; the first is number 1: expected 2, got 0
http model_config simple_string: 1 otherwise
  request 2
    max_batch_size: expected 8, got 4
grpc infer simple: 1 otherwise
  request 7
    OUTPUT0: 15 of 16 elements differ; the first is number 1: expected 2, got 0
grpc stream_infer simple: 1 otherwise
  request 8
    OUTPUT0: 15 of 16 elements differ; the first is number 1: expected 2, got 0"""


def test_the_command_prints_the_report_at_its_end(other: Path) -> None:
    words = [sys.executable, "-m", "triton_emulator.cli", "--http-port=0", "--allow-grpc=false"]
    with Emulator() as real:
        words += ["--allow-metrics=false", f"--upstream={real.http_url}", f"--shadow={other}"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "Started HTTPService" in line)
            address = re.search(r"127\.0\.0\.1:\d+", line)
            assert address is not None
            httpx.post(f"http://{address[0]}/v2/models/simple/infer", content=JSON_BODY)
            process.send_signal(signal.SIGTERM)
            said = process.stderr.read()
    assert said.endswith(
        "the emulator answers as the server does for 0 of 1 requests\n"
        "http infer simple: 1 otherwise\n"
        "  request 1\n"
        "    OUTPUT0: 15 of 16 elements differ; the first is number 1: expected 2, got 0\n"
    )


def test_a_shadow_that_is_no_repository_or_has_no_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^shadow needs upstream, whose answers it is compared with$"):
        Emulator(shadow=tmp_path)
    with pytest.raises(ValueError, match=r"^shadow is the model repository; leave model_repository out$"):
        Emulator("models", upstream="http://host", shadow=tmp_path)
    with (
        Emulator() as emulator,
        pytest.raises(RuntimeError, match=r"give a model repository as the option `shadow`$"),
    ):
        _ = emulator.shadow_report
