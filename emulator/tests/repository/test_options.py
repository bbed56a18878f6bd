"""tritonserver's flags about the repository."""

import json
from pathlib import Path

import pytest

from emulator.tests.repository.config_case import IO, PYTHON
from emulator.tests.repository.folders import Loader, Model, index_of, serve, write_model
from triton_emulator.repository.config.completion import named_gpus
from triton_emulator.repository.config.pbtxt import parse_config
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


def groups_of(repository: Repository[Model], name: str) -> list[tuple[str, str, int, list[int]]]:
    return [
        (group["name"], group["kind"], group["count"], group["gpus"])
        for group in json.loads(repository.config_json(name))["instance_group"]
    ]


# No GPU was at hand to record these; they follow core's NormalizeInstanceGroup and ValidateInstanceGroup at r24.10.
@pytest.mark.parametrize(
    "backend, group, expected",
    [
        ("python", "kind: KIND_GPU", ("m_0", "KIND_GPU", 1, [0, 1])),
        ("python", "kind: KIND_GPU gpus: 1", ("m_0", "KIND_GPU", 1, [1])),
        ("python", "count: 3", ("m_0", "KIND_GPU", 3, [0, 1])),
        ("python", "kind: KIND_AUTO gpus: [ 1, 5 ] count: 2", None),
        ("python", "kind: KIND_CPU", ("m_0", "KIND_CPU", 1, [])),
        ("python", "", ("m", "KIND_GPU", 1, [0, 1])),
        ("onnxruntime", "", ("m", "KIND_GPU", 1, [0, 1])),
        ("onnxruntime", "kind: KIND_CPU", ("m_0", "KIND_CPU", 2, [])),
        ("openvino", "", ("m", "KIND_CPU", 1, [])),
    ],
    ids=[
        "a group of GPUs gets all of them",
        "a group keeps the GPU that it names",
        "a group without a kind gets all GPUs",
        "a group without a kind that names a GPU that is not there is on the CPU",
        "a group of CPUs stays one",
        "a config without groups gets one on all GPUs",
        "one of another backend too",
        "two instances on the CPU are that backend's default",
        "OpenVINO prefers the CPU",
    ],
)
def test_a_machine_of_two_gpus_completes_the_groups(
    tmp_path: Path, backend: str, group: str, expected: tuple[str, str, int, list[int]] | None
) -> None:
    groups = f"instance_group {{ {group} }}\n" if group else ""
    write_model(tmp_path, "m", f'backend: "{backend}"\n{groups}{IO}')
    repository: Repository[Model] = Repository(
        Options([tmp_path]), Loader(), backends=Backends(gpus=lambda _: (0, 1))
    )
    repository.start()
    if expected is None:  # on the CPU, where no group may name a GPU
        assert index_of(repository)[0]["reason"] == (
            "Invalid argument: instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs"
        )
    else:
        assert groups_of(repository, "m") == [expected]


def test_a_gpu_that_the_machine_has_not_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    write_model(tmp_path, "m", PYTHON + "instance_group { kind: KIND_GPU gpus: [ 0, 2 ] }\n" + IO)
    repository: Repository[Model] = Repository(
        Options([tmp_path]), Loader(), backends=Backends(gpus=lambda _: (0, 1))
    )
    repository.start()
    assert index_of(repository)[0]["reason"] == (
        "Invalid argument: instance group m_0 of model m specifies invalid or unsupported gpu id 2. GPUs with at least "
        "the minimum required CUDA compute compatibility of 6.000000 are: 0, 1"
    )


@pytest.mark.parametrize(
    "groups, expected",
    [
        ([], ()),
        (["count: 4"], ()),
        (["kind: KIND_CPU"], ()),
        (["kind: KIND_MODEL"], ()),
        (["kind: KIND_GPU"], (0,)),
        (["kind: KIND_GPU gpus: [ 3, 1 ]"], (1, 3)),
        (["kind: KIND_GPU", "kind: KIND_GPU gpus: 2"], (2,)),
        (["gpus: 1"], (1,)),
        (["kind: KIND_GPU gpus: -1"], (0,)),
    ],
)
def test_a_model_may_see_the_gpus_that_its_config_asks_for(
    groups: list[str], expected: tuple[int, ...]
) -> None:
    config = parse_config("".join(f"instance_group {{ {group} }}\n" for group in groups))
    assert named_gpus(config) == expected


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
