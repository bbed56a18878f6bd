"""Cases that change the repository: each gets a copy of it, and the changes are made there."""

from pathlib import Path

import pytest

from triton_contract.cases.case import Edit
from triton_contract.playing.repository_files import change, copied


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A repository of one model with one version."""
    folder = tmp_path / "models"
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "config.pbtxt").write_text("old")
    (folder / "m" / "1" / "model.py").write_text("X = 1\n")
    return folder


def texts(repository: Path) -> dict[str, str]:
    """All files but bytecode, by path."""
    files = [path for path in repository.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(repository)): path.read_text() for path in files}


def bytecode(repository: Path) -> list[str]:
    return sorted(str(path.parents[1].relative_to(repository)) for path in repository.rglob("*.pyc"))


def test_a_case_changes_its_copy_alone(original: Path) -> None:
    with copied(original) as copy:
        change(copy, Edit(write={"m/config.pbtxt": "new"}))
        assert texts(copy) == {"m/config.pbtxt": "new", "m/1/model.py": "X = 1\n"}
    assert texts(original) == {"m/config.pbtxt": "old", "m/1/model.py": "X = 1\n"}
    assert not copy.exists()


def test_files_are_written_into_folders_that_are_there_and_others_and_come_with_bytecode(
    original: Path,
) -> None:
    with copied(original) as copy:
        change(copy, Edit(write={"m/1/model.py": "X = 2\n", "m/2/model.py": "X = 3\n", "n/1/model.py": ""}))
        assert texts(copy) == {
            "m/config.pbtxt": "old",
            "m/1/model.py": "X = 2\n",
            "m/2/model.py": "X = 3\n",
            "n/1/model.py": "",
        }
        assert bytecode(copy) == ["m/1", "m/2", "n/1"]


def test_files_and_folders_are_removed(original: Path) -> None:
    with copied(original) as copy:
        change(copy, Edit(remove=("m/config.pbtxt", "m/1")))
        assert texts(copy) == {}


def test_a_server_that_others_run_has_no_repository_to_change() -> None:
    with pytest.raises(LookupError, match="only a server that is started for the case"):
        change(None, Edit(remove=("m",)))
