"""tritonserver's flags about the repository."""

from pathlib import Path

import pytest

from emulator.tests.repository.config_case import BATCHING, IO, PYTHON
from emulator.tests.repository.folders import Loader, Model, index_of, serve, write_model
from triton_emulator.repository.config.stages import Backends
from triton_emulator.repository.repository import Options, Repository
from triton_emulator.repository.schema import Proto


def started(options: Options, loader: Loader | None = None) -> Repository[Model]:
    repository: Repository[Model] = Repository(options, loader or Loader(), unload_version=Model.finalize)
    repository.start()
    return repository


def test_without_auto_completion_a_model_needs_a_config_with_valid_tensors(
    tmp_path: Path,
) -> None:
    (tmp_path / "bare" / "1").mkdir(parents=True)
    write_model(tmp_path, "zero", PYTHON + 'input { name: "X" data_type: TYPE_INT8 dims: 0 }')
    write_model(tmp_path, "good")
    repository = started(Options([tmp_path], strict_config=True))
    assert index_of(repository) == [
        {"name": "bare"},
        {"name": "good", "version": "1", "state": "READY"},
        {"name": "zero"},
    ]
    assert repository.problems == {
        "bare": "Poll failed for model directory 'bare': failed to open text file for read "
        f"{tmp_path}/bare/config.pbtxt: No such file or directory",
        "zero": "Poll failed for model directory 'zero': model input 'X' dimension must be integer >= 1, or -1 to "
        "indicate a variable-size dimension for zero",
    }


def test_a_config_of_another_name_is_used_where_a_model_has_one(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    (folder / "configs").mkdir()
    (folder / "configs" / "alt.pbtxt").write_text(PYTHON + "max_batch_size: 5\n" + IO, encoding="utf-8")
    write_model(tmp_path, "n")
    repository = started(Options([tmp_path], config_name="alt"))
    assert repository.served("m").config.max_batch_size == 5
    assert repository.served("n").config.max_batch_size == 8


def test_a_load_that_fails_is_tried_again_as_often_as_asked(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    attempts: list[int] = []

    class Shy(Loader):
        def __call__(self, name: str, version: int, *rest: object) -> Model:
            attempts.append(version)
            if len(attempts) < 3:
                raise RuntimeError("not yet")
            return super().__call__(name, version, *rest)  # type: ignore[arg-type]

    assert started(Options([tmp_path], load_retries=2), Shy()).is_ready("m")
    assert attempts == [1, 1, 1]


def test_a_backend_completes_the_config_and_what_it_makes_is_checked(tmp_path: Path) -> None:
    for name in ("good", "zero"):
        write_model(tmp_path, name, PYTHON)

    def complete(config: Proto, directory: Path, version: int) -> None:
        assert (directory, version) == (tmp_path / config.name, 1)
        config.input.add(name="X", data_type=8, dims=[0 if config.name == "zero" else 3])

    repository: Repository[Model] = Repository(
        Options([tmp_path]), Loader(), backends=Backends(complete=complete)
    )
    repository.start()
    assert [spec.name for spec in repository.served("good").config.inputs] == ["X"]
    assert index_of(repository)[1]["reason"] == (
        "Invalid argument: model input 'X' dimension must be integer >= 1, or -1 to indicate a variable-size "
        "dimension for zero"
    )


def test_a_gpu_is_simulated_for_stand_ins(tmp_path: Path) -> None:
    write_model(
        tmp_path, "standin", 'backend: "tensorrtllm"\ninstance_group { kind: KIND_GPU gpus: [ 0, 1 ] }\n' + IO
    )
    write_model(tmp_path, "python", BATCHING + "instance_group { kind: KIND_GPU }\n")
    repository = serve(tmp_path)
    repository.start()
    assert b'"kind":"KIND_GPU","count":1,"gpus":[0,1]' in repository.config_json("standin")
    assert index_of(repository)[0]["reason"] == (
        "Invalid argument: instance group python_0 of model python has kind KIND_GPU but no GPUs are available"
    )


def test_a_model_without_a_config_is_refused_unless_it_is_python(tmp_path: Path) -> None:
    for name, file in (("onnx", "model.onnx"), ("python", "model.py")):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / file).write_text("", encoding="utf-8")
    repository = serve(tmp_path)
    repository.start()
    assert index_of(repository) == [
        {
            "name": "onnx", "version": "1", "state": "UNAVAILABLE",
            "reason": "Not found: model configuration is not provided for model 'onnx'",
        },
        {"name": "python", "version": "1", "state": "READY"},
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_the_poll_mode_polls_at_the_given_interval(tmp_path: Path, seconds: float) -> None:
    loader = Loader()
    repository = started(Options([tmp_path], mode="poll", poll_seconds=seconds), loader)
    write_model(tmp_path.parent / f"{tmp_path.name}-outside", "m").rename(tmp_path / "m")
    if seconds:
        assert loader.entered.acquire(timeout=60)
    repository.close(60)
    assert len(loader.loaded) == (1 if seconds else 0)
