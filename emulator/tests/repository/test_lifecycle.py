"""Loading, serving, replacing and unloading the versions of a model."""

import itertools
import os
import threading
from pathlib import Path

import pytest

from emulator.tests.repository.config_case import BATCHING
from emulator.tests.repository.folders import Loader, index_of, serve, write_model
from triton_emulator.protocol.errors import Code, TritonError

ALL = BATCHING + "version_policy { all { } }\n"
NOT_EXPLICIT = "explicit model load / unload is not allowed if polling is enabled"


_SECONDS = itertools.count(1)


def touch(path: Path, text: str = "") -> None:
    """Write a file so that it is newer than anything written before, however coarse the file system's clock."""
    path.write_text(text, encoding="utf-8")
    later = path.stat().st_mtime_ns + next(_SECONDS) * 1_000_000_000
    os.utime(path, ns=(later, later))


def error_of(call: object, *args: object) -> tuple[Code, str]:
    with pytest.raises(TritonError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code, caught.value.message


def test_in_mode_none_every_model_is_loaded_at_the_start(tmp_path: Path) -> None:
    write_model(tmp_path, "b")
    write_model(tmp_path, "a", ALL, versions=(1, 3))
    repository = serve(tmp_path)
    assert repository.start() is None
    assert index_of(repository) == [
        {"name": "a", "version": "1", "state": "READY"},
        {"name": "a", "version": "3", "state": "READY"},
        {"name": "b", "version": "1", "state": "READY"},
    ]
    assert repository.ready_versions("a") == [1, 3]
    assert [(served.name, served.version) for served in repository.all_served()] == [
        ("a", 1),
        ("a", 3),
        ("b", 1),
    ]
    assert repository.ready()


def test_the_newest_ready_version_answers_a_request_that_names_none(tmp_path: Path) -> None:
    write_model(tmp_path, "m", ALL, versions=(2, 10, 9))
    repository = serve(tmp_path)
    repository.start()
    assert [repository.get("m", version).version for version in ("", "2", "9", "10", "02")] == [
        10,
        2,
        9,
        10,
        2,
    ]


@pytest.mark.parametrize(
    "name, version, code, message",
    [
        ("nope", "", Code.NOT_FOUND, "Request for unknown model: 'nope' is not found"),
        ("nope", "1", Code.NOT_FOUND, "Request for unknown model: 'nope' is not found"),
        ("good", "9", Code.NOT_FOUND, "Request for unknown model: 'good' version 9 is not found"),
        ("good", "0", Code.NOT_FOUND, "Request for unknown model: 'good' version 0 is not found"),
        ("bad", "", Code.NOT_FOUND, "Request for unknown model: 'bad' has no available versions"),
        ("bad", "1", Code.UNAVAILABLE, "Request for unknown model: 'bad' version 1 is not at ready state"),
        (
            "good", "9223372036854775808", Code.INVALID_ARG,
            ("failed to get model version from specified version string '9223372036854775808' (details: stol), "
            "version should be an integral value > 0"),
        ),
        (
            "good", "abc", Code.INVALID_ARG,
            ("failed to get model version from specified version string 'abc' (details: stol), "
            "version should be an integral value > 0"),
        ),
        (
            "good", "-1", Code.INVALID_ARG,
            "invalid model version specified '-1' , version should be an integral value > 0",
        ),
    ],
)  # fmt: skip
def test_a_lookup_that_fails_says_why(
    tmp_path: Path, name: str, version: str, code: Code, message: str
) -> None:
    write_model(tmp_path, "good")
    (write_model(tmp_path, "bad") / "1" / "model.py").write_text("Internal: no\n")
    repository = serve(tmp_path)
    repository.start()
    assert error_of(repository.get, name, version) == (code, message)
    assert error_of(repository.config_json, name, version) == (code, message)


def test_a_model_that_fails_to_load_is_listed_with_its_reason_and_makes_the_server_unready(
    tmp_path: Path,
) -> None:
    write_model(tmp_path, "good")
    (write_model(tmp_path, "bad") / "1" / "model.py").write_text("Internal: RuntimeError: no\n\nAt:\n  x\n")
    repository = serve(tmp_path)
    error = repository.start()
    assert error is not None
    assert (error.code, error.message) == (Code.INTERNAL, "failed to load all models")
    assert index_of(repository) == [
        {
            "name": "bad",
            "version": "1",
            "state": "UNAVAILABLE",
            "reason": "Internal: RuntimeError: no\n\nAt:\n  x\n",
        },
        {"name": "good", "version": "1", "state": "READY"},
    ]
    assert repository.status_table() == (
        "\n+-------+---------+-----------------------------------------+\n"
        "| Model | Version | Status                                  |\n"
        "+-------+---------+-----------------------------------------+\n"
        "| bad   | 1       | UNAVAILABLE: Internal: RuntimeError: no |\n"
        "|       |         |                                         |\n"
        "|       |         | At:                                     |\n"
        "|       |         |   x                                     |\n"
        "| good  | 1       | READY                                   |\n"
        "+-------+---------+-----------------------------------------+\n"
    )
    assert not repository.ready()
    assert repository.is_ready("good")
    assert not repository.is_ready("bad")


def test_without_strict_readiness_a_failed_model_does_not_make_the_server_unready(tmp_path: Path) -> None:
    (write_model(tmp_path, "bad") / "1" / "model.py").write_text("no")
    repository = serve(tmp_path, strict_readiness=False)
    assert repository.start() is not None
    assert repository.ready()


def test_a_folder_without_a_version_is_in_the_table_but_not_in_the_index(tmp_path: Path) -> None:
    write_model(tmp_path, "m", versions=())
    repository = serve(tmp_path)
    assert repository.start() is not None
    assert repository.status_rows() == [("m", "-", "Not loaded: No model version was found")]
    assert index_of(repository) == []
    assert error_of(repository.get, "m")[1] == "Request for unknown model: 'm' has no available versions"
    assert not repository.ready()


def test_a_config_that_cannot_be_read_is_a_problem_and_the_server_stays_ready(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "backend: 'python'\nfoo: 1\n")
    repository = serve(tmp_path)
    assert repository.start() is not None
    assert repository.problems == {
        "m": "Poll failed for model directory 'm': failed to read text proto from "
        f'{tmp_path}/m/config.pbtxt:2:4: Message type "inference.ModelConfig" has no field named "foo".'
    }
    assert repository.status_rows() == []
    assert index_of(repository) == [{"name": "m"}]
    assert repository.ready()


def test_one_name_in_two_repositories_is_served_from_neither(tmp_path: Path) -> None:
    write_model(tmp_path / "one", "m")
    write_model(tmp_path / "two", "m")
    write_model(tmp_path / "two", "n")
    repository = serve(tmp_path / "one", tmp_path / "two")
    assert repository.start() is not None
    assert index_of(repository) == [
        {"name": "m", "state": "UNAVAILABLE", "reason": "model appears in two or more repositories"},
        {"name": "n", "version": "1", "state": "READY"},
    ]
    assert repository.problems == {"m": "failed to poll model 'm': not unique across all model repositories"}


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_only_the_explicit_mode_loads_and_unloads_on_request(tmp_path: Path, mode: str) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode=mode)  # type: ignore[arg-type]
    repository.start()
    assert error_of(repository.load, "m") == (Code.UNAVAILABLE, NOT_EXPLICIT)
    assert error_of(repository.unload, "m") == (Code.UNAVAILABLE, NOT_EXPLICIT)


def test_the_explicit_mode_starts_with_the_models_of_load_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path, name)
    repository = serve(tmp_path, mode="explicit", load_models=["b"])
    assert repository.start() is None
    assert index_of(repository) == [{"name": "a"}, {"name": "b", "version": "1", "state": "READY"}]
    assert index_of(repository, ready=True) == [{"name": "b", "version": "1", "state": "READY"}]


def test_a_star_loads_all_models_and_stands_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path, name)
    everything = serve(tmp_path, mode="explicit", load_models=["*"])
    assert everything.start() is None
    assert len(everything.all_served()) == 2
    mixed = serve(tmp_path, mode="explicit", load_models=["*", "a"])
    assert error_of(mixed.start) == (
        Code.INVALID_ARG, "Wildcard model name '*' must be the ONLY startup model if specified at all.",
    )  # fmt: skip


def test_a_start_up_model_that_is_not_there_fails_the_start(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit", load_models=["nope"])
    assert repository.start() is not None
    assert repository.problems == {
        "nope": "failed to poll model 'nope': model not found in any model repository."
    }


def test_a_repository_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert error_of(serve(tmp_path / "no").start) == (Code.INTERNAL, f"failed to stat file {tmp_path}/no")
    (tmp_path / "file").write_text("")
    assert error_of(serve(tmp_path / "file").start) == (
        Code.INVALID_ARG, "repository path is not a valid directory",
    )  # fmt: skip


def test_a_repository_that_goes_away_fails_the_index(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    repository = serve(tmp_path / "r")
    repository.start()
    (tmp_path / "r").rmdir()
    assert error_of(repository.index) == (Code.INTERNAL, f"failed to open directory {tmp_path}/r")


def test_an_unchanged_model_is_not_loaded_twice_and_a_changed_one_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", loader=loader)
    repository.start()
    repository.load("m")
    repository.load("m")
    assert loader.loaded == [("m", 1)]
    touch(folder / "1" / "weights")
    repository.load("m")
    assert loader.loaded == [("m", 1), ("m", 1)]


def test_a_config_that_is_newer_but_says_the_same_loads_nothing(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", load_models=["m"], loader=loader)
    repository.start()
    model = repository.get("m")
    touch(folder / "config.pbtxt", "# the same\n" + BATCHING)
    repository.load("m")
    assert repository.get("m") is model
    touch(folder / "labels.txt")
    repository.load("m")
    assert repository.get("m") is not model


def test_a_version_that_comes_along_does_not_load_the_others_again(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m", ALL)
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", load_models=["m"], loader=loader)
    repository.start()
    (folder / "2").mkdir()
    touch(folder / "2" / "model.py")
    repository.load("m")
    assert loader.loaded == [("m", 1), ("m", 2)]
    assert repository.ready_versions("m") == [1, 2]


def test_an_unloaded_model_stays_listed_and_the_server_stays_ready(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    model = repository.get("m")
    repository.unload("m")
    assert repository.wait_idle(60)
    assert model.finalized
    assert index_of(repository) == [
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    ]
    assert error_of(repository.get, "m") == (
        Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions",
    )  # fmt: skip
    assert repository.ready()
    repository.load("m")
    assert repository.get("m") is not model


def test_a_version_is_unloading_until_its_last_request_is_done(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    model = repository.get("m")
    model.idle.clear()
    repository.unload("m")
    assert index_of(repository) == [{"name": "m", "version": "1", "state": "UNLOADING"}]
    assert not repository.ready()
    assert not repository.wait_idle(0)
    model.idle.set()
    assert repository.wait_idle(60)
    assert repository.ready()


def test_unloading_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    repository.unload("nope")
    assert index_of(repository) == []


def test_loading_what_is_not_there_is_an_internal_error(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    assert error_of(repository.load, "nope") == (
        Code.INTERNAL, "failed to load 'nope', failed to poll from model repository",
    )  # fmt: skip


def test_the_old_instance_serves_until_the_new_one_is_ready_and_finishes_its_requests(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", load_models=["m"], loader=loader)
    repository.start()
    old = repository.get("m")
    old.idle.clear()
    touch(folder / "1" / "weights")
    gate = loader.gates["m"] = threading.Event()
    loader.entered.acquire()
    reload = threading.Thread(target=repository.load, args=("m",))
    reload.start()
    loader.entered.acquire()
    assert repository.get("m") is old
    assert index_of(repository) == [{"name": "m", "version": "1", "state": "READY"}]
    gate.set()
    reload.join(60)
    assert repository.get("m") is not old
    assert not old.finalized
    assert index_of(repository) == [{"name": "m", "version": "1", "state": "READY"}]
    old.idle.set()
    assert repository.wait_idle(60)
    assert old.finalized


def test_a_reload_that_fails_leaves_the_old_version_serving(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    old = repository.get("m")
    touch(folder / "1" / "model.py", "Internal: no")
    for _ in range(2):  # the second attempt is made, though nothing has changed since the first
        assert error_of(repository.load, "m") == (
            Code.INVALID_ARG, "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: no;\n",
        )  # fmt: skip
    assert repository.get("m") is old
    assert index_of(repository) == [{"name": "m", "version": "1", "state": "READY"}]
    assert repository.ready()
    touch(folder / "1" / "model.py")
    repository.load("m")
    assert repository.get("m") is not old


def test_one_version_that_fails_makes_the_others_of_the_same_load_fail(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m", ALL, versions=(1, 2))
    (folder / "2" / "model.py").write_text("Internal: no")
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    assert error_of(repository.load, "m")[1] == (
        "load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: no;\n"
    )
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "Internal: no"},
    ]


def test_a_version_that_the_policy_no_longer_picks_is_unloaded_and_stays_listed(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m", ALL, versions=(1, 2))
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    touch(folder / "config.pbtxt", BATCHING)
    repository.load("m")
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "m", "version": "2", "state": "READY"},
    ]


def test_models_are_loaded_side_by_side(tmp_path: Path) -> None:
    loader = Loader()
    both_in = threading.Barrier(2)
    for name in ("a", "b"):
        write_model(tmp_path, name)

    class Meeting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            both_in.wait(timeout)
            return True

    loader.gates = {"a": Meeting(), "b": Meeting()}
    repository = serve(tmp_path, loader=loader)
    assert repository.start() is None


def test_while_a_model_loads_the_server_is_not_ready_and_other_models_are_loaded_and_served(
    tmp_path: Path,
) -> None:
    loader = Loader()
    gate = loader.gates["slow"] = threading.Event()
    write_model(tmp_path, "slow")
    write_model(tmp_path, "quick")
    repository = serve(tmp_path, mode="explicit", loader=loader)
    repository.start()
    load = threading.Thread(target=repository.load, args=("slow",))
    load.start()
    loader.entered.acquire()
    assert index_of(repository) == [{"name": "quick"}, {"name": "slow", "version": "1", "state": "LOADING"}]
    assert not repository.ready()
    assert error_of(repository.get, "slow", "1")[1] == (
        "Request for unknown model: 'slow' version 1 is not at ready state"
    )
    repository.load("quick")
    assert repository.get("quick").version == 1
    gate.set()
    load.join(60)
    assert repository.get("slow").version == 1
    assert repository.ready()


def test_an_unload_waits_for_the_load_of_the_same_model(tmp_path: Path) -> None:
    loader = Loader()
    gate = loader.gates["m"] = threading.Event()
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", loader=loader)
    repository.start()
    load = threading.Thread(target=repository.load, args=("m",))
    load.start()
    loader.entered.acquire()
    unload = threading.Thread(target=repository.unload, args=("m",))
    unload.start()
    gate.set()
    for thread in (load, unload):
        thread.join(60)
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    ]


def test_closing_ends_every_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path, name)
    repository = serve(tmp_path)
    repository.start()
    models = [served.loaded for served in repository.all_served()]
    assert repository.close(60)
    assert [model.finalized for model in models] == [True, True]
    assert repository.all_served() == []


def test_a_model_whose_finalize_raises_is_unloaded_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()

    def broken() -> None:
        raise RuntimeError("finalize")

    repository.get("m").finalize = broken  # type: ignore[method-assign]
    repository.unload("m")
    assert repository.wait_idle(60)
    assert index_of(repository)[0]["reason"] == "unloaded"
