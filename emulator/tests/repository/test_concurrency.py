"""Many threads at once: lookups, loads, unloads and polls of the same few models."""

import contextlib
import random
import threading
from pathlib import Path

from emulator.tests.repository.folders import Loader, Model, ensemble_config, index_of, serve, write_model
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.repository import Repository


def looked_up(repository: Repository[Model], name: str) -> str:
    """The result of a lookup: "found", or the beginning of the error."""
    try:
        return "found" if repository.get(name).name == name else "another model"
    except TritonError as error:
        return error.message.partition(":")[0]


def loaded(repository: Repository[Model], name: str) -> None:
    """Load a model. Another thread may unload it, or its member, before the load has returned."""
    try:
        repository.load(name)
    except TritonError as error:
        if error.message != f"failed to load '{name}', no version is available":
            raise


def test_many_concurrent_changes_end_in_a_consistent_state(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path, name)
    write_model(tmp_path, "e", ensemble_config("a"))
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", loader=loader)
    repository.start()
    faults: list[BaseException] = []
    found: set[str] = set()

    def storm(seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(60):
                name = draw.choice(("a", "b", "e"))
                match draw.randrange(4):
                    case 0:
                        loaded(repository, name)
                    case 1:
                        repository.unload(name, unload_dependents=draw.random() < 0.5)
                    case 2:
                        index_of(repository)
                    case _:
                        found.add(looked_up(repository, name))
        except BaseException as fault:  # noqa: BLE001
            faults.append(fault)

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert found <= {"found", "Request for unknown model"}
    for name in ("a", "b", "e"):
        repository.load(name)
    assert repository.wait_idle(60)
    assert index_of(repository, ready=True) == [
        {"name": name, "version": "1", "state": "READY"} for name in ("a", "b", "e")
    ]
    assert repository.ready()
    assert repository.close(60)


def test_an_ensemble_waits_for_a_member_that_another_request_is_loading(tmp_path: Path) -> None:
    write_model(tmp_path, "a")
    write_model(tmp_path, "e", ensemble_config("a"))
    loader = Loader()
    gate = loader.gates["a"] = threading.Event()
    repository = serve(tmp_path, mode="explicit", loader=loader)
    repository.start()
    member = threading.Thread(target=repository.load, args=("a",))
    member.start()
    loader.entered.acquire()
    ensemble = threading.Thread(target=repository.load, args=("e",))
    ensemble.start()
    gate.set()
    for thread in (member, ensemble):
        thread.join(60)
    assert loader.loaded == [("a", 1), ("e", 1)]
    assert repository.is_ready("e")


def test_at_most_a_thousand_unknown_names_are_remembered(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    for number in range(1500):
        with contextlib.suppress(TritonError):
            repository.load(f"no{number}")
        repository.unload(f"no{number}")
    assert len(repository.problems) == 1000
    assert repository.status_rows() == []
