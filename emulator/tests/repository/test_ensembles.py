"""Ensembles and their members: the order of loads, and how a change of a member changes its ensembles."""

from pathlib import Path

import pytest

from emulator.tests.repository.config_case import BATCHING
from emulator.tests.repository.folders import Loader, ensemble_config, index_of, serve, write_model
from emulator.tests.repository.test_lifecycle import touch
from triton_emulator.protocol.errors import TritonError


def states(repository: object) -> dict[str, str]:
    return {row["name"]: row.get("state", "") for row in index_of(repository)}  # type: ignore[arg-type]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """`a` is a model, `e1` an ensemble over it, `e2` one over `e1`."""
    write_model(tmp_path, "a")
    write_model(tmp_path, "e1", ensemble_config("a"))
    write_model(tmp_path, "e2", ensemble_config("e1"))
    return tmp_path


def test_members_are_loaded_before_the_ensembles_over_them(chain: Path) -> None:
    loader = Loader()
    repository = serve(chain, loader=loader)
    assert repository.start() is None
    assert loader.loaded == [("a", 1), ("e1", 1), ("e2", 1)]


def test_loading_an_ensemble_loads_its_members(chain: Path) -> None:
    repository = serve(chain, mode="explicit")
    repository.start()
    repository.load("e2")
    assert states(repository) == {"a": "READY", "e1": "READY", "e2": "READY"}


def test_unloading_a_member_makes_its_ensembles_unavailable_and_loading_it_makes_them_ready(
    chain: Path,
) -> None:
    repository = serve(chain, mode="explicit", load_models=["e2"])
    repository.start()
    repository.unload("a")
    assert repository.wait_idle(60)
    assert states(repository) == {"a": "UNAVAILABLE", "e1": "UNAVAILABLE", "e2": "UNAVAILABLE"}
    assert repository.ready()
    repository.load("a")
    assert states(repository) == {"a": "READY", "e1": "READY", "e2": "READY"}


def test_unloading_an_ensemble_leaves_its_members(chain: Path) -> None:
    repository = serve(chain, mode="explicit", load_models=["e2"])
    repository.start()
    repository.unload("e2")
    assert repository.wait_idle(60)
    assert states(repository) == {"a": "READY", "e1": "READY", "e2": "UNAVAILABLE"}


def test_unloading_with_dependents_unloads_the_members_that_the_ensemble_loaded(chain: Path) -> None:
    repository = serve(chain, mode="explicit", load_models=["e2"])
    repository.start()
    repository.unload("e2", unload_dependents=True)
    assert repository.wait_idle(60)
    assert states(repository) == {"a": "UNAVAILABLE", "e1": "UNAVAILABLE", "e2": "UNAVAILABLE"}


def test_unloading_with_dependents_keeps_a_member_that_was_loaded_by_name(chain: Path) -> None:
    repository = serve(chain, mode="explicit", load_models=["e2", "a"])
    repository.start()
    repository.unload("e2", unload_dependents=True)
    assert repository.wait_idle(60)
    assert states(repository) == {"a": "READY", "e1": "UNAVAILABLE", "e2": "UNAVAILABLE"}


def test_unloading_with_dependents_keeps_a_member_that_another_ensemble_needs(chain: Path) -> None:
    write_model(chain, "other", ensemble_config("a"))
    repository = serve(chain, mode="explicit", load_models=["e2", "other"])
    repository.start()
    repository.unload("e2", unload_dependents=True)
    assert repository.wait_idle(60)
    assert states(repository) == {"a": "READY", "e1": "UNAVAILABLE", "e2": "UNAVAILABLE", "other": "READY"}


def test_a_changed_member_is_loaded_again_with_the_ensembles_over_it(chain: Path) -> None:
    loader = Loader()
    repository = serve(chain, mode="explicit", load_models=["e2"], loader=loader)
    repository.start()
    touch(chain / "a" / "1" / "weights")
    repository.load("a")
    assert loader.loaded[3:] == [("a", 1), ("e1", 1), ("e2", 1)]


@pytest.mark.parametrize(
    "broken, reason",
    [
        ("missing", "ensemble missing contains models that are not available or ambiguous: zzz"),
        ("loop_a", "circular dependency between ensembles: loop_a -> ... -> loop_b -> loop_a"),
        ("loop_b", "circular dependency between ensembles: loop_b -> ... -> loop_a -> loop_b"),
        ("myself", "circular dependency between ensembles: myself -> ... -> myself -> myself"),
        (
            "below",
            ("ensemble 'below' depends on 'missing' which is not valid. Model 'missing' failed with error: "
            "ensemble missing contains models that are not available or ambiguous: zzz"),
        ),
        (
            "failing",
            ("ensemble 'failing' depends on 'fails' which has no loaded version. Model 'fails' loading failed with "
            "error: version 1 is at UNAVAILABLE state: Internal: no;"),
        ),
        (
            "unversioned",
            ("ensemble 'unversioned' depends on 'empty' which has no loaded version. Model 'empty' loading failed with "
            "error: at least one version must be available under the version policy of model 'empty'"),
        ),
        ("wants_9", "ensemble 'wants_9' depends on 'good' whose required version 9 is not loaded."),
        ("near_a_loop", ("ensemble 'near_a_loop' depends on 'loop_a' which is not valid. Model 'loop_a' failed with "
         "error: circular dependency between ensembles: loop_a -> ... -> loop_b -> loop_a")),
    ],
)  # fmt: skip
def test_an_invalid_ensemble_gives_its_reason(tmp_path: Path, broken: str, reason: str) -> None:
    write_model(tmp_path, "good")
    (write_model(tmp_path, "fails") / "1" / "model.py").write_text("Internal: no")
    write_model(tmp_path, "empty", versions=())
    for name, member in (
        ("missing", "zzz"), ("loop_a", "loop_b"), ("loop_b", "loop_a"), ("myself", "myself"), ("below", "missing"),
        ("failing", "fails"), ("unversioned", "empty"), ("near_a_loop", "loop_a"),
    ):  # fmt: skip
        write_model(tmp_path, name, ensemble_config(member))
    write_model(tmp_path, "wants_9", ensemble_config("good", version=9))
    repository = serve(tmp_path)
    assert repository.start() is not None
    assert repository.problems[broken] == f"Invalid argument: {reason}"
    assert {"name": broken} in index_of(repository)


def test_an_ensemble_over_a_decoupled_model_is_decoupled(tmp_path: Path) -> None:
    write_model(tmp_path, "a", BATCHING + "model_transaction_policy { decoupled: true }\n")
    write_model(tmp_path, "e", ensemble_config("a"))
    write_model(tmp_path, "plain")
    write_model(tmp_path, "f", ensemble_config("plain"))
    repository = serve(tmp_path)
    assert repository.start() is None
    assert repository.served("e").config.decoupled
    assert not repository.served("f").config.decoupled


def test_an_ensemble_has_the_labels_of_the_member_that_writes_its_output(tmp_path: Path) -> None:
    labelled = BATCHING.replace('name: "OUT"', 'name: "OUT" label_filename: "labels.txt"')
    (write_model(tmp_path, "a", labelled) / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    write_model(tmp_path, "e", ensemble_config("a"))
    repository = serve(tmp_path)
    repository.start()
    assert repository.served("a").labels == {"OUT": (b"cat", b"dog")}
    assert repository.served("e").labels == {"OUT": (b"cat", b"dog")}


def test_an_ensemble_over_a_member_that_was_loaded_and_then_broke_can_still_be_loaded(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "a")
    write_model(tmp_path, "e", ensemble_config("a"))
    repository = serve(tmp_path, mode="explicit", load_models=["a"])
    repository.start()
    touch(folder / "1" / "model.py", "Internal: no")
    with pytest.raises(TritonError):
        repository.load("a")
    repository.load("e")
    assert states(repository) == {"a": "READY", "e": "READY"}
