"""The states of a version, and a repository that shows them."""

import threading
from pathlib import Path

import pytest

from emulator.tests.repository.folders import Loader, Model, serve, write_model
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.version_life import TRANSITIONS, Event, Slot, State


def test_a_slot_shows_its_version_its_state_and_the_reason() -> None:
    slot: Slot[object] = Slot("m", 3)
    shown = [repr(slot)]
    for event, reason in ((Event.LOADED, ""), (Event.RELEASED, ""), (Event.ENDED, "unloaded")):
        slot.advance(event, reason)
        shown.append(repr(slot))
    assert shown == [
        "<Slot m:3 LOADING>",
        "<Slot m:3 READY>",
        "<Slot m:3 UNLOADING>",
        "<Slot m:3 UNAVAILABLE: unloaded>",
    ]


def test_a_version_that_failed_keeps_the_reason() -> None:
    slot: Slot[object] = Slot("m", 1)
    slot.advance(Event.FAILED, "Internal: no")
    assert repr(slot) == "<Slot m:1 UNAVAILABLE: Internal: no>"


def test_a_version_never_comes_back() -> None:
    assert not TRANSITIONS[State.UNAVAILABLE]
    slot: Slot[object] = Slot("m", 1)
    slot.advance(Event.FAILED, "no")
    with pytest.raises(KeyError):
        slot.advance(Event.LOADED)


def test_a_repository_shows_its_folders_and_the_states_of_its_versions(tmp_path: Path) -> None:
    write_model(tmp_path, "busy")
    write_model(tmp_path, "good")
    broken = write_model(tmp_path, "broken")
    (broken / "1" / "model.py").write_text("no", encoding="utf-8")
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", load_models=["good", "broken"], loader=loader)
    assert repr(repository) == f"<Repository {tmp_path}: nothing loaded>"
    repository.start()
    assert repr(repository) == f"<Repository {tmp_path}: 1 READY, 1 UNAVAILABLE>"

    for _ in range(2):  # the two models above
        loader.entered.acquire()
    gate = loader.gates["busy"] = threading.Event()
    loading = threading.Thread(target=repository.load, args=("busy",))
    loading.start()
    loader.entered.acquire()
    assert repr(repository) == f"<Repository {tmp_path}: 1 LOADING, 1 READY, 1 UNAVAILABLE>"
    gate.set()
    loading.join()

    model: Model = repository.get("busy")
    model.idle.clear()
    repository.unload("busy")
    assert repr(repository) == f"<Repository {tmp_path}: 1 READY, 1 UNLOADING, 1 UNAVAILABLE>"
    with pytest.raises(TritonError, match="busy"):
        repository.get("busy")
    model.idle.set()
    assert repository.wait_idle(60)
    assert repr(repository) == f"<Repository {tmp_path}: 1 READY, 2 UNAVAILABLE>"
