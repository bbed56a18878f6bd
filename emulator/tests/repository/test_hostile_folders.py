"""Folders that no one would make on purpose: each gets a clear answer, and the others are served."""

import os
from pathlib import Path

import pytest

from emulator.tests.repository.config_case import BATCHING
from emulator.tests.repository.folders import index_of, serve, write_model


@pytest.fixture
def repository_folder(tmp_path: Path) -> Path:
    write_model(tmp_path, "good")
    return tmp_path


def test_a_link_that_leads_back_up_is_not_followed_for_ever(repository_folder: Path) -> None:
    (repository_folder / "good" / "loop").symlink_to(repository_folder)
    (repository_folder / "self").symlink_to(repository_folder / "self")
    repository = serve(repository_folder, mode="poll")
    assert repository.start() is None
    repository.poll()
    assert index_of(repository) == [{"name": "good", "version": "1", "state": "READY"}]


def test_a_linked_model_is_a_model(repository_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = write_model(tmp_path_factory.mktemp("elsewhere"), "linked")
    (repository_folder / "linked").symlink_to(elsewhere)
    repository = serve(repository_folder)
    assert repository.start() is None
    assert repository.get("linked").version == 1


def test_a_config_that_is_a_folder_is_a_problem_of_that_model_alone(repository_folder: Path) -> None:
    (repository_folder / "odd" / "config.pbtxt").mkdir(parents=True)
    repository = serve(repository_folder)
    assert repository.start() is not None
    assert repository.problems == {
        "odd": "Poll failed for model directory 'odd': failed to open text file for read "
        f"{repository_folder}/odd/config.pbtxt: Is a directory"
    }
    assert repository.get("good").version == 1


@pytest.mark.parametrize(
    "name",
    ["n" * 255, "Grüße 日本", "a b", "-", "x'y\"z", "new\nline", os.fsdecode(b"\xff\xfe")],
    ids=["255 bytes", "not ascii", "with a space", "a dash", "with quotes", "with a line feed", "not utf-8"],
)
def test_a_model_may_have_any_name_that_a_folder_can_have(repository_folder: Path, name: str) -> None:
    write_model(repository_folder, name)
    repository = serve(repository_folder)
    repository.start()
    if name.isprintable() or name == "new\nline":
        assert repository.get(name).name == name
        assert name.encode() in repository.metadata_json(name)[:600].replace(b'\\"', b'"').replace(
            b"\\n", b"\n"
        )
    assert repository.get("good").version == 1
    assert {row["name"] for row in index_of(repository)} == {"good", name}


def test_files_beside_the_models_are_no_models(repository_folder: Path) -> None:
    (repository_folder / "README.md").write_text("hello", encoding="utf-8")
    repository = serve(repository_folder)
    assert repository.start() is None
    assert [row["name"] for row in index_of(repository)] == ["good"]


def test_many_versions_and_numbers_beyond_64_bits_are_taken_as_they_are(repository_folder: Path) -> None:
    folder = write_model(
        repository_folder, "many", BATCHING + "version_policy { all { } }\n", versions=range(1, 101)
    )
    (folder / "99999999999999999999").mkdir()
    (folder / "-5").mkdir()
    repository = serve(repository_folder)
    repository.start()
    assert repository.ready_versions("many") == [-5, *range(1, 101)]
