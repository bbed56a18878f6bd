"""Mistakes of people who try the emulator: one line of the log names the likely cause."""

import logging
import sys
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator

IO = """
input { name: "X" data_type: TYPE_FP32 dims: 1 }
output { name: "Y" data_type: TYPE_FP32 dims: 1 }
"""
MODEL_PY = """
class TritonPythonModel:
    def execute(self, requests):
        return [None for _ in requests]
"""


def write(repository: Path, name: str, config: str, model_py: str = "") -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config + IO)
    if model_py:
        (repository / name / "1" / "model.py").write_text(model_py)


def lines(repository: Path, caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """What a start over a repository logs at a level."""
    with Emulator(repository, exit_on_error=False):
        return [record.getMessage() for record in caplog.records if record.levelno == level]


# --- --model-repository -------------------------------------------------------------------------------------------


def test_a_models_folder_in_place_of_the_repository_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "yolo", 'backend: "onnxruntime"')
    assert (
        f"'{tmp_path}/yolo' is a model's folder, as it holds config.pbtxt: --model-repository takes the folder "
        f"above it, '{tmp_path}'"
    ) in lines(tmp_path / "yolo", caplog, logging.ERROR)


def test_a_models_folder_without_a_config_is_told_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "yolo" / "12").mkdir(parents=True)
    (tmp_path / "yolo" / "warmup").mkdir()
    assert (
        f"'{tmp_path}/yolo' is a model's folder, as it holds 12: --model-repository takes the folder above it, "
        f"'{tmp_path}'"
    ) in lines(tmp_path / "yolo", caplog, logging.ERROR)


def test_a_versions_folder_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "m", 'backend: "python"', MODEL_PY)
    assert (
        f"'{tmp_path}/m/1' is a version's folder, as it holds model.py: --model-repository takes the folder "
        f"above the model's, '{tmp_path}'"
    ) in lines(tmp_path / "m" / "1", caplog, logging.ERROR)


def test_the_folder_above_the_repository_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "repo", "yolo", 'backend: "onnxruntime"')
    (tmp_path / "docs").mkdir()
    assert (
        f"'{tmp_path}/repo' looks like a model repository, as it holds the model yolo: --model-repository takes this "
        f"folder, not '{tmp_path}'"
    ) in lines(tmp_path, caplog, logging.ERROR)


def test_a_folder_of_models_beside_a_model_is_not_taken_for_the_repository(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "yolo", 'backend: "onnxruntime"')
    write(tmp_path / "old", "yolo", 'backend: "onnxruntime"')
    told = lines(tmp_path, caplog, logging.ERROR)
    assert [line for line in told if "looks like a model repository" in line] == []


@pytest.mark.parametrize("name", ["m", "1"])
def test_a_repository_is_none_of_these(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, name, 'backend: "onnxruntime"')
    (tmp_path / "model.txt").touch()
    assert lines(tmp_path, caplog, logging.ERROR) == []


# --- model.py -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_process", [False, True], ids=["in a thread", "in a process"])
def test_an_import_that_fails_is_told_with_the_interpreter_and_tritons_text_stays(
    tmp_path: Path, own_process: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "m", 'backend: "python"', "import not_installed_here")
    with Emulator(tmp_path, exit_on_error=False, python_process_per_model=own_process) as triton:
        [row] = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        (
            f"model 'm' imports what the Python that runs it, {sys.executable}, does not find; a package must be "
            "installed there"
        )
    ]
    assert "No module named 'not_installed_here'" in row["reason"]
    assert sys.executable not in row["reason"]


# --- emulator.yaml ------------------------------------------------------------------------------------------------


def test_entries_that_fit_no_model_are_told_with_the_nearest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "detector", 'backend: "onnxruntime"')
    (tmp_path / "emulator.yaml").write_text(
        "models:\n  detectr: {seed: 1}\n  '*-llm': {seed: 1}\n  'det*': {seed: 1}\n"
    )
    assert lines(tmp_path, caplog) == [
        f"{tmp_path}/emulator.yaml:2: no model fits 'detectr'; did you mean 'detector'?",
        f"{tmp_path}/emulator.yaml:3: no model fits '*-llm'",
    ]


def test_a_file_for_several_repositories_is_held_against_all_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, f"of_{folder}", 'backend: "onnxruntime"')
    file = tmp_path / "settings.yaml"
    file.write_text("models: {of_one: {seed: 1}, of_two: {seed: 1}, of_tow: {seed: 1}}")
    with Emulator(tmp_path / "one", tmp_path / "two", emulator_config=str(file)):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}:1: no model fits 'of_tow'; did you mean 'of_two'?"
    ]


def test_keys_that_mean_nothing_for_the_models_behaviour_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "detector", 'backend: "onnxruntime"')
    write(tmp_path, "python", 'backend: "python"', MODEL_PY)
    (tmp_path / "emulator.yaml").write_text(
        "default: {seed: 7, reply: no warning of a default}\n"
        "models:\n  detector:\n    reply: Hello.\n    range: [0, 5]\n  python:\n    delay_ms: 5\n"
    )
    assert sorted(lines(tmp_path, caplog)) == [
        f"{tmp_path}/emulator.yaml:4: 'reply' means nothing for model 'detector', whose behaviour is synthetic",
        f"{tmp_path}/emulator.yaml:7: 'delay_ms' means nothing for model 'python', which runs here",
    ]


def test_names_that_are_no_outputs_of_the_model_are_told_with_those_that_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "yolo", 'backend: "onnxruntime"')
    (tmp_path / "emulator.yaml").write_text(
        "default: {values: {Z: [1]}}\n"
        "models:\n  'y*':\n    values: {Y: [1], y: [1]}\n    dims:\n      outputX: [1]\n"
    )
    assert sorted(lines(tmp_path, caplog)) == [
        f"{tmp_path}/emulator.yaml:4: 'values': model 'yolo' has no output 'y'; it has Y",
        f"{tmp_path}/emulator.yaml:5: 'dims': model 'yolo' has no output 'outputX'; it has Y",
    ]


LLM = """
backend: "vllm"
input { name: "text_input" data_type: TYPE_STRING dims: 1 }
output { name: "text_output" data_type: TYPE_STRING dims: 1 }
output { name: "latency" data_type: TYPE_FP32 dims: 1 }
"""
EMBEDDER = """
backend: "onnxruntime"
input { name: "text" data_type: TYPE_STRING dims: 1 }
output { name: "embedding" data_type: TYPE_FP32 dims: 4 }
output { name: "count" data_type: TYPE_INT32 dims: 1 }
"""


@pytest.mark.parametrize(
    "config, filled, made_up",
    [(LLM, "text_output", "latency"), (EMBEDDER, "embedding", "count")],
    ids=["a text", "a vector"],
)
def test_values_of_an_output_that_the_behaviour_fills_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, config: str, filled: str, made_up: str
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    (tmp_path / "emulator.yaml").write_text(f"models: {{m: {{values: {{{filled}: 1, {made_up}: 1}}}}}}")
    told = f"'values' means nothing for output '{filled}' of model 'm', whose values are not made up"
    assert lines(tmp_path, caplog) == [f"{tmp_path}/emulator.yaml:1: {told}"]


def test_the_behaviour_python_runs_the_model_py_of_a_model_of_another_backend(tmp_path: Path) -> None:
    write(tmp_path, "m", 'backend: "onnxruntime"', MODEL_PY)
    (tmp_path / "emulator.yaml").write_text("models: {m: {behaviour: python}}")
    with Emulator(tmp_path) as triton:
        assert httpx.get(f"{triton.http_url}/v2/models/m/ready").status_code == 200


def test_the_behaviour_python_without_a_model_py_is_refused_with_its_name(tmp_path: Path) -> None:
    write(tmp_path, "m", 'backend: "onnxruntime"')
    (tmp_path / "emulator.yaml").write_text("models: {m: {behaviour: python}}")
    with Emulator(tmp_path, exit_on_error=False) as triton:
        [row] = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    assert row["reason"] == (
        f"Internal: Python model file not found in '{tmp_path}/m/1/model.py', which behaviour 'python' in "
        f"emulator.yaml runs"
    )
