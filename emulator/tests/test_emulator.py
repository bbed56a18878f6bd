"""The emulator inside a program: started, used through its URLs, stopped."""

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc

from triton_emulator import Emulator, PortInUse, RestrictedApis, StartupError, TritonError

ADD_ONE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() + 1)]
            )
            for request in requests
        ]
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] }]
"""
OVER_ADD_ONE = """
platform: "ensemble"
input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] }]
ensemble_scheduling { step [{
  model_name: "add_one" model_version: -1
  input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" }
}] }
"""
ONE = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [41]}]}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    model = tmp_path / "models" / "add_one"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(ADD_ONE)
    return tmp_path / "models"


def infer(url: str) -> object:
    return httpx.post(f"{url}/v2/models/add_one/infer", json=ONE).json()["outputs"][0]["data"]


def test_a_repository_is_served_while_the_block_runs(repository: Path) -> None:
    with Emulator(repository) as triton:
        assert infer(triton.url) == [42]
        url = triton.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_no_repository_is_the_built_in_one() -> None:
    with Emulator() as triton:
        assert httpx.get(f"{triton.url}/v2/models/custom_llm/ready").status_code == 200


def test_a_session_has_statistics_of_its_own(repository: Path) -> None:
    with Emulator(repository) as triton, triton.session() as first, triton.session() as second:
        infer(first.url)
        counts = [
            httpx.get(f"{url}/v2/models/add_one/stats").json()["model_stats"][0]["inference_count"]
            for url in (first.url, second.url, triton.url)
        ]
    assert counts == [1, 0, 0]


#: Prints the threads that opened or listed something below the first argument while an emulator and a session started.
WHO_READS = """
import sys, threading
from triton_emulator import Emulator

readers = set()


def note(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(sys.argv[1]):
        readers.add(threading.current_thread().name)


sys.addaudithook(note)
with Emulator(sys.argv[1], allow_grpc=False) as triton, triton.session():
    pass
print(*sorted(readers))
"""


def test_the_event_loop_reads_no_file_of_a_repository_that_is_opened(repository: Path) -> None:
    (repository / "emulator.yaml").write_text("default: {seed: 1}")
    arguments = [sys.executable, "-c", WHO_READS, str(repository)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    readers = ended.stdout.split()
    assert readers
    assert "triton-emulator" not in readers


def test_a_closed_session_is_gone(repository: Path) -> None:
    with Emulator(repository) as triton:
        session = triton.session()
        session.close()
        assert httpx.get(f"{session.url}/v2").status_code == 404


def test_metrics_count_what_was_inferred(repository: Path) -> None:
    with Emulator(repository) as triton:
        infer(triton.url)
        line = 'nv_inference_count{model="add_one",version="1"} 1'
        assert line in httpx.get(triton.metrics_url).text.splitlines()


def test_a_port_that_is_taken_is_named_with_its_flag() -> None:
    with Emulator() as triton:
        port = int(triton.url.rsplit(":", 1)[1])
        with pytest.raises(PortInUse, match=rf":{port}.*--http-port"):
            Emulator(http_port=port).start()


def test_a_start_that_fails_names_each_model_with_its_reason_and_folder(repository: Path) -> None:
    (repository / "add_one" / "1" / "model.py").write_text("raise ValueError('no such weights')")
    for name, config in (("over", OVER_ADD_ONE), ("broken", "input [{"), ("empty", CONFIG)):
        (repository / name).mkdir()
        (repository / name / "config.pbtxt").write_text(config)
    (repository / "over" / "1").mkdir()
    with pytest.raises(StartupError) as refused:
        Emulator(repository).start()
    first, *lines = str(refused.value).splitlines()
    assert first == refused.value.summary == "Internal - failed to load all models"
    found = {(failure.model, failure.version): failure for failure in refused.value.models}
    assert found.keys() == {("add_one", 1), ("over", None), ("broken", None), ("empty", None)}
    assert "ValueError: no such weights" in found["add_one", 1].reason
    assert found["add_one", 1].path == repository / "add_one" / "1"
    assert lines[0].startswith(f"  model 'add_one' version 1 ({repository}/add_one/1): ")
    assert f"  model 'empty' ({repository}/empty): it has no version folder, such as 1" in lines
    assert found["over", None].reason.startswith("Invalid argument: ensemble 'over' depends on 'add_one'")


def test_a_verbose_log_shows_requests_as_triton_does(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Emulator(repository, log_verbose=1) as triton:
        infer(triton.http_url)
        httpx.get(f"{triton.http_url}/nope?x=1")
        httpx.get(triton.metrics_url)
        with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
            assert client.is_server_live()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("triton_emulator")]
    told = [re.sub(r"0x0x[0-9a-f]+", "0x0x1", line) for line in ours]
    assert [line for line in told if line.startswith(("HTTP", "Process", "[request"))] == [
        "HTTP request: 2 /v2/models/add_one/infer",
        (
            "[request id: <id_unknown>] prepared: [0x0x1] request id: , model: add_one, requested version: -1, "
            "actual version: 1, flags: 0x0, correlation id: 0, batch size: 0, priority: 0, timeout (us): 0\n"
            "original inputs:\n[0x0x1] input: IN, type: INT32, original shape: [1], batch + shape: [1], shape: [1]\n"
            "override inputs:\n"
            "inputs:\n[0x0x1] input: IN, type: INT32, original shape: [1], batch + shape: [1], shape: [1]\n"
            "original requested outputs:\nrequested outputs:\nOUT\n"
        ),
        "HTTP request: 0 /nope",
        "HTTP error: 0 /nope - 404",
        "HTTP request: 0 /metrics",
        "Process for ServerLive, rpc_ok=1, 0 step START",
    ]


#: (where the file lies, what the config says of it) for each file of a model folder that a config names
NAMED_FILES = {
    "labels": ("pipe", CONFIG.replace('"OUT"', '"OUT" label_filename: "pipe"')),
    "a warm-up's input": (
        "warmup/pipe",
        CONFIG
        + """model_warmup { name: "w" batch_size: 1 inputs {
            key: "IN" value { data_type: TYPE_INT32 dims: 1 input_data_file: "pipe" } } }""",
    ),
    "a sequence's first state": (
        "initial_state/pipe",
        CONFIG
        + """sequence_batching { state { input_name: "S" output_name: "T" data_type: TYPE_INT32 dims: 1
            initial_state { name: "first" data_type: TYPE_INT32 dims: 1 data_file: "pipe" } } }""",
    ),
}


@pytest.mark.parametrize("file, config", NAMED_FILES.values(), ids=NAMED_FILES)
def test_a_file_without_an_end_is_refused(repository: Path, file: str, config: str) -> None:
    """2.51 reads it, and waits for ever."""
    (repository / "add_one" / "config.pbtxt").write_text(config)
    (repository / "add_one" / file).parent.mkdir(exist_ok=True)
    os.mkfifo(repository / "add_one" / file)
    with pytest.raises(StartupError, match=rf"for read .*/add_one/{file}: it is not a regular file"):
        Emulator(repository).start()


def test_a_model_that_cannot_load_can_be_tolerated(repository: Path) -> None:
    (repository / "add_one" / "1" / "model.py").write_text("raise ValueError('no such weights')")
    with Emulator(repository, exit_on_error=False) as triton:
        assert httpx.get(f"{triton.url}/v2/health/ready").status_code == 400
        (row,) = httpx.post(f"{triton.url}/v2/repository/index").json()
    assert "ValueError: no such weights" in row["reason"]


def test_no_thread_is_left_running(repository: Path) -> None:
    counts = []
    for _ in range(3):
        with Emulator(repository) as triton:
            infer(triton.url)
        counts.append(threading.active_count())
    # the first one may leave the poller thread that grpc starts once per process
    assert counts == [counts[0]] * 3


def test_a_start_that_fails_leaves_no_thread_running(repository: Path) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(StartupError):
        Emulator(
            repository, allow_grpc=False, model_control_mode="explicit", load_models=("add_one", "none")
        ).start()
    assert set(threading.enumerate()) <= threads


def test_stopping_twice_is_no_error() -> None:
    triton = Emulator().start()
    triton.stop()
    triton.stop()


def test_a_stopped_emulator_can_be_started_again(repository: Path) -> None:
    triton = Emulator(repository, allow_grpc=False)
    for _ in range(2):
        with triton:
            assert infer(triton.url) == [42]


def test_starting_twice_is_an_error(repository: Path) -> None:
    with Emulator(repository, allow_grpc=False) as triton:
        with pytest.raises(RuntimeError, match="started already"):
            triton.start()
        assert infer(triton.url) == [42]


@pytest.mark.parametrize("name", ["http_url", "metrics_url"])
def test_an_address_is_known_from_the_first_start_on(repository: Path, name: str) -> None:
    triton = Emulator(repository, allow_grpc=False)
    with pytest.raises(RuntimeError, match="not started"):
        getattr(triton, name)
    with triton:
        address = getattr(triton, name)
    assert getattr(triton, name) == address


def test_a_session_without_an_emulator_around_it_is_an_error(repository: Path) -> None:
    with pytest.raises(RuntimeError, match="not started"):
        Emulator(repository).session()


def test_a_session_may_be_closed_twice_and_after_the_emulator(repository: Path) -> None:
    with Emulator(repository, allow_grpc=False) as triton:
        first, second = triton.session(), triton.session()
        first.close()
        first.close()
    second.close()


def test_a_session_whose_models_do_not_load_is_not_opened(repository: Path, tmp_path: Path) -> None:
    with Emulator(repository, allow_grpc=False) as triton:
        before = set(threading.enumerate())
        with pytest.raises(StartupError, match="failed to load all models"):
            triton.session(repository, model_control_mode="explicit", load_models=("add_one", "none"))
        for thread in set(threading.enumerate()) - before:
            if "add_one" in thread.name:  # only the model's own thread has to end
                thread.join(60)
                assert not thread.is_alive()
        lenient = triton.session(
            repository, model_control_mode="explicit", load_models=("add_one", "none"), exit_on_error=False
        )
        assert infer(lenient.url) == [42]


def test_a_session_refuses_options_that_it_shares_with_the_others(repository: Path) -> None:
    with (
        Emulator(repository, allow_grpc=False) as triton,
        pytest.raises(ValueError, match="http_port is an option of the whole emulator"),
    ):
        triton.session(http_port=8000)  # type: ignore[call-arg]


def test_a_session_has_metrics_of_its_own(repository: Path) -> None:
    with Emulator(repository, allow_grpc=False) as triton, triton.session() as session:
        infer(session.url)
        counts = [
            f'nv_inference_count{{model="add_one",version="1"}} {count}' in httpx.get(url).text.splitlines()
            for url, count in ((session.metrics_url, 1), (triton.metrics_url, 0))
        ]
        unknown = httpx.get(triton.metrics_url.replace("/metrics", "/s/none/metrics"))
    assert counts == [True, True]
    assert unknown.status_code == 404


def test_addresses_have_the_same_names_on_emulator_and_session(repository: Path) -> None:
    with Emulator(repository) as triton, triton.session() as session:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", triton.http_url)
        assert re.fullmatch(r"127\.0\.0\.1:\d+", triton.grpc_url)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", triton.metrics_url)
        assert session.http_url == f"{triton.http_url}/s/{session.id}"
        assert session.metrics_url == triton.metrics_url.replace("/metrics", f"/s/{session.id}/metrics")
        assert (triton.url, session.url) == (triton.http_url, session.http_url)


def test_an_unmodified_grpc_client_reaches_a_session_at_its_own_address(repository: Path) -> None:
    with Emulator(repository) as triton, triton.session() as first, triton.session() as second:
        assert len({triton.grpc_url, first.grpc_url, second.grpc_url}) == 3
        assert first.grpc_url == first.grpc_url
        with tritonclient.grpc.InferenceServerClient(first.grpc_url) as client:
            tensor = tritonclient.grpc.InferInput("IN", [1], "INT32")
            tensor.set_data_from_numpy(np.array([41], np.int32))
            assert client.infer("add_one", [tensor]).as_numpy("OUT").tolist() == [42]
        counts = [
            httpx.get(f"{url}/v2/models/add_one/stats").json()["model_stats"][0]["inference_count"]
            for url in (first.http_url, second.http_url, triton.http_url)
        ]
        assert counts == [1, 0, 0]
        with grpc.insecure_channel(first.grpc_url) as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"")
            first.close()
            with pytest.raises(grpc.RpcError) as refused:
                live(b"")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(RuntimeError, match=f"session {first.id} is closed"):
            first.grpc_url  # noqa: B018
    with pytest.raises(RuntimeError, match="the emulator is not started"):
        second.grpc_url  # noqa: B018


def test_a_session_without_grpc_says_why_it_has_no_address(repository: Path) -> None:
    with Emulator(repository, allow_grpc=False) as triton, triton.session() as session:
        for owner in (triton, session):
            with pytest.raises(RuntimeError, match=r"gRPC is turned off \(allow_grpc\)"):
                owner.grpc_url  # noqa: B018


def test_a_repr_says_the_state_and_the_addresses(repository: Path) -> None:
    triton = Emulator(repository)
    assert repr(triton) == "<Emulator not started>"
    with triton:
        http = triton.http_url.removeprefix("http://")
        metrics = triton.metrics_url.removeprefix("http://").removesuffix("/metrics")
        serving = f"serving, HTTP {http}, gRPC {triton.grpc_url}, metrics {metrics}"
        assert repr(triton) == f"<Emulator {serving}, sessions: 0>"
        session = triton.session()
        assert repr(triton) == f"<Emulator {serving}, sessions: 1>"
        assert repr(session) == f"<Session {session.id} open, {session.http_url}>"
        session.close()
        assert repr(session) == f"<Session {session.id} closed>"
    assert repr(triton) == "<Emulator stopped>"


def test_a_repr_needs_no_http(repository: Path) -> None:
    with Emulator(repository, allow_http=False, allow_grpc=False, allow_metrics=False) as triton:
        assert repr(triton) == "<Emulator serving, sessions: 0>"
        with triton.session() as session:
            assert repr(session) == f"<Session {session.id} open, with HTTP turned off>"


def test_a_failed_start_leaves_a_stopped_emulator() -> None:
    triton = Emulator("/nonexistent/models")
    with pytest.raises(TritonError, match="failed to stat file /nonexistent/models"):
        triton.start()
    assert repr(triton) == "<Emulator stopped>"


@pytest.mark.parametrize("prefix", ["", "/triton", "/some/gateway"])
class TestTheEndpointsThatNameNoModel:
    def test_generate_is_answered_by_a_language_model(self, prefix: str, triton_built_in: str) -> None:
        answer = httpx.post(f"{triton_built_in}{prefix}/generate", json={"text_input": "hi", "max_tokens": 4})
        assert (answer.status_code, "text_output" in answer.json()) == (200, True)

    def test_infer_is_answered_by_one_that_takes_what_litellm_sends(
        self, prefix: str, triton_built_in: str
    ) -> None:
        tensors = [
            {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["hi"]},
            {"name": "max_tokens", "shape": [1], "datatype": "INT32", "data": [4]},
        ]
        answer = httpx.post(f"{triton_built_in}{prefix}/infer", json={"inputs": tensors})
        assert answer.json()["outputs"][0]["name"] == "text_output"

    def test_embeddings_are_answered_by_an_embedding_model(self, prefix: str, triton_built_in: str) -> None:
        tensors = [{"name": "input_text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]
        answer = httpx.post(f"{triton_built_in}{prefix}/embeddings", json={"inputs": tensors})
        assert answer.json()["outputs"][0]["shape"][0] == 2


def test_the_model_that_answers_takes_most_of_what_litellm_sends(triton_built_in: str) -> None:
    chosen = {}
    for endpoint in ("generate", "generate_stream"):
        body = {"text_input": "hi", "parameters": {"max_tokens": 4, "stream": endpoint == "generate_stream"}}
        answer = httpx.post(f"{triton_built_in}/{endpoint}", json=body).text
        chosen[endpoint] = answer.partition('"model_name":"')[2].partition('"')[0]
    assert chosen == {"generate": "custom_llm", "generate_stream": "trtllm"}


def test_strict_routes_are_only_tritons() -> None:
    with Emulator(strict_routes=True) as triton:
        answer = httpx.post(f"{triton.url}/generate", json={"text_input": "hi"})
    assert (answer.status_code, answer.text) == (404, '{"error":"Not Found"}')


def test_a_flag_chooses_the_model_of_an_endpoint() -> None:
    with Emulator(default_generate_model="vllm") as triton:
        answer = httpx.post(f"{triton.url}/generate", json={"text_input": "hi"})
    assert answer.json()["model_name"] == "vllm"


def test_a_restricted_api_is_restricted_without_a_model_name_too() -> None:
    rule = RestrictedApis(frozenset({"inference"}), "key", "secret")
    body = {"text_input": "hi", "max_tokens": 4}
    with Emulator(http_restricted_apis=(rule,), allow_grpc=False) as triton:
        refused = httpx.post(f"{triton.url}/generate", json=body)
        answered = httpx.post(f"{triton.url}/generate", json=body, headers={"key": "secret"})
    assert (refused.status_code, answered.status_code) == (403, 200)
    assert refused.text == '{"error":"This API is restricted, expecting header \'key\'"}'


def test_an_ensemble_shows_the_labels_of_the_member_that_writes_an_output(repository: Path) -> None:
    """2.51 reads a label file only when it loads the model."""
    add_one = repository / "add_one"
    label = 'label_filename: "labels.txt"'
    (add_one / "config.pbtxt").write_text(CONFIG.replace('name: "OUT"', f'name: "OUT" {label}'))
    (add_one / "labels.txt").write_text("cat\ndog\n")
    (repository / "over" / "1").mkdir(parents=True)
    (repository / "over" / "config.pbtxt").write_text(OVER_ADD_ONE)
    outputs = [{"name": "OUT", "parameters": {"classification": 2}}]
    inputs = [{"name": "IN", "datatype": "INT32", "shape": [2], "data": [1, 8]}]
    with Emulator(repository, allow_grpc=False) as triton:
        (add_one / "labels.txt").unlink()
        found = [
            httpx.post(f"{triton.url}/v2/models/{name}/infer", json={"inputs": inputs, "outputs": outputs})
            for name in ("add_one", "over")
        ]
    assert [answer.json()["outputs"][0]["data"] for answer in found] == [["9:1:dog", "2:0:cat"]] * 2


def test_the_classes_of_an_output_without_elements_are_refused_over_http(repository: Path) -> None:
    """2.51 crashes over HTTP; over gRPC it answers without classes."""
    outputs = [{"name": "OUT", "parameters": {"classification": 1}}]
    inputs = [{"name": "IN", "datatype": "INT32", "shape": [0], "data": []}]
    with Emulator(repository, allow_grpc=False) as triton:
        answer = httpx.post(
            f"{triton.url}/v2/models/add_one/infer", json={"inputs": inputs, "outputs": outputs}
        )
    assert answer.status_code == 400
    assert answer.text == '{"error":"class result not available for output \'OUT\', which has no elements"}'
