"""Names and paths that versions after 2.51 refuse. Each test names the source that its expectation was read in."""

from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.settings import TritonVersion

PROGRAM = """
class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError
"""
TENSORS = (
    'input { name: "X" data_type: TYPE_FP32 dims: 1 } output { name: "Y" data_type: TYPE_FP32 dims: 1 %s }'
)


def reason(repository: Path, version: TritonVersion, model: str) -> str:
    """Why a model does not load; empty where it does."""
    with Emulator(
        repository, triton_version=version, allow_grpc=False, allow_metrics=False, exit_on_error=False
    ) as emulator:
        index = httpx.post(f"{emulator.http_url}/v2/repository/index").json()
    row = next(row for row in index if row["name"] == model)
    return "" if row["state"] == "READY" else str(row["reason"])


def write(repository: Path, name: str, config: str = "") -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "1" / "model.py").write_text(PROGRAM, encoding="utf-8")
    text = f'backend: "python" {config} {TENSORS % ""}'
    (repository / name / "config.pbtxt").write_text(text, encoding="utf-8")


# --- names of stub processes: python_backend r25.08, src/stub_launcher.cc ---

BAD_NAME = "Invalid argument: Invalid stub name: contains invalid characters"


@pytest.mark.parametrize("name", ["a(1)", "a'b", "what?", "a$b", "a#", "~a", "a\\b"])
def test_from_2_60_a_python_model_has_no_such_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert reason(tmp_path, "2.60.0", name) == BAD_NAME


def test_until_2_59_it_may_have_one(tmp_path: Path) -> None:
    write(tmp_path, "a(1)")
    assert reason(tmp_path, "2.59.1", "a(1)") == ""


def test_from_2_60_nor_has_an_instance(tmp_path: Path) -> None:
    write(tmp_path, "m", 'instance_group { name: "two words" kind: KIND_CPU }')
    write(tmp_path, "n", 'instance_group [ { name: "ok" kind: KIND_CPU }, { name: "a*b" kind: KIND_CPU } ]')
    assert reason(tmp_path, "2.60.0", "m") == ""
    assert reason(tmp_path, "2.60.0", "n") == BAD_NAME


# --- files of labels: core r26.02, src/model.cc; core r26.06, src/filesystem/api.cc ---


def labelled(repository: Path, file: str) -> None:
    for folder in ("m", "m2", "other"):
        (repository / folder / "1").mkdir(parents=True)
        (repository / folder / "labels.txt").write_text("a\n", encoding="utf-8")
    (repository / "m" / "1" / "model.py").write_text(PROGRAM, encoding="utf-8")
    text = 'backend: "python" ' + TENSORS % f'label_filename: "{file}"'
    (repository / "m" / "config.pbtxt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "file", "loads"),
    [
        ("2.65.0", "../other/labels.txt", True),
        ("2.66.0", "labels.txt", True),
        ("2.66.0", "1/../labels.txt", True),
        ("2.66.0", "../other/labels.txt", False),
        ("2.69.0", "../m2/labels.txt", True),
        ("2.70.0", "../m2/labels.txt", False),
        ("2.70.0", "labels.txt", True),
    ],
)
def test_from_2_66_labels_are_in_the_models_folder(
    tmp_path: Path, version: TritonVersion, file: str, loads: bool
) -> None:
    labelled(tmp_path, file)
    told = (
        f"Unsupported: label file path '{tmp_path}/m/{file}' for output 'Y' in model 'm' is outside model "
        "directory"
    )
    assert reason(tmp_path, version, "m") == ("" if loads else told)
