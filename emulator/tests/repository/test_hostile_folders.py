"""Malformed model folders: each gets a clear answer, and the other models are served."""

import os
from pathlib import Path

import pytest

from emulator.tests.repository.config_case import BATCHING
from emulator.tests.repository.folders import index_of, serve, write_model


@pytest.fixture
def repository_folder(tmp_path: Path) -> Path:
    write_model(tmp_path, "good")
    return tmp_path


def test_a_link_to_a_parent_folder_does_not_loop(repository_folder: Path) -> None:
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


def test_files_in_the_repository_folder_are_no_models(repository_folder: Path) -> None:
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


COMMENT = "# nothing to be seen here, move along\n"
TEN_MEGABYTES = {
    "of comments": COMMENT * (10_000_000 // len(COMMENT)),
    "of one text": f'parameters {{ key: "long" value {{ string_value: "{"x" * 10_000_000}" }} }}\n',
}


@pytest.mark.parametrize("text", TEN_MEGABYTES.values(), ids=TEN_MEGABYTES.keys())
def test_a_configuration_of_ten_megabytes_is_read(repository_folder: Path, text: str) -> None:
    write_model(repository_folder, "large", BATCHING + text)
    repository = serve(repository_folder)
    assert repository.start() is None
    assert repository.get("large").config.max_batch_size == repository.get("good").config.max_batch_size


@pytest.mark.parametrize(
    "text, fault",
    [
        (TEN_MEGABYTES["of comments"] + "optimization { priority: many }\n", '"many" for field "priority".'),
        ("parameters { " * 800_000, ' has no field named "parameters".'),
        ("\0" * 10_000_000, ""),
    ],
    ids=["wrong at its end", "never closed", "of zeros"],
)
def test_a_broken_configuration_of_ten_megabytes_is_a_problem_of_that_model_alone(
    repository_folder: Path, text: str, fault: str
) -> None:
    write_model(repository_folder, "large", BATCHING + text)
    repository = serve(repository_folder)
    assert repository.start() is not None
    assert repository.problems["large"].startswith(
        "Poll failed for model directory 'large': failed to read text proto from "
    )
    assert fault in repository.problems["large"]
    assert len(repository.problems["large"]) < 1000
    assert repository.get("good").version == 1
