"""What several workers cannot keep right is refused by name, with the cause and what to write instead."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from emulator.tests.workers.serving import DOUBLE, add_model, ended, serving
from triton_emulator import Emulator
from triton_emulator.cli.command_line import UsageError, parse

SEQUENCES = DOUBLE + "max_batch_size: 1 sequence_batching { }"
IN_ORDER = DOUBLE + "max_batch_size: 4 dynamic_batching { preserve_ordering: true }"
FEW_STEPS = """
platform: "ensemble"
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "Z" data_type: TYPE_FP32 dims: [ 1 ] }
ensemble_scheduling { max_inflight_requests: 2 step {
  model_name: "double" model_version: 1
  input_map { key: "X" value: "X" } output_map { key: "Y" value: "Z" }
} }
"""
PYTHON = DOUBLE.replace("onnxruntime", "python")
PERF = "Concurrency,p50 latency,p99 latency\n1,2000,3000\n4,5000,9000\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            "--fault='error(503) times=2'",
            "--fault: each worker would count for itself how often a plan has fired; leave --fault out",
        ),
        ("--upstream=http://host:8000", "--upstream: each worker would keep a journal and connections"),
        ("--replay=cassette", "--replay: each worker would count repeated requests for itself"),
        ("--control-port=0", "--control-port: sessions, plans, stubs and the journal would be those of one"),
        ("--cache-config=local,size=1048576", "--cache-config: each worker would have a cache of its own"),
        ("--clock=virtual", "--clock=virtual: each worker would have a time of its own; take a number"),
        (
            "--model-control-mode=poll",
            "--model-control-mode=poll: each worker would find a change of the repo",
        ),
        (
            "--triton-version=2.72.0 --allow-client-shm=true",
            "--allow-client-shm: a region would be registered",
        ),
        (
            "--trace-config=level=TIMESTAMPS --trace-config=count=5",
            "--trace-config count: each worker would count traces for itself",
        ),
    ],
)
def test_a_flag_that_is_right_in_one_process_only_is_refused(flags: str, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(["--workers=4", *shlex.split(flags)])
    assert str(refusal.value).startswith(f"Error: --workers=4 and {said}")
    assert str(refusal.value).endswith(", or use --workers=1")
    assert parse(["--workers=1", *shlex.split(flags)]).settings.workers == 1


@pytest.mark.parametrize("flags", ["--clock=0.01", "--trace-config=count=5", "--reuse-http-port=true"])
def test_a_flag_that_is_right_in_each_process_is_not_refused(flags: str) -> None:
    assert parse(["--workers=4", flags]).settings.workers == 4


@pytest.mark.parametrize("text", ["0", "-1", "257"])
def test_the_number_of_workers_has_bounds(text: str) -> None:
    with pytest.raises(UsageError, match=f"--workers takes a number from 1 to 256, not {text}"):
        parse([f"--workers={text}"])


def test_a_program_has_no_workers() -> None:
    with pytest.raises(
        TypeError, match="only the command has several processes: triton-emulator --workers=4"
    ):
        Emulator(workers=4)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("config", "settings", "version", "cause"),
    [
        (
            SEQUENCES,
            "{}",
            "2.51.0",
            "it has sequence_batching, and the requests of a sequence would reach several processes",
        ),
        (
            IN_ORDER,
            "{}",
            "2.51.0",
            "its dynamic_batching has preserve_ordering, and each process would keep its own order",
        ),
        (
            FEW_STEPS,
            "{}",
            "2.72.0",
            "its ensemble_scheduling has max_inflight_requests, and each process would allow so many",
        ),
        (
            DOUBLE,
            "{slots: 2}",
            "2.51.0",
            "it has 'slots' in emulator.yaml, and each process would have so many",
        ),
        (
            DOUBLE,
            "{latency_from: perf.csv}",
            "2.51.0",
            "'latency_from' in emulator.yaml has a latency for each number of requests at a time",
        ),
    ],
    ids=["sequences", "an order", "few steps of an ensemble", "slots", "latencies by load"],
)
def test_a_model_that_is_right_in_one_process_only_is_refused(
    repository: Path, config: str, settings: str, version: str, cause: str
) -> None:
    add_model(repository, "alone", config)
    (repository / "perf.csv").write_text(PERF)
    (repository / "emulator.yaml").write_text(f"models:\n  alone: {settings}\n")
    code, printed = ended(repository, "--workers=2", f"--triton-version={version}")
    assert code == 1
    assert f"Unsupported: model 'alone' cannot be served by 2 processes: {cause}" in printed
    assert ", or serve it with --workers=1" in printed
    assert printed.count("error: creating server: Internal - failed to load all models\n") == 1


def test_a_python_model_is_refused_before_its_code_runs(repository: Path, tmp_path: Path) -> None:
    add_model(repository, "alone", PYTHON, f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    code, printed = ended(repository, "--workers=2")
    assert code == 1
    said = (
        "model 'alone' cannot be served by 2 processes: it runs a model.py, and each process would have the state of "
        "its own; give it a behaviour in emulator.yaml, so that a stand-in answers, or serve it with --workers=1"
    )
    assert said in printed
    assert not (tmp_path / "ran").exists()


def test_a_python_model_that_a_stand_in_answers_for_is_served(repository: Path) -> None:
    add_model(repository, "alone", PYTHON, "raise ValueError")
    (repository / "emulator.yaml").write_text("models:\n  alone: {behaviour: synthetic}\n")
    with serving(repository, "--workers=2") as server:
        assert httpx.get(f"{server.http}/v2/models/alone/ready").status_code == 200


def test_a_model_that_is_refused_is_left_out_where_the_server_may_start_without_it(repository: Path) -> None:
    add_model(repository, "alone", SEQUENCES)
    with serving(repository, "--workers=2", "--exit-on-error=false") as server:
        assert server.log.count("failed to load 'alone' version 1") == 1
        assert httpx.get(f"{server.http}/v2/models/double/ready").status_code == 200
        assert httpx.get(f"{server.http}/v2/models/alone/ready").status_code == 400


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("faults", "faults:\n  - {fault: error, status: 503}\n"),
        ("stubs", "stubs:\n  - {operation: infer, model: double, respond: {outputs: {Y: [1]}}}\n"),
    ],
)
def test_plans_and_stubs_of_a_file_are_refused_with_their_line(
    repository: Path, section: str, text: str
) -> None:
    file = repository / "emulator.yaml"
    file.write_text(f"models: {{}}\n{text}")
    code, printed = ended(repository, "--workers=2")
    assert code == 1
    assert (
        f"error: creating server: {file}:3: '{section}' cannot be with --workers=2, as each process would count for "
        "itself how often each of them is used; leave the section out, or serve with --workers=1\n"
    ) in printed


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v2/logging", {"log_info": False}, "a change of the log's settings would reach one of 2 processes"),
        (
            "/v2/trace/setting",
            {"trace_rate": "5"},
            "a change of trace settings would reach one of 2 processes",
        ),
        ("/v2/models/double/trace/setting", {}, "a change of trace settings would reach one of 2 processes"),
        (
            "/v2/systemsharedmemory/region/r/register",
            {"key": "k", "byte_size": 4},
            "a region of shared memory would reach one of 2 processes",
        ),
        ("/v2/cudasharedmemory/unregister", {}, "a region of shared memory would reach one of 2 processes"),
        (
            "/v2/repository/models/llm/load",
            {},
            "a load or unload of a model would reach one of 2 processes (--workers=2); name the models at the start",
        ),
        (
            "/v2/repository/models/double/unload",
            {},
            "a load or unload of a model would reach one of 2 processes",
        ),
    ],
)
def test_a_request_that_would_change_one_worker_is_refused(
    explicit: str, path: str, body: object, said: str
) -> None:
    answer = httpx.post(f"{explicit}{path}", json=body)
    assert answer.status_code == 501
    assert answer.json()["error"].startswith(said)


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of two workers in the mode explicit, with one of two models."""
    repository = tmp_path_factory.mktemp("models")
    add_model(repository, "double", DOUBLE)
    add_model(repository, "llm", DOUBLE)
    flags = ("--workers=2", "--model-control-mode=explicit", "--load-model=double")
    with serving(repository, *flags) as server:
        yield server.http


def test_settings_that_are_only_read_are_answered(explicit: str) -> None:
    assert httpx.get(f"{explicit}/v2/logging").json()["log_info"] is True
    assert httpx.get(f"{explicit}/v2/trace/setting").json()["trace_level"] == ["OFF"]
    assert httpx.get(f"{explicit}/v2/systemsharedmemory/status").json() == []
    states = {row["name"]: row.get("state") for row in httpx.post(f"{explicit}/v2/repository/index").json()}
    assert states == {"double": "READY", "llm": None}


def test_without_model_control_a_load_is_refused_as_triton_does(repository: Path) -> None:
    with serving(repository, "--workers=2") as server:
        answer = httpx.post(f"{server.http}/v2/repository/models/llm/load")
        assert "explicit model load / unload is not allowed" in answer.json()["error"]


def test_the_same_requests_are_refused_over_grpc(repository: Path) -> None:
    flags = ("--workers=2", "--model-control-mode=explicit", "--load-model=double")
    with serving(repository, *flags) as server, grpcclient.InferenceServerClient(server.grpc) as client:
        changes: list[Callable[[], object]] = [
            lambda: client.update_log_settings({"log_info": False}),
            lambda: client.update_trace_settings("double", {"trace_rate": "5"}),
            lambda: client.register_system_shared_memory("r", "k", 4),
            lambda: client.load_model("llm"),
            lambda: client.unload_model("double"),
        ]
        for change in changes:
            with pytest.raises(InferenceServerException, match="would reach one of 2 processes") as refusal:
                change()
            assert refusal.value.status() == str(grpc.StatusCode.UNIMPLEMENTED)
        assert client.get_log_settings().settings["log_info"].bool_param
        assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
        tensor = grpcclient.InferInput("X", [2], "FP32")
        tensor.set_data_from_numpy(np.zeros(2, np.float32))
        client.infer("double", [tensor])


def test_a_check_says_which_models_several_workers_cannot_serve(repository: Path) -> None:
    add_model(repository, "alone", SEQUENCES)
    with pytest.raises(UsageError):
        parse(["--check", "--workers=2", "--clock=virtual"])
    command = [sys.executable, "-m", "triton_emulator.cli", f"--model-repository={repository}", "--check"]
    done = subprocess.run([*command, "--workers=2"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "alone, version 1: DOES NOT LOAD: Unsupported: model 'alone' cannot be served by 2 processes"
        in done.stdout
    )
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
