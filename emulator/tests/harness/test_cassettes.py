"""Cassettes: what a real Triton 2.51 has answered is answered again when it is gone, and what is wrong is told."""

import asyncio
import gzip
import itertools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from emulator.tests.harness.conftest import FLAGS
from emulator.tests.harness.test_bad_upstreams import says, serving
from emulator.tests.harness.test_upstream import (
    BINARY_BODY,
    BINARY_HEAD,
    GRPC,
    HTTP,
    JSON_BODY,
    JSON_INPUTS,
    PROMPT,
    VALUES,
    answer,
    called,
    infer_message,
    prompt_message,
    raw,
)
from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import require_reference, telling_deaths
from triton_emulator import CassetteError, Emulator, fault
from triton_emulator.builtin import REPOSITORY
from triton_emulator.cli.command_line import UsageError, parse

STREAM = [prompt_message("one").SerializeToString(), infer_message().SerializeToString()]
ASKED_BINARY = b', "parameters": {"binary_data_output": true}'
Answers = dict[str, Any]


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    """A cassette of a real server, which has stopped, and what it has answered."""
    require_reference()
    folder = tmp_path_factory.mktemp("cassettes") / "triton"
    with (
        TritonServer(REPOSITORY, FLAGS) as real,
        telling_deaths(real),
        Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url, record=folder) as front,
    ):
        answers: Answers = {name: answer(front.http_url, request) for name, request in HTTP.items()}
        answers |= {f"gRPC {name}": called(front.grpc_url, *call) for name, call in GRPC.items()}
        answers["stream"] = called(front.grpc_url, "ModelStreamInfer", *STREAM)
    return folder, answers


@pytest.fixture
def replaying(taped: tuple[Path, Answers]) -> Iterator[Emulator]:
    with Emulator(replay=taped[0]) as emulator:
        yield emulator


def test_what_was_recorded_is_answered_byte_for_byte(
    taped: tuple[Path, Answers], replaying: Emulator
) -> None:
    _, answers = taped
    assert {name: answer(replaying.http_url, request) for name, request in HTTP.items()} == {
        name: answers[name] for name in HTTP
    }
    unknown = "a method that is not there"  # of which the journal has nothing
    for name, call in GRPC.items():
        if name != unknown:
            assert called(replaying.grpc_url, *call) == answers[f"gRPC {name}"]
    assert sorted(called(replaying.grpc_url, "ModelStreamInfer", *STREAM)[0]) == sorted(answers["stream"][0])


def test_the_journal_and_plans_are_those_of_any_emulator(replaying: Emulator) -> None:
    replaying.inject(fault.error(503, "busy"), operation="infer")
    url = f"{replaying.http_url}/v2/models/simple/infer"
    assert httpx.post(url, content=JSON_BODY).status_code == 503
    assert httpx.post(url, content=JSON_BODY).status_code == 200
    assert replaying.requests.last.outputs["OUTPUT0"].tolist() == [[2 * value for value in VALUES]]


@pytest.mark.parametrize(
    "body, headers",
    [
        (json.dumps({"inputs": JSON_INPUTS, "id": "a"}, indent=2).encode(), {}),
        (json.dumps({"inputs": JSON_INPUTS[::-1], "id": "a"}).encode(), {"x-new": "header"}),
        (gzip.compress(JSON_BODY), {"content-encoding": "gzip"}),
        (
            BINARY_BODY.replace(b', "parameters": {"binary_data_output": true}', b"").replace(
                b'{"inp', b'{"id":"a","inp'
            ),
            {
                "inference-header-content-length": str(
                    len(BINARY_HEAD) - len(b', "parameters": {"binary_data_output": true}') + 9
                )
            },
        ),
    ],
    ids=["another form of JSON", "another order", "compressed", "binary data"],
)
def test_a_request_is_answered_by_what_it_means(
    replaying: Emulator, taped: tuple[Path, Answers], body: bytes, headers: dict[str, str]
) -> None:
    url = f"{replaying.http_url}/v2/models/simple/infer"
    given = httpx.post(url, content=body, headers=headers)
    assert (given.status_code, given.content) == (200, taped[1]["infer"].partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("identifier", ["", "mine", 'say "a"'])
def test_an_answer_has_the_id_of_its_request(replaying: Emulator, identifier: str) -> None:
    url = f"{replaying.http_url}/v2/models/simple/infer"
    body = {"inputs": JSON_INPUTS, **({"id": identifier} if identifier else {})}
    given = httpx.post(url, json=body)
    assert given.json().get("id", "") == identifier
    assert given.json()["outputs"][0]["data"] == [2 * value for value in VALUES]
    binary = httpx.post(
        url,
        content=BINARY_BODY.replace(b'{"inp', b'{"id":"x","inp'),
        headers={"inference-header-content-length": str(len(BINARY_HEAD) + 9)},
    )
    size = int(binary.headers["inference-header-content-length"])
    assert json.loads(binary.content[:size])["id"] == "x"
    assert len(binary.content) == size + 128
    message = infer_message()
    message.id = identifier
    received, *_ = called(replaying.grpc_url, "ModelInfer", message.SerializeToString())
    assert type(message).__module__  # the message is a real one
    assert (b'"' in received[0]) == ('"' in identifier)
    assert identifier.encode() in received[0]


def test_a_client_that_takes_no_compressed_answer_gets_a_plain_one(replaying: Emulator) -> None:
    asked = json.dumps({"inputs": JSON_INPUTS, "parameters": {"unseen": 1}}).encode()
    assert answer(replaying.http_url, raw("POST", "/v2/models/simple/infer", asked)).startswith(
        b"HTTP/1.1 501"
    )
    plain = httpx.post(
        f"{replaying.http_url}/v2/models/simple/infer",
        content=JSON_BODY,
        headers={"accept-encoding": "identity"},
    )
    assert "content-encoding" not in plain.headers
    assert plain.json()["model_name"] == "simple"


@pytest.fixture
def real() -> Iterator[Emulator]:
    """A server to record: an emulator."""
    with Emulator(model_control_mode="explicit", load_models=("simple",)) as emulator:
        yield emulator


def recorded(real: Emulator, folder: Path, *urls: str) -> None:
    with Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url, record=folder) as front:
        for url in urls:
            method = "POST" if "repository" in url else "GET"
            httpx.request(method, f"{front.http_url}{url}")


READY = "/v2/models/simple/ready"


def test_repeats_are_answered_in_their_order_and_then_by_the_last(real: Emulator, tmp_path: Path) -> None:
    unload, load = (f"/v2/repository/models/simple/{action}" for action in ("unload", "load"))
    recorded(real, tmp_path / "c", READY, unload, READY, load, READY, unload, READY)
    with Emulator(replay=tmp_path / "c") as emulator, emulator.session() as session:
        for server in (emulator, session):
            statuses = [httpx.get(server.http_url + READY).status_code for _ in range(6)]
            assert statuses == [200, 400, 200, 400, 400, 400]
        session.reset()
        assert httpx.get(session.http_url + READY).status_code == 200


def test_a_second_run_is_added_to_the_first(real: Emulator, tmp_path: Path) -> None:
    recorded(real, tmp_path / "c", READY)
    before = (tmp_path / "c" / "http" / "model_ready.simple.yaml").read_bytes()
    recorded(real, tmp_path / "c", READY)
    after = (tmp_path / "c" / "http" / "model_ready.simple.yaml").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n...\n") == 2
    assert (tmp_path / "c" / "cassette.yaml").read_bytes().count(b"\n...\n") == 2


def test_a_cassette_says_where_it_comes_from(real: Emulator, tmp_path: Path) -> None:
    recorded(real, tmp_path / "c", READY)
    text = (tmp_path / "c" / "cassette.yaml").read_text()
    assert text.startswith("---\nformat: 1\nrecorded: '20")
    assert "server:\n  name: triton\n  version: 2.51.0\n  extensions: [classification, sequence," in text
    assert f"upstream: {real.http_url}\nupstream_grpc: {real.grpc_url}\n" in text


def test_secrets_are_not_recorded(real: Emulator, tmp_path: Path) -> None:
    with Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url, record=tmp_path / "c") as front:
        httpx.get(front.http_url + READY, headers={"authorization": "Bearer sk-1234", "x-tenant": "blue"})
        with grpc.insecure_channel(front.grpc_url) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            call(b"", metadata=[("authorization", "Bearer sk-1234")])
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sid=sk-1234\r\n\r\n"
    with serving(says(said)) as url, Emulator(upstream=url, record=tmp_path / "c") as front:
        assert httpx.get(front.http_url + READY).headers["set-cookie"] == "sid=sk-1234"
    texts = [file.read_text() for file in (tmp_path / "c").rglob("*.yaml")]
    assert not any("sk-1234" in text for text in texts)
    assert "authorization: [redacted]" in "".join(texts)
    assert "Set-Cookie: [redacted]" in "".join(texts)
    assert "x-tenant: blue" in "".join(texts)


def test_large_tensors_and_answers_are_in_files_and_equal_ones_in_one(tmp_path: Path) -> None:
    values = [float(value) for value in range(1000)]
    body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1000], "data": values}]}
    with Emulator() as real, Emulator(upstream=real.http_url, record=tmp_path / "c") as front:
        url = "/v2/models/identity_fp32/infer"
        headers = {"accept-encoding": "identity"}
        answers = [httpx.post(front.http_url + url, json=body, headers=headers).content for _ in range(2)]
    files = list((tmp_path / "c" / "tensors").iterdir())
    assert sorted(file.stat().st_size for file in files) == sorted((4000, len(answers[0])))
    with Emulator(replay=tmp_path / "c") as emulator:
        assert httpx.post(emulator.http_url + url, json=body).content == answers[1]


def test_recorded_times_are_kept_scaled_or_left_out(real: Emulator, tmp_path: Path) -> None:
    recorded(real, tmp_path / "c", READY)
    file = tmp_path / "c" / "http" / "model_ready.simple.yaml"
    lines = [line if "seconds:" not in line else "  seconds: 0.4" for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    took = {}
    for timing in ("none", "recorded", 0.5):
        with Emulator(replay=tmp_path / "c", replay_timing=timing) as emulator:
            assert httpx.get(emulator.http_url + READY).status_code == 200
            took[timing] = emulator.requests.wait_for(1).last.seconds
    assert took["recorded"] >= 0.39
    assert took[0.5] >= 0.19


MISSED = """triton-emulator: no recording of {folder} answers this request: http infer simple
the nearest:
  http/infer.simple.yaml:1
    INPUT0: 15 of 16 elements differ; the first is number 0: expected 0, got 7
  http/infer.simple.yaml:{second}
    INPUT0: 15 of 16 elements differ; the first is number 0: expected 0, got 7
    binary_data_output: expected true, got nothing"""


def test_a_miss_names_the_nearest_recordings_and_fails_the_test(taped: tuple[Path, Answers]) -> None:
    other = [{**JSON_INPUTS[0], "data": [7] * 16}, JSON_INPUTS[1]]
    lines = (taped[0] / "http" / "infer.simple.yaml").read_text().splitlines()
    second = [at for at, line in enumerate(lines, start=1) if line == "---"][1]
    with Emulator(replay=taped[0]) as emulator:
        given = httpx.post(f"{emulator.http_url}/v2/models/simple/infer", json={"inputs": other})
        assert given.status_code == 501
        assert given.json()["error"].startswith(MISSED.format(folder=taped[0], second=second))
        assert emulator.problems()[0].endswith(given.json()["error"])
        message = infer_message()
        message.raw_input_contents[0] = b"\7\0\0\0" * 16
        for method in ("ModelInfer", "ModelStreamInfer"):
            _, code, details, _ = called(emulator.grpc_url, method, message.SerializeToString())
            assert code is grpc.StatusCode.UNIMPLEMENTED
            assert "the nearest:\n  grpc/" in details
            assert "INPUT0: 15 of 16 elements differ; the first is number 0: expected 0, got 7" in details
        missed = httpx.get(f"{emulator.http_url}/v2/models/other/config")
        assert missed.status_code == 501


@pytest.fixture
def unasked(tmp_path: Path) -> Path:
    """A cassette of one inference, of a server with a name of its own. Nobody has asked it for its health."""
    body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1]}]}
    with (
        Emulator(id="staging") as real,
        Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url, record=tmp_path / "c") as front,
    ):
        assert httpx.post(f"{front.http_url}/v2/models/identity_fp32/infer", json=body).status_code == 200
    return tmp_path / "c"


def test_a_replay_is_live_and_ready_though_nobody_has_asked_the_server_for_it(unasked: Path) -> None:
    with Emulator(replay=unasked) as emulator, Emulator(id="staging") as like:
        for path in ("/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/identity_fp32/ready"):
            request = raw("GET", path)
            assert answer(emulator.http_url, request) == answer(like.http_url, request)
        http = tritonclient.http.InferenceServerClient(emulator.http_url.removeprefix("http://"))
        rpc = tritonclient.grpc.InferenceServerClient(emulator.grpc_url)
        for client in (http, rpc):
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("identity_fp32")
            assert client.is_model_ready("identity_fp32", "1")
            client.close()
        for method in ("ServerMetadata", "ServerLive", "ServerReady"):
            assert called(emulator.grpc_url, method, b"") == called(like.grpc_url, method, b"")
        with grpc.insecure_channel(emulator.grpc_url) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            assert check(b"") == b"\x08\x01"  # SERVING
        assert emulator.problems() == []


def test_a_replay_does_not_say_that_a_model_is_ready_that_was_not_recorded(unasked: Path) -> None:
    with Emulator(replay=unasked) as emulator:
        emulator.allow("unknown")
        assert httpx.get(f"{emulator.http_url}/v2/models/simple/ready").status_code == 501
        rpc = tritonclient.grpc.InferenceServerClient(emulator.grpc_url)
        with pytest.raises(InferenceServerException, match="no recording of "):
            rpc.is_model_ready("simple")
        rpc.close()


def test_a_readiness_that_was_recorded_is_the_answer(tmp_path: Path) -> None:
    with Emulator(id="staging", model_control_mode="explicit") as real:
        recorded(real, tmp_path / "c", READY, "/v2/health/ready", "/v2")
    with Emulator(replay=tmp_path / "c") as emulator:
        assert httpx.get(emulator.http_url + READY).status_code == 400
        assert httpx.get(f"{emulator.http_url}/v2").json()["name"] == "staging"


def test_a_fault_makes_a_replay_not_ready(unasked: Path) -> None:
    with Emulator(replay=unasked) as emulator:
        emulator.inject(fault.not_ready(requests=1))
        statuses = [httpx.get(f"{emulator.http_url}/v2/health/ready").status_code for _ in range(2)]
        assert statuses == [400, 200]


def test_a_server_that_kept_its_metadata_to_itself_is_replayed_with_those_of_the_emulator(
    unasked: Path,
) -> None:
    index = unasked / "cassette.yaml"
    text = index.read_text()
    at = text.index("server:\n")
    index.write_text(text[:at] + text[text.index("upstream:") :])
    with Emulator(replay=unasked) as emulator:
        assert httpx.get(f"{emulator.http_url}/v2").json()["name"] == "triton"


@pytest.mark.parametrize(
    "method, path, near",
    [
        (
            "POST",
            "simple/infer",
            ["http/infer.simple.yaml:1", "http/infer.identity_fp32.yaml:1", "http/model_ready.simple.yaml:1"],
        ),
        ("GET", "vllm", ["http/model_config.vllm.yaml:1"]),
    ],
    ids=["the same operation and model", "the same model"],
)
def test_a_miss_tells_the_recordings_of_the_same_operation_and_model_first(
    small: Path, method: str, path: str, near: list[str]
) -> None:
    with Emulator(replay=small) as emulator:
        emulator.allow("unknown")
        body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1]}]}
        missed = httpx.request(method, f"{emulator.http_url}/v2/models/{path}", json=body)
        assert [line.strip() for line in missed.json()["error"].splitlines() if ".yaml" in line] == near


def test_a_miss_may_be_emulated(tmp_path: Path) -> None:
    with (
        Emulator() as real,
        Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url, record=tmp_path / "c") as front,
    ):
        once = httpx.post(
            f"{front.http_url}/v2/models/vllm/generate", json=PROMPT | {"stream": False}
        ).content
        stream = called(front.grpc_url, "ModelStreamInfer", prompt_message("a").SerializeToString())
    with Emulator(replay=tmp_path / "c", on_miss="emulate") as emulator:
        url = f"{emulator.http_url}/v2/models"
        assert httpx.post(f"{url}/vllm/generate", json=PROMPT | {"stream": False}).content == once
        assert httpx.post(f"{url}/simple/infer", content=JSON_BODY).status_code == 200
        assert (
            called(emulator.grpc_url, "ModelInfer", infer_message().SerializeToString())[1]
            is grpc.StatusCode.OK
        )
        both = [prompt_message("a").SerializeToString(), infer_message().SerializeToString()]
        received, code, _, _ = called(emulator.grpc_url, "ModelStreamInfer", *both)
        assert code is grpc.StatusCode.OK
        assert sorted(received)[:1] != []
        assert [each for each in received if b"vllm" in each] == stream[0]
        assert len(received) == len(stream[0]) + 1
        assert emulator.problems() == []
        assert [entry.operation for entry in emulator.requests] == [
            "generate",
            "infer",
            "infer",
            "stream_infer",
            "stream_infer",
        ]


MANY_ANSWERS = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answer = pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", np.zeros(100_000, np.int32))])
        for request in requests:
            sender = request.get_response_sender()
            for _ in range(100):
                sender.send(answer)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
MANY_CONFIG = """
backend: "python"
model_transaction_policy { decoupled: true }
input { name: "INPUT" data_type: TYPE_INT32 dims: 1 }
output { name: "OUTPUT" data_type: TYPE_INT32 dims: -1 }
"""


def test_a_stream_that_is_emulated_ends_with_its_client(tmp_path: Path) -> None:
    """The client leaves while more answers wait for it than there is room for."""
    model, cassette = tmp_path / "models" / "many", tmp_path / "c"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(MANY_ANSWERS)
    (model / "config.pbtxt").write_text(MANY_CONFIG)
    cassette.mkdir()
    (cassette / "cassette.yaml").write_text("---\nformat: 1\n...\n")
    request = service_pb2.ModelInferRequest(model_name="many", raw_input_contents=[bytes(4)])
    request.inputs.add(name="INPUT", datatype="INT32", shape=[1])

    async def tasks() -> str:
        return repr(asyncio.all_tasks())

    with Emulator(tmp_path / "models", replay=cassette, on_miss="emulate") as emulator:
        with grpc.insecure_channel(emulator.grpc_url) as channel:
            stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            call = stream(itertools.repeat(request.SerializeToString(), 1))
            next(call)
            call.cancel()
        end = time.monotonic() + 60
        while "LocalCall" in emulator._run(tasks()):
            assert time.monotonic() < end


def test_a_miss_may_be_asked_of_the_server_and_recorded(real: Emulator, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    recorded(real, folder, READY)
    options: dict[str, Any] = {"upstream": real.http_url, "upstream_grpc": real.grpc_url}
    with Emulator(replay=folder, record=folder, on_miss="upstream", **options) as emulator:
        assert httpx.get(emulator.http_url + READY).status_code == 200
        assert httpx.get(f"{emulator.http_url}/v2/models/simple").status_code == 200
        assert (
            called(emulator.grpc_url, "ModelInfer", infer_message().SerializeToString())[1]
            is grpc.StatusCode.OK
        )
        streamed = called(emulator.grpc_url, "ModelStreamInfer", infer_message().SerializeToString())
        assert streamed[1] is grpc.StatusCode.OK
    with Emulator(replay=folder) as emulator:
        assert httpx.get(f"{emulator.http_url}/v2/models/simple").json()["name"] == "simple"
        assert called(emulator.grpc_url, "ModelStreamInfer", infer_message().SerializeToString()) == streamed
    assert (folder / "http" / "model_ready.simple.yaml").read_text().count("\n...\n") == 1


def test_what_is_not_the_server_s_whole_answer_is_not_recorded(
    real: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "c"
    with Emulator(upstream=real.http_url, record=folder, journal_bytes=4000) as front:
        front.inject(fault.error(503, "busy"), operation="model_ready")
        assert httpx.get(front.http_url + READY).status_code == 503
        assert httpx.get(front.http_url + READY).status_code == 200
        large = json.dumps({"inputs": JSON_INPUTS, "id": "x" * 5000})
        assert httpx.post(f"{front.http_url}/v2/models/simple/infer", content=large).status_code == 200
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    with serving(says(said)) as url, Emulator(upstream=url, record=folder) as front:
        answer(front.http_url, raw("GET", "/v2/models/cut"))
    assert sorted(file.name for file in (folder / "http").iterdir()) == ["model_ready.simple.yaml"]
    assert (folder / "http" / "model_ready.simple.yaml").read_text().count("\n...\n") == 1
    warnings = [record.getMessage() for record in caplog.records if "not recorded" in record.getMessage()]
    assert warnings == [
        f"{folder}: not recorded: 1 met a fault, 1 larger than journal_bytes",
        f"{folder}: not recorded: 1 not answered to the end by the server",
    ]


def test_what_a_cassette_answers_is_not_told_as_left_out_of_the_recording(
    real: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "c"
    recorded(real, folder, READY)
    options: dict[str, Any] = {"upstream": real.http_url, "on_miss": "upstream"}
    with caplog.at_level(logging.INFO), Emulator(replay=folder, record=folder, **options) as emulator:
        assert [httpx.get(emulator.http_url + path).status_code for path in (READY, "/v2")] == [200, 200]
    told = [record.getMessage() for record in caplog.records if "record" in record.getMessage()]
    assert told[-1] == f"recorded 1 exchange (1 http server_metadata) into {folder}"


def test_a_recorder_that_is_killed_leaves_what_it_has_recorded(real: Emulator, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "triton_emulator.cli",
        "--http-port=0",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    words += [f"--upstream={real.http_url}", f"--record={tmp_path / 'c'}"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(line for line in process.stderr if "Started HTTPService" in line).rpartition(" at ")[2]
        for _ in range(5):
            httpx.get(f"http://{address.strip().strip(chr(34))}{READY}")
        file = tmp_path / "c" / "http" / "model_ready.simple.yaml"
        end = time.monotonic() + 60
        while not file.exists() or file.read_text().count("\n...\n") < 5:
            assert time.monotonic() < end
        process.send_signal(signal.SIGKILL)
        process.stderr.read()
    with Emulator(replay=tmp_path / "c") as emulator:
        assert httpx.get(emulator.http_url + READY).status_code == 200


def test_an_exchange_that_was_half_written_is_left_out_with_a_warning(
    real: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "c"
    recorded(real, folder, READY, READY)
    file = folder / "http" / "model_ready.simple.yaml"
    whole = file.read_bytes()
    second = whole.index(b"\n---\n") + 1
    file.write_bytes(whole[: second + 40])
    with caplog.at_level(logging.WARNING), Emulator(replay=folder) as emulator:
        assert httpx.get(emulator.http_url + READY).status_code == 200
    line = whole[:second].count(b"\n") + 1
    assert (
        f"{file}:{line}: the last exchange is not complete, and is left out: its recorder was interrupted"
        in caplog.messages
    )
    assert file.read_bytes() == whole[: second + 40]


def test_a_recorder_adds_nothing_to_a_file_that_ends_in_half_an_exchange(
    real: Emulator, tmp_path: Path
) -> None:
    folder = tmp_path / "c"
    recorded(real, folder, READY)
    file = folder / "http" / "model_ready.simple.yaml"
    torn = file.read_bytes()[:-5]
    file.write_bytes(torn)
    with Emulator(upstream=real.http_url, record=folder) as front:
        httpx.get(front.http_url + READY)
        front.stop()
    assert file.read_bytes() == torn


WRONG = {
    "another format": (
        "cassette.yaml",
        "format: 1",
        "format: 2",
        "cassette.yaml:1: the format is 2, and this version reads 1; record it again with this one",
    ),
    "no format": (
        "cassette.yaml",
        "format: 1\n",
        "",
        "cassette.yaml:1: the format is None, and this version reads 1",
    ),
    "what is no YAML": (
        "http/model_ready.simple.yaml",
        "answer:",
        "answer: [",
        "http/model_ready.simple.yaml:",
    ),
    "no answer": (
        "http/model_ready.simple.yaml",
        "answer:",
        "answers:",
        "http/model_ready.simple.yaml:1: answer is a mapping, not None",
    ),
    "a status that is none": (
        "http/model_ready.simple.yaml",
        "status: 200",
        "status: fine",
        "http/model_ready.simple.yaml:1: answer: status is a number, not 'fine'",
    ),
    "a version that is no text": (
        "http/model_ready.simple.yaml",
        "  model: simple\n",
        "  model: simple\n  version: 1\n",
        "http/model_ready.simple.yaml:1: request: version is a text, not 1; quote it",
    ),
    "no end before the next": (
        "http/model_ready.simple.yaml",
        "...\n---",
        "---",
        "http/model_ready.simple.yaml:1: the document has no end ('...') before the next one begins",
    ),
    "an object of Python": (
        "http/model_ready.simple.yaml",
        "operation: model_ready",
        "operation: !!python/object/apply:os.getcwd []",
        "http/model_ready.simple.yaml:4: not YAML: could not determine a constructor for the tag",
    ),
    "an alias": (
        "http/model_ready.simple.yaml",
        "  headers:",
        "  x: &x [1]\n  y: *x\n  headers:",
        "http/model_ready.simple.yaml:1: not YAML: it has an alias (*), and a cassette has none",
    ),
    "a tensor of another shape": (
        "http/infer.simple.yaml",
        "shape: [1, 16]",
        "shape: [1, 15]",
        "http/infer.simple.yaml:1: input INPUT0: data has 16 elements, and the shape has 15",
    ),
    "an element of another type": (
        "http/infer.simple.yaml",
        "data: [0,",
        "data: [zero,",
        "http/infer.simple.yaml:1: input INPUT0: data has an element that is no INT32",
    ),
    "a datatype that there is not": (
        "http/infer.simple.yaml",
        "datatype: INT32",
        "datatype: INT33",
        "http/infer.simple.yaml:1: input INPUT0: datatype is one of BOOL,",
    ),
    "a file elsewhere": (
        "http/infer.simple.yaml",
        "      data: [0,",
        "      file: ../../x\n      data: [0,",
        "http/infer.simple.yaml:1: file is the name of a file in tensors, not '../../x'",
    ),
    "a file that is missing": (
        "http/infer.simple.yaml",
        "      data: [0,",
        "      file: x.bin\n      data: [0,",
        "http/infer.simple.yaml:1: {folder}/tensors/x.bin cannot be read: No such file or directory",
    ),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cassettes") / "small"
    with Emulator() as real, Emulator(upstream=real.http_url, record=folder) as front:
        for _ in range(2):
            httpx.get(front.http_url + READY)
        httpx.post(f"{front.http_url}/v2/models/simple/infer", content=JSON_BODY)
        httpx.get(f"{front.http_url}/v2/models/vllm/config", headers={"accept-encoding": "identity"})
        values = [{"name": "INPUT0", "datatype": "FP32", "shape": [99], "data": [0.5] * 99}]
        httpx.post(f"{front.http_url}/v2/models/identity_fp32/infer", json={"inputs": values})
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_a_cassette_that_is_damaged_is_told_with_its_file_and_line(
    small: Path, tmp_path: Path, name: str
) -> None:
    file, before, after, text = WRONG[name]
    folder = tmp_path / "c"
    shutil.copytree(small, folder)
    content = (folder / file).read_text()
    assert before in content
    (folder / file).write_text(content.replace(before, after, 1))
    changed = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CassetteError) as refused, Emulator(replay=folder):
        pass
    assert str(refused.value).startswith(f"{folder}/{text.format(folder=folder)}")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == changed


def test_a_tensor_that_is_damaged_is_told(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(small, folder)
    file = next(file for file in (folder / "tensors").iterdir() if file.stat().st_size == 99 * 4)
    file.write_bytes(b"?" + file.read_bytes()[1:])
    text = f"{file} is damaged: its bytes are not those that its name stands for"
    with pytest.raises(CassetteError) as refused, Emulator(replay=folder):
        pass
    assert str(refused.value) == f"{folder}/http/infer.identity_fp32.yaml:1: {text}"


def test_what_is_no_cassette_is_neither_replayed_nor_recorded_into(tmp_path: Path, real: Emulator) -> None:
    with (
        pytest.raises(CassetteError, match=f"^{tmp_path}/nope: is no cassette: there is no such folder$"),
        Emulator(replay=tmp_path / "nope"),
    ):
        pass
    (tmp_path / "notes.txt").write_text("mine")
    both: list[dict[str, Any]] = [{"replay": tmp_path}, {"upstream": real.http_url, "record": tmp_path}]
    for options in both:
        with (
            pytest.raises(CassetteError, match=f"^{tmp_path}: is no cassette, it has no cassette.yaml$"),
            Emulator(**options),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_another_format_is_not_recorded_into(small: Path, tmp_path: Path, real: Emulator) -> None:
    folder = tmp_path / "c"
    shutil.copytree(small, folder)
    index = folder / "cassette.yaml"
    index.write_text(index.read_text().replace("format: 1", "format: 9"))
    with (
        pytest.raises(CassetteError, match="the format is 9"),
        Emulator(upstream=real.http_url, record=folder),
    ):
        pass


def test_what_cannot_be_written_fails_the_test(tmp_path: Path, real: Emulator) -> None:
    folder = tmp_path / "c"
    recorded(real, folder, READY)
    shutil.rmtree(folder / "http")
    (folder / "http").write_text("a file where a folder belongs")
    with Emulator(upstream=real.http_url, record=folder) as front:
        assert httpx.get(front.http_url + READY).status_code == 200
        end = time.monotonic() + 60
        while not front.problems():
            assert time.monotonic() < end
        assert front.problems()[0].startswith("an exchange could not be recorded: ")


def problem_of(front: Emulator) -> str:
    end = time.monotonic() + 60
    while not (problems := list(front.problems())):
        assert time.monotonic() < end
    return str(problems[0])


def test_a_cassette_whose_index_could_not_be_written_gets_it_with_the_next_exchange(
    tmp_path: Path, real: Emulator
) -> None:
    """As after a disk that was full for a while. Without its index, what follows could not be replayed."""
    folder = tmp_path / "c"
    with Emulator(upstream=real.http_url, record=folder) as front:
        (folder / "cassette.yaml").mkdir(parents=True)
        assert httpx.get(front.http_url + READY).status_code == 200
        assert problem_of(front).startswith("an exchange could not be recorded: ")
        (folder / "cassette.yaml").rmdir()
        assert httpx.get(front.http_url + READY).status_code == 200
    with Emulator(replay=folder) as emulator:
        assert httpx.get(emulator.http_url + READY).status_code == 200


def test_bytes_that_another_recorder_is_writing_are_no_hindrance(tmp_path: Path) -> None:
    """Two sessions may record the same large tensor at the same time, into one cassette."""
    url = "/v2/models/identity_fp32/infer"
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1000], "data": [0.5] * 1000}
    with Emulator() as real:
        with Emulator(upstream=real.http_url, record=tmp_path / "c") as front:
            httpx.post(front.http_url + url, json={"inputs": [tensor]}).raise_for_status()
        files = {file.name: file.read_bytes() for file in (tmp_path / "c" / "tensors").iterdir()}
        for name in files:
            (tmp_path / "c" / "tensors" / name).unlink()
            (tmp_path / "c" / "tensors" / f"{name}.{os.getpid()}.partial").mkdir()
        with Emulator(upstream=real.http_url, record=tmp_path / "c") as front:
            httpx.post(front.http_url + url, json={"inputs": [tensor]}).raise_for_status()
        assert list(front.problems()) == []
    assert files == {name: (tmp_path / "c" / "tensors" / name).read_bytes() for name in files}


def test_a_model_s_name_with_any_characters_has_a_file(tmp_path: Path, real: Emulator) -> None:
    names = ["..", "a.b", "A%2Fb", "x" * 300, "é", "\u2028", "\x85"]
    with Emulator(upstream=real.http_url, record=tmp_path / "c") as front:
        answers = [answer(front.http_url, raw("GET", f"/v2/models/{name}")) for name in names]
        no_text = answer(front.http_url, raw("GET", "/v2/models/@").replace(b"@", b"\xff"))
    files = [file.name for file in (tmp_path / "c" / "http").iterdir()]
    assert len(files) == len(names) + 1
    assert max(map(len, files)) < 140
    with Emulator(replay=tmp_path / "c") as emulator:
        assert [answer(emulator.http_url, raw("GET", f"/v2/models/{name}")) for name in names] == answers
        assert answer(emulator.http_url, raw("GET", "/v2/models/@").replace(b"@", b"\xff")) == no_text


@pytest.mark.parametrize(
    "options, text",
    [
        ({"record": "c"}, "record needs upstream, whose answers it records"),
        ({"on_miss": "emulate"}, "on_miss needs replay"),
        ({"replay": "c", "on_miss": "upstream"}, "on_miss=upstream needs upstream"),
        ({"replay": "c", "upstream": "http://host"}, "replay with upstream needs on_miss=upstream"),
        (
            {"replay": "c", "replay_timing": "fast"},
            "replay_timing is none, recorded or a factor as 0.5, not 'fast'",
        ),
        ({"replay": "c", "replay_timing": -1.0}, "replay_timing is a factor of 0 or more, not -1.0"),
        ({"replay": "c", "replay_timing": float("nan")}, "replay_timing is a factor of 0 or more, not nan"),
        (
            {"replay": "c", "on_miss": "panic"},
            "on_miss is one of 'error', 'emulate', 'upstream', not 'panic'",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else ", ".join(value),
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as refused:
        Emulator(**options)
    assert str(refused.value) == text


def test_models_are_read_only_where_a_miss_is_emulated() -> None:
    text = "^replay answers in place of models, so no model_repository is read; leave it out$"
    with pytest.raises(ValueError, match=text):
        Emulator("models", replay="c")


def test_the_command_line_has_the_same_flags() -> None:
    settings = parse(["--replay=c", "--replay-timing=0.5", "--on-miss=emulate"]).settings
    assert (settings.replay, settings.replay_timing, settings.on_miss) == ("c", 0.5, "emulate")
    for flag, text in (
        ("--replay-timing=fast", "Invalid option value. Got fast"),
        ("--record=c", "Error: --record needs --upstream, whose answers it records"),
    ):
        with pytest.raises(UsageError) as refused:
            parse([flag])
        assert text in str(refused.value)


def test_a_cassette_that_is_damaged_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "triton_emulator.cli", "--http-port=0", f"--replay={tmp_path / 'nope'}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"error: creating server: {tmp_path / 'nope'}: is no cassette: there is no such folder\n"
    )
