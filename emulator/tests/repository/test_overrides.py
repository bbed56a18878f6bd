"""Loading with a config or files in the request."""

import json
from pathlib import Path

import pytest

from emulator.tests.repository.folders import Loader, index_of, serve, write_model
from emulator.tests.repository.test_lifecycle import touch
from triton_emulator.protocol.errors import Code, TritonError

CONFIG = json.dumps(
    {
        "backend": "python",
        "max_batch_size": 2,
        "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "OUT", "data_type": "type_fp32", "dims": ["4"]}],
        "instance_group": [{"kind": "kind-cpu"}],
    }
)
NOT_POLLED = "failed to load 'm', failed to poll from model repository"


def test_a_config_in_the_request_is_used_until_the_files_change(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    loader = Loader()
    repository = serve(tmp_path, mode="explicit", loader=loader)
    repository.start()
    repository.load("m", {"config": CONFIG})
    assert repository.served("m").config.max_batch_size == 2
    # 2.51: a plain load does not go back to the file, which has not changed
    repository.load("m")
    assert repository.served("m").config.max_batch_size == 2
    assert len(loader.loaded) == 1
    touch(folder / "config.pbtxt", (folder / "config.pbtxt").read_text())
    repository.load("m")
    assert repository.served("m").config.max_batch_size == 8


@pytest.mark.parametrize(
    "config",
    [
        "", "{", "[]", "null", "3", '"x"', '{"backend":"python","foo":1}', '{"name":"b","backend":"python"}',
        '{"backend":"python","max_batch_size":"x"}', '{"backend":"python","max_batch_size":-1}',
        '{"backend":"python","model_metrics":{}}', '{"backend":"python","input":[{"data_type":"TYPE_NOPE"}]}',
        '{"input":' + "[" * 5000 + "]" * 5000 + "}",
        '{"sequence_batching":{"direct":{"minimum_slot_utilization":"' + "1" * 500_000 + 'x"}}}',
    ],
)  # fmt: skip
def test_a_config_that_is_none_is_an_internal_error_and_changes_nothing(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    model = repository.get("m")
    with pytest.raises(TritonError) as caught:
        repository.load("m", {"config": config})
    assert (caught.value.code, caught.value.message) == (Code.INTERNAL, NOT_POLLED)
    assert repository.get("m") is model


def test_a_config_may_name_fields_as_protobufs_json_does(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    repository.load("m", {"config": '{"backend":"python","maxBatchSize":3}'})
    assert repository.served("m").config.max_batch_size == 3


def test_a_config_that_picks_no_version_fails_and_the_old_one_stays(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    with pytest.raises(TritonError) as caught:
        repository.load(
            "m", {"config": '{"backend":"python","version_policy":{"specific":{"versions":["7"]}}}'}
        )
    assert (caught.value.code, caught.value.message) == (
        Code.INVALID_ARG,
        "load failed for model 'm': at least one version must be available under the version policy of model 'm'\n",
    )
    repository.load("m")
    assert repository.served("m").config.max_batch_size == 8


def test_files_in_the_request_replace_the_models_folder_until_a_plain_load(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit", load_models=["m"])
    repository.start()
    repository.load("m", {"config": CONFIG, "file:5/model.py": b""})
    assert repository.wait_idle(60)
    assert index_of(repository) == [
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "m", "version": "5", "state": "READY"},
    ]
    temporary = repository.get("m").directory
    assert (temporary / "5" / "model.py").read_bytes() == b""
    repository.load("m")
    assert repository.wait_idle(60)
    assert repository.get("m").version == 1
    assert repository.get("m").directory == tmp_path / "m"
    assert not temporary.exists()


def test_files_that_come_with_the_config_already_served_are_ignored(tmp_path: Path) -> None:
    # 2.51: files of a request have no modification time, so nothing seems to have changed
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    repository.load("m", {"config": CONFIG, "file:1/model.py": b""})
    model = repository.get("m")
    repository.load("m", {"config": CONFIG, "file:1/model.py": b"Internal: no"})
    assert repository.get("m") is model
    repository.load("m", {"config": CONFIG.replace("2", "3", 1), "file:1/model.py": b""})
    assert repository.get("m") is not model


def test_a_model_of_files_alone_is_served_but_not_in_the_index(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    repository.load("m", {"config": CONFIG, "file:1/model.py": b"", "file:1/weights/a.bin": b"\0\1"})
    assert index_of(repository) == []
    temporary = repository.get("m").directory
    assert (temporary / "1" / "weights" / "a.bin").read_bytes() == b"\0\1"
    with pytest.raises(TritonError, match="failed to poll from model repository"):
        repository.load("m")
    assert repository.get("m").version == 1
    repository.unload("m")
    assert repository.wait_idle(60)
    assert not temporary.exists()


@pytest.mark.parametrize(
    "key",
    [
        "file:", "file:/", "file:../x", "file:1/../../x", "file:..", "file:1/", "file:1/\0", "file:\0",
        "file:" + "x" * 256, "file:1/" + "y" * 256 + "/model.py",
    ],
)  # fmt: skip
def test_a_file_whose_path_leaves_the_folder_or_names_no_file_is_refused(tmp_path: Path, key: str) -> None:
    repository = serve(tmp_path / "r", mode="explicit")
    (tmp_path / "r").mkdir()
    repository.start()
    with pytest.raises(TritonError) as caught:
        repository.load("m", {"config": CONFIG, key: b"x"})
    assert (caught.value.code, caught.value.message) == (Code.INTERNAL, NOT_POLLED)
    assert list(tmp_path.iterdir()) == [tmp_path / "r"]


@pytest.mark.parametrize("keys", [("file:1", "file:1/model.py"), ("file:1/model.py", "file:1")])
def test_files_whose_paths_conflict_are_refused(tmp_path: Path, keys: tuple[str, str]) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    with pytest.raises(TritonError, match=NOT_POLLED):
        repository.load("m", {"config": CONFIG, **dict.fromkeys(keys, b"x")})


@pytest.mark.parametrize(
    "key", ["file:/1/model.py", "file://1/model.py", "file:2/../1/model.py", "file:./1/model.py"]
)
def test_a_path_that_stays_in_the_folder_is_made_plain(tmp_path: Path, key: str) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    repository.load("m", {"config": CONFIG, key: b""})
    assert (repository.get("m").directory / "1" / "model.py").is_file()


@pytest.mark.parametrize(
    "parameters",
    [
        {"file:1/model.py": b""},
        {"foo": "x"},
        {"config": b"{}"},
        {"config": CONFIG, "file:1/model.py": "text"},
    ],
)
def test_a_parameter_that_does_not_belong_there_is_refused(
    tmp_path: Path, parameters: dict[str, str | bytes]
) -> None:
    write_model(tmp_path, "m")
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    with pytest.raises(TritonError, match=NOT_POLLED):
        repository.load("m", parameters)


def test_an_empty_name_is_the_name_of_no_model(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    with pytest.raises(TritonError, match="failed to load '', failed to poll from model repository"):
        repository.load("")


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/b", "/", "a..b", "\0"],
    ids=["up", "up x", "a b", "root", "dots", "nul"],
)
def test_a_name_whose_path_leaves_the_repository_is_refused(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, "x")
    (tmp_path / "r").mkdir()
    repository = serve(tmp_path / "r", mode="explicit")
    repository.start()
    with pytest.raises(TritonError) as caught:
        repository.load(name)
    assert caught.value.code is Code.INVALID_ARG
    with pytest.raises(TritonError, match="Request for unknown model"):
        repository.get(name)
    repository.unload(name)


def test_a_name_too_long_for_a_file_system_is_not_found(tmp_path: Path) -> None:
    repository = serve(tmp_path, mode="explicit")
    repository.start()
    name = "n" * 300
    with pytest.raises(TritonError) as caught:
        repository.load(name)
    assert caught.value.message == f"failed to load '{name}', failed to poll from model repository"
