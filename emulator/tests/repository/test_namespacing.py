"""Model namespacing: one name may stand in several repositories."""

from pathlib import Path

import pytest

from emulator.tests.repository.folders import ensemble_config, index_of, serve, write_model
from triton_emulator.protocol.errors import Code, TritonError

READY = {"version": "1", "state": "READY"}


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A repository with `a`, `dup` and an ensemble over `dup`."""
    write_model(tmp_path / "one", "a")
    write_model(tmp_path / "one", "dup")
    write_model(tmp_path / "one", "e", ensemble_config("dup"))
    return tmp_path / "one"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A repository with `b`, another `dup` and an ensemble over the other repository's `a`."""
    write_model(tmp_path / "two", "b")
    write_model(tmp_path / "two", "dup")
    write_model(tmp_path / "two", "e2", ensemble_config("a"))
    return tmp_path / "two"


def test_both_models_of_a_name_are_served_and_listed_by_repository(one: Path, two: Path) -> None:
    repository = serve(one, two, namespacing=True)
    assert repository.start() is None
    assert index_of(repository) == [{"name": name, **READY} for name in ("a", "dup", "e", "b", "dup", "e2")]
    assert [row[0] for row in repository.status_rows()] == [
        f"{one}::a", f"{one}::dup", f"{one}::e", f"{two}::b", f"{two}::dup", f"{two}::e2",
    ]  # fmt: skip
    assert repository.ready()


def test_an_ensemble_means_the_member_of_its_own_repository_else_the_only_one(one: Path, two: Path) -> None:
    repository = serve(one, two, namespacing=True)
    repository.start()
    assert f'"model_namespace":"{one}"'.encode() in repository.config_json("e")
    assert f'"model_namespace":"{one}"'.encode() in repository.config_json("e2")


@pytest.mark.parametrize(
    "name, code, message",
    [
        ("zz", Code.INVALID_ARG, "Request for unknown model: 'zz' is not found"),
        (
            "dup",
            Code.INVALID_ARG,
            (
                "There are 2 identifiers of model 'dup' in global map, model namespace must be provided to resolve "
                "ambiguity."
            ),
        ),
    ],
)
def test_a_name_that_means_no_model_or_two_is_refused(
    one: Path, two: Path, name: str, code: Code, message: str
) -> None:
    repository = serve(one, two, namespacing=True)
    repository.start()
    for call in (repository.get, repository.metadata_json, repository.config_json):
        with pytest.raises(TritonError) as caught:
            call(name)
        assert (caught.value.code, caught.value.message) == (code, message)
    assert not repository.is_ready(name)
    assert repository.ready_versions(name) == []


def test_a_name_that_means_one_model_is_answered_as_ever(one: Path, two: Path) -> None:
    repository = serve(one, two, namespacing=True)
    repository.start()
    assert repository.get("b").directory == two / "b"
    assert repository.get("b", "1") is repository.get("b")
    assert repository.is_ready("b", "1")
    assert repository.ready_versions("b") == [1]
    with pytest.raises(TritonError) as caught:
        repository.get("b", "7")
    assert caught.value.message == f"Request for unknown model: '{two}::b' version 7 is not found"


def test_loading_and_unloading_a_name_means_every_model_of_it(one: Path, two: Path) -> None:
    repository = serve(one, two, mode="explicit", namespacing=True)
    repository.start()
    repository.load("dup")
    assert index_of(repository, ready=True) == [{"name": "dup", **READY}, {"name": "dup", **READY}]
    repository.unload("dup")
    assert repository.wait_idle(60)
    assert index_of(repository, ready=True) == []
    with pytest.raises(TritonError) as caught:
        repository.get("dup")
    assert (caught.value.code, caught.value.message) == (
        Code.NOT_FOUND, "Identifier of model 'dup' is not found in global map",
    )  # fmt: skip


def test_a_failure_names_the_repository(one: Path, two: Path) -> None:
    (two / "dup" / "1" / "model.py").write_text("Internal: no")
    repository = serve(one, two, mode="explicit", namespacing=True)
    repository.start()
    with pytest.raises(TritonError) as caught:
        repository.load("dup")
    assert caught.value.message == (
        f"load failed for model '{two}::dup': version 1 is at UNAVAILABLE state: Internal: no;\n"
    )
