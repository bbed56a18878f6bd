"""`triton-emulator --check`: what would load, as what, and what would not, told before anything is served."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

IO = """
input { name: "X" data_type: TYPE_FP32 dims: [3, -1] }
output { name: "LONGER" data_type: TYPE_STRING dims: 1 }
"""
#: completes its config, and notes in a file what is called
PYTHON = """
import os
from pathlib import Path

print("printed by the model")
os.system("echo printed by a child")


def note(what):
    with (Path(__file__).parent / "calls").open("a") as calls:
        calls.write(what + " ")


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        note("auto_complete_config")
        config.set_max_batch_size(4)
        config.add_input({"name": "A", "data_type": "TYPE_INT64", "dims": [-1], "optional": True})
        config.add_output({"name": "B", "data_type": "TYPE_BF16", "dims": [2]})
        return config

    def initialize(self, args):
        note("initialize")

    def execute(self, requests):
        raise NotImplementedError

    def finalize(self):
        note("finalize")
"""
BROKEN = PYTHON.replace('note("initialize")', 'raise ValueError("no such weights")')


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def check(*flags: str) -> Ended:
    command = [sys.executable, "-m", "triton_emulator", "--check", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def check_json(*flags: str) -> tuple[int, dict[str, Any]]:
    ended = check("--output-format=json", *flags)
    report: dict[str, Any] = json.loads(ended.out)
    assert list(report) == ["ok", "models", "errors", "warnings", "answers"]
    assert report["ok"] is (ended.code == 0)
    return ended.code, report


def add(repository: Path, name: str, config: str, *, version: int = 1, model: str = "") -> None:
    (repository / name / str(version)).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    if model:
        (repository / name / str(version) / "model.py").write_text(model)


def test_the_report_says_what_loads_as_what_and_with_which_tensors(tmp_path: Path) -> None:
    add(
        tmp_path,
        "detector",
        'backend: "onnxruntime" max_batch_size: 8 instance_group { kind: KIND_GPU gpus: [0, 2] }' + IO,
    )
    add(tmp_path, "worker", 'backend: "python"', model=PYTHON)
    ended = check(f"--model-repository={tmp_path}")
    assert ended.out.splitlines() == [
        (
            "detector, version 1: stand-in (synthetic) for backend onnxruntime; max_batch_size 8, "
            "simulated GPUs 0, 2"
        ),
        "    input  X      FP32  [-1, 3, -1]",
        "    output LONGER BYTES [-1, 1]",
        "worker, version 1: its model.py runs; max_batch_size 4",
        "    input  A INT64 [-1, -1] optional",
        "    output B BF16  [-1, 2]",
        "models that load: 2, that do not: 0",
    ]
    assert ended.code == 0


def test_a_python_model_is_loaded_and_unloaded_and_its_prints_are_not_in_the_report(tmp_path: Path) -> None:
    add(tmp_path, "worker", 'backend: "python"', model=PYTHON)
    ended = check(f"--model-repository={tmp_path}", "--output-format=json")
    assert json.loads(ended.out)["ok"] is True
    assert set(ended.err.splitlines()) == {"printed by the model", "printed by a child"}
    calls = (tmp_path / "worker" / "1" / "calls").read_text()
    assert calls.split() == ["auto_complete_config", "initialize", "finalize"]


def test_the_json_of_a_model_that_loads(tmp_path: Path) -> None:
    add(tmp_path, "detector", 'backend: "onnxruntime" instance_group { kind: KIND_GPU }' + IO)
    code, report = check_json(f"--model-repository={tmp_path}")
    assert code == 0
    assert report["models"] == [
        {
            "name": "detector",
            "status": "loads",
            "version": 1,
            "namespace": "",
            "reason": "",
            "path": f"{tmp_path}/detector/1",
            "backend": "onnxruntime",
            "platform": "onnxruntime_onnx",
            "runs_as": "stand-in",
            "behaviour": "synthetic",
            "max_batch_size": 0,
            "decoupled": False,
            "simulated_gpus": [0],
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [3, -1], "optional": False}],
            "outputs": [{"name": "LONGER", "datatype": "BYTES", "shape": [1], "optional": False}],
        }
    ]


def test_a_model_that_does_not_load_is_told_with_its_reason_and_path(tmp_path: Path) -> None:
    add(tmp_path, "crash", 'backend: "python"', model=BROKEN)
    add(tmp_path, "typo", "backend: 'python'\nfoo: 1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.pbtxt").write_text('backend: "python"' + IO)
    add(tmp_path, "good", 'backend: "onnxruntime"' + IO)
    code, report = check_json(f"--model-repository={tmp_path}", "--exit-on-error=false")
    assert code == 1
    rows = {row["name"]: row for row in report["models"]}
    assert {name: (row["status"], row["version"], row["path"]) for name, row in rows.items()} == {
        "crash": ("fails", 1, f"{tmp_path}/crash/1"),
        "empty": ("fails", None, f"{tmp_path}/empty"),
        "good": ("loads", 1, f"{tmp_path}/good/1"),
        "typo": ("fails", None, f"{tmp_path}/typo/config.pbtxt"),
    }
    assert rows["crash"]["reason"].startswith("Internal: ValueError: no such weights\n\nAt:\n")
    assert "config.pbtxt:2:4: " in rows["typo"]["reason"]
    text = check(f"--model-repository={tmp_path}").out
    assert f"empty: DOES NOT LOAD: it has no version folder, such as 1\n    {tmp_path}/empty\n" in text
    assert text.endswith("\nmodels that load: 1, that do not: 3\n")


def test_a_version_that_loads_is_not_served_if_another_one_does_not(tmp_path: Path) -> None:
    add(tmp_path, "two", 'backend: "python" version_policy { all {} }', model=PYTHON)
    (tmp_path / "two" / "2").mkdir()
    (tmp_path / "two" / "2" / "model.py").write_text(BROKEN)
    _, report = check_json(f"--model-repository={tmp_path}")
    one, two = report["models"]
    assert one["reason"] == "it is not served, as another version of the model does not load"
    assert "no such weights" in two["reason"]


def test_what_a_start_warns_of_is_in_the_report(tmp_path: Path) -> None:
    environment = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/env.tar.gz" } }'
    add(tmp_path, "worker", f'backend: "python" {environment}', model=PYTHON)
    add(tmp_path, "odd", 'backend: "onnxrunime"' + IO)
    (tmp_path / "emulator.yaml").write_text("models:\n  workr: {seed: 1}\n  worker: {delay_ms: 5}\n")
    code, report = check_json(f"--model-repository={tmp_path}", "--http-thread-count=4")
    assert code == 0
    flag, unfit, meaningless, unused, unknown = report["warnings"]
    assert flag == "--http-thread-count has no effect in the emulator"
    assert unfit == f"{tmp_path}/emulator.yaml:2: no model fits 'workr'; did you mean 'worker'?"
    assert meaningless.startswith(f"{tmp_path}/emulator.yaml:3: 'delay_ms' means nothing for model 'worker'")
    assert unused.startswith("EXECUTION_ENV_PATH '/env.tar.gz' of model 'worker' is not used")
    assert "its backend 'onnxrunime' is not known here (did you mean 'onnxruntime'?)" in unknown


def test_a_version_folder_in_place_of_a_repository_is_an_error(tmp_path: Path) -> None:
    add(tmp_path, "worker", 'backend: "python"', model=PYTHON)
    code, report = check_json(f"--model-repository={tmp_path}/worker/1")
    assert code == 1
    assert report["models"] == []
    [error] = report["errors"]
    assert error.startswith(f"'{tmp_path}/worker/1' is a version's folder")


def test_each_misplaced_repository_is_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        add(tmp_path, name, 'backend: "python"', model=PYTHON)
    flags = [f"--model-repository={tmp_path}/{name}/1" for name in ("one", "two")]
    _, report = check_json(*flags)
    assert [error.split("'")[1] for error in report["errors"]] == [f"{tmp_path}/one/1", f"{tmp_path}/two/1"]


@pytest.mark.parametrize(
    "yaml, error",
    [
        (
            "models:\n  m: {behavior: text}",
            "emulator.yaml:2: unknown key 'behavior' in model 'm'; did you mean 'behaviour'?",
        ),
        (None, "failed to stat file"),
    ],
    ids=["an emulator.yaml that means nothing", "a repository that is not there"],
)
def test_what_keeps_every_model_from_loading_is_an_error(
    tmp_path: Path, yaml: str | None, error: str
) -> None:
    repository = tmp_path / "models"
    if yaml is not None:
        add(repository, "m", 'backend: "onnxruntime"' + IO)
        (repository / "emulator.yaml").write_text(yaml)
    code, report = check_json(f"--model-repository={repository}")
    assert code == 1
    assert report["models"] == []
    assert error in report["errors"][0]
    assert check(f"--model-repository={repository}").out.startswith("error: ")


def test_a_model_that_the_mode_explicit_leaves_out_is_not_asked_for(tmp_path: Path) -> None:
    for name in ("asked", "left"):
        add(tmp_path, name, 'backend: "onnxruntime"' + IO)
    flags = (f"--model-repository={tmp_path}", "--model-control-mode=explicit", "--load-model=asked")
    code, report = check_json(*flags)
    assert code == 0
    assert [(row["name"], row["status"]) for row in report["models"]] == [
        ("asked", "loads"),
        ("left", "not_loaded"),
    ]
    assert "left: not asked for\nmodels that load: 1, that do not: 0, not asked for: 1\n" in check(*flags).out


def test_models_of_one_name_are_told_apart_by_their_namespaces(tmp_path: Path) -> None:
    add(tmp_path / "one", "m", 'backend: "onnxruntime"' + IO)
    add(tmp_path / "two", "m", "foo: 1")
    flags = (f"--model-repository={tmp_path}/{name}" for name in ("one", "two"))
    _, report = check_json(*flags, "--model-namespacing=true")
    rows = [(row["namespace"], row["name"], row["status"]) for row in report["models"]]
    assert rows == [(f"{tmp_path}/one", "m", "loads"), (f"{tmp_path}/two", "m", "fails")]


def test_the_flags_of_a_start_count(tmp_path: Path) -> None:
    add(tmp_path, "gpu", 'backend: "onnxruntime" instance_group { kind: KIND_GPU }' + IO)
    _, report = check_json(f"--model-repository={tmp_path}", "--simulated-gpus=0")
    assert "KIND_GPU" in report["models"][0]["reason"]
    _, report = check_json(f"--model-repository={tmp_path}", "--stand-ins=configured")
    assert "unable to find backend library" in report["models"][0]["reason"]


def test_no_port_is_opened_and_a_taken_one_is_no_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = check(f"--http-port={port}")
    assert ended.code == 0
    assert "trtllm, version 1: its model.py runs" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize(
    "flag, text",
    [
        ("--chekc", "Did you mean --check?"),
        ("--output-format=xml", "invalid argument for --output-format: it is text or json, not xml"),
        ("--stand-ins=none", "invalid argument for --stand-ins: it is all or configured, not none"),
        ("--on-miss=fail", "invalid argument for --on-miss: it is error, emulate or upstream, not fail"),
        ("--http-header-forward-pattern=(", "--http-header-forward-pattern is no regular expression"),
    ],
)
def test_wrong_flags_have_an_exit_code_of_their_own(flag: str, text: str) -> None:
    ended = check(flag)
    assert (ended.code, ended.out) == (2, "")
    assert text in ended.err


def test_the_format_of_a_report_needs_a_check() -> None:
    command = [sys.executable, "-m", "triton_emulator", "--output-format=json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "--output-format is for --check" in ended.stderr


def test_a_log_file_has_the_lines_of_the_loads(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert check(f"--log-file={log}").code == 0
    assert "successfully loaded 'simple'" in log.read_text()


def test_a_name_that_is_no_text_is_reported_all_the_same(tmp_path: Path) -> None:
    add(tmp_path, os.fsdecode(b"n\xff"), 'backend: "onnxruntime"' + IO)
    assert re.search(r"^n.*, version 1: stand-in", check(f"--model-repository={tmp_path}").out)
    _, report = check_json(f"--model-repository={tmp_path}")
    assert len(report["models"]) == 1


def test_who_answers_in_place_of_models_is_told() -> None:
    said = "stands in front of http://host:8000, which answers every request; no model is loaded"
    ended = check("--upstream=http://host:8000")
    assert ended == Ended(0, f"{said}\nmodels that load: 0, that do not: 0\n", "")
    code, report = check_json("--upstream=http://host:8000")
    assert (code, report["answers"]) == (0, said)


def test_a_cassette_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "nope"
    ended = check(f"--replay={folder}")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.splitlines()[0] == f"error: {folder}: is no cassette: there is no such folder"
    (tmp_path / "other").write_text("something else")
    ended = check("--upstream=http://host:8000", f"--record={tmp_path}")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: creating server: {tmp_path}: is no cassette, it has no cassette.yaml\n"
