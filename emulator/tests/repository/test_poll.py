"""Mode `poll`: models that are added, removed and changed on disk are loaded and unloaded."""

from pathlib import Path

import pytest

from emulator.tests.repository.config_case import BATCHING
from emulator.tests.repository.folders import Loader, ensemble_config, index_of, serve, write_model
from emulator.tests.repository.test_lifecycle import touch
from triton_emulator.protocol.errors import TritonError

READY = {"version": "1", "state": "READY"}


def test_a_new_model_is_loaded_and_one_that_is_gone_unloaded(tmp_path: Path) -> None:
    write_model(tmp_path / "r", "a")
    repository = serve(tmp_path / "r", mode="poll")
    repository.start()
    write_model(tmp_path / "r", "b")
    repository.poll()
    assert index_of(repository) == [{"name": "a", **READY}, {"name": "b", **READY}]
    (tmp_path / "r" / "a").rename(tmp_path / "a")
    repository.poll()
    assert repository.wait_idle(60)
    assert index_of(repository) == [{"name": "b", **READY}]
    with pytest.raises(TritonError, match="'a' has no available versions"):
        repository.get("a")
    assert repository.ready()


def test_nothing_is_loaded_again_while_nothing_changes(tmp_path: Path) -> None:
    write_model(tmp_path, "a")
    loader = Loader()
    repository = serve(tmp_path, mode="poll", loader=loader)
    repository.start()
    repository.poll()
    assert loader.loaded == [("a", 1)]


def test_a_new_version_replaces_the_one_before(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "a")
    repository = serve(tmp_path, mode="poll")
    repository.start()
    (folder / "2").mkdir()
    touch(folder / "2" / "model.py")
    repository.poll()
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "a", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "a", "version": "2", "state": "READY"},
    ]


def test_a_model_whose_config_breaks_goes_on_being_served(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "a")
    repository = serve(tmp_path, mode="poll")
    repository.start()
    touch(folder / "config.pbtxt", "{")
    repository.poll()
    assert index_of(repository) == [{"name": "a", **READY}]
    assert repository.problems["a"].startswith(
        "Poll failed for model directory 'a': failed to read text proto from "
    )
    touch(folder / "config.pbtxt", BATCHING)
    repository.poll()
    assert repository.problems == {}


def test_a_model_that_fails_to_load_again_is_tried_at_every_poll_and_goes_on_being_served(
    tmp_path: Path,
) -> None:
    folder = write_model(tmp_path, "a")
    loader = Loader()
    repository = serve(tmp_path, mode="poll", loader=loader)
    repository.start()
    touch(folder / "1" / "model.py", "Internal: no")
    loader.entered.acquire()
    for _ in range(2):
        repository.poll()
        assert loader.entered.acquire(timeout=60)
        assert index_of(repository) == [{"name": "a", **READY}]


def test_a_model_that_turns_up_in_a_second_repository_is_unloaded_until_it_is_gone_there(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "one", "a")
    (tmp_path / "two").mkdir()
    repository = serve(tmp_path / "one", tmp_path / "two", mode="poll")
    repository.start()
    write_model(tmp_path / "two", "a")
    repository.poll()
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "a", "state": "UNAVAILABLE", "reason": "model appears in two or more repositories"}
    ]
    (tmp_path / "two" / "a").rename(tmp_path / "elsewhere")
    repository.poll()
    assert index_of(repository) == [{"name": "a", **READY}]


def test_an_ensemble_follows_its_member(tmp_path: Path) -> None:
    write_model(tmp_path / "r", "a")
    write_model(tmp_path / "r", "e", ensemble_config("a"))
    repository = serve(tmp_path / "r", mode="poll")
    repository.start()
    (tmp_path / "r" / "a").rename(tmp_path / "a")
    repository.poll()
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "e", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    ]
    (tmp_path / "a").rename(tmp_path / "r" / "a")
    repository.poll()
    assert index_of(repository) == [{"name": "a", **READY}, {"name": "e", **READY}]


def test_only_the_poll_mode_polls(tmp_path: Path) -> None:
    repository = serve(tmp_path)
    repository.start()
    with pytest.raises(TritonError, match="polling is disabled"):
        repository.poll()
