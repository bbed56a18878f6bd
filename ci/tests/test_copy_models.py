"""ci/copy_models: models that are copies of one source stay equal to it, and every copy is listed."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "copy_models"
CODE = "\n".join(f"line = {number}" for number in range(12)) + "\n"
TABLE = """
["benchmarks/code.py"]
"benchmarks/models" = "one two/3"
"""
ONE, TWO = "benchmarks/models/one/1/model.py", "benchmarks/models/two/3/model.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two models that are copies of one source."""
    (tmp_path / "ci").mkdir()
    shutil.copy2(SCRIPT, tmp_path / "ci")
    (tmp_path / "ci/model_copies.toml").write_text(TABLE)
    for name in ("benchmarks/code.py", ONE, TWO):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(CODE)
    return tmp_path


def copy_models(project: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run([project / "ci/copy_models", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_models_of_this_project_are_what_their_sources_say() -> None:
    assert copy_models(SCRIPT.parents[1], "--check") == (0, "", "")


def test_copies_that_are_equal_are_left_alone(project: Path) -> None:
    assert copy_models(project, "--check") == copy_models(project) == (0, "", "")


def test_a_copy_that_was_edited_is_named_and_not_touched(project: Path) -> None:
    (project / TWO).write_text("edited")
    told = (
        f"ci/copy_models: {TWO} is no copy of benchmarks/code.py: edit the source, then run ci/copy_models\n"
    )
    assert copy_models(project, "--check") == (1, "", told)
    assert (project / TWO).read_text() == "edited"


def test_a_changed_source_is_written_to_all_its_copies(project: Path) -> None:
    (project / "benchmarks/code.py").write_text(CODE + "more = 1\n")
    (project / ONE).unlink()
    assert copy_models(project) == (0, f"{ONE} written\n{TWO} written\n", "")
    assert (project / ONE).read_text() == (project / TWO).read_text() == CODE + "more = 1\n"


def test_a_copy_that_is_not_listed_is_named(project: Path) -> None:
    other = project / "benchmarks/models/other/1/model.py"
    other.parent.mkdir(parents=True)
    other.write_text(CODE)
    told = (
        "benchmarks/models/other/1/model.py holds the code of another model: list it in ci/model_copies.toml"
    )
    assert copy_models(project, "--check") == (1, "", f"ci/copy_models: {told}\n")


def test_a_link_to_a_source_and_short_models_need_no_line(project: Path) -> None:
    for name in ("a", "b", "link"):
        (project / f"benchmarks/models/{name}/1").mkdir(parents=True)
    for name in ("a", "b"):
        (project / f"benchmarks/models/{name}/1/model.py").write_text("class TritonPythonModel: ...\n")
    (project / "benchmarks/models/link/1/model.py").symlink_to(project / "benchmarks/code.py")
    assert copy_models(project, "--check") == (0, "", "")
