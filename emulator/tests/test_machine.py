"""What the emulator pretends to have: GPUs, and backends that cannot run here. The defaults load what people "
"have."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from triton_emulator import Emulator, EmulatorOptions
from triton_emulator.cli.command_line import UsageError, parse
from triton_emulator.frontends.metrics.gpus import gpu_uuid

IO = """
input { name: "X" data_type: TYPE_FP32 dims: 1 }
output { name: "Y" data_type: TYPE_STRING dims: 1 }
"""
MODEL_PY = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        keys = ("model_instance_name", "model_instance_kind", "model_instance_device_id")
        self.said = " ".join(args[key] for key in keys)

    def execute(self, requests):
        tensor = pb_utils.Tensor("Y", np.array([self.said], dtype=object))
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]
"""
ASKED = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
#: The machine that the real server's answers are recorded on.
REFERENCE: EmulatorOptions = {"simulated_gpus": 0, "stand_ins": "configured"}


def write(repository: Path, name: str, config: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(MODEL_PY)


def post(triton: Emulator, path: str, body: object = None) -> Any:
    return httpx.post(f"{triton.http_url}/v2/{path}", json=body or {}, timeout=60).json()


def states(triton: Emulator) -> dict[str, str]:
    return {row["name"]: row.get("reason", row["state"]) for row in post(triton, "repository/index")}


def test_a_python_model_on_a_gpu_loads_and_is_shown_on_it_and_told_that_it_runs_on_the_cpu(
    tmp_path: Path,
) -> None:
    write(tmp_path, "m", 'backend: "python"\ninstance_group { kind: KIND_GPU }\n' + IO)
    with Emulator(tmp_path) as triton:
        [output] = post(triton, "models/m/infer", ASKED)["outputs"]
        config = httpx.get(f"{triton.http_url}/v2/models/m/config").json()
        metrics = httpx.get(triton.metrics_url).text
    assert output["data"] == ["m_0_0 CPU 0"]
    [group] = config["instance_group"]
    assert (group["name"], group["kind"], group["count"], group["gpus"]) == ("m_0", "KIND_GPU", 1, [0])
    assert f'nv_gpu_memory_total_bytes{{gpu_uuid="{gpu_uuid(0, 0)}"}} 85899345920' in metrics.splitlines()


def test_a_group_has_its_count_of_instances_on_each_of_its_gpus(tmp_path: Path) -> None:
    group = "instance_group { count: 2 kind: KIND_GPU gpus: [ 0, 3 ] }\n"
    write(tmp_path, "m", 'backend: "python"\n' + group + IO)
    with Emulator(tmp_path) as triton:
        model = triton._server.root.repository.get("m")  # type: ignore[union-attr]
        assert model.executor.instances == 4
        gpus = [
            line for line in httpx.get(triton.metrics_url).text.splitlines() if "nv_gpu_utilization{" in line
        ]
    assert [line.split('"')[1] for line in gpus] == [gpu_uuid(0, 0), gpu_uuid(0, 3)]


def test_an_ensemble_of_models_on_gpus_answers(tmp_path: Path) -> None:
    write(tmp_path, "step", 'backend: "python"\ninstance_group [ { kind: KIND_GPU } ]\n' + IO)
    maps = 'input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" }'
    steps = f'step {{ model_name: "step" model_version: -1 {maps} }}'
    write(tmp_path, "both", f'platform: "ensemble"\n{IO}ensemble_scheduling {{ {steps} }}')
    with Emulator(tmp_path) as triton:
        assert post(triton, "models/both/infer", ASKED)["outputs"][0]["data"] == ["step_0_0 CPU 0"]


@pytest.mark.parametrize(
    "config, reason",
    [
        (
            'backend: "python"\ninstance_group { kind: KIND_GPU }\n',
            "Invalid argument: instance group m_0 of model m has kind KIND_GPU but no GPUs are available",
        ),
        (
            'backend: "fastertransformer"\n',
            (
                "Invalid argument: unable to find backend library for backend 'fastertransformer', try "
                "specifying runtime on the model configuration."
            ),
        ),
        (
            'platform: "onnxruntime_onnx"\n',
            (
                "Invalid argument: unable to find backend library for backend 'onnxruntime', try specifying "
                "runtime on the model configuration."
            ),
        ),
    ],
    ids=["a GPU", "an unknown backend", "a backend of Triton's"],
)
def test_what_the_reference_lacks_is_refused_in_its_words_or_stood_in_for_by_default(
    tmp_path: Path, config: str, reason: str
) -> None:
    write(tmp_path, "m", config + IO)
    options: EmulatorOptions = {**REFERENCE, "exit_on_error": False}
    with Emulator(tmp_path, **options) as triton:
        assert states(triton) == {"m": reason}
        with triton.session(simulated_gpus=None, stand_ins="all") as session:
            assert httpx.get(f"{session.http_url}/v2/models/m/ready").status_code == 200


def test_a_behaviour_in_emulator_yaml_counts_without_the_backend(tmp_path: Path) -> None:
    write(tmp_path, "m", 'backend: "mine"\n' + IO)
    (tmp_path / "emulator.yaml").write_text("models: {m: {behaviour: synthetic}}")
    with Emulator(tmp_path, **REFERENCE) as triton:
        assert states(triton) == {"m": "READY"}


@pytest.mark.parametrize(
    "backend, settings, warnings",
    [
        (
            "tensorrt-llm",
            "",
            [
                (
                    "a stand-in answers for model 'm', as its backend 'tensorrt-llm' is not known here (did you "
                    "mean 'tensorrtllm'?); give the model a behaviour in emulator.yaml, or refuse such models with "
                    "--stand-ins=configured"
                )
            ],
        ),
        (
            "mine",
            "",
            [
                (
                    "a stand-in answers for model 'm', as its backend 'mine' is not known here; give the model "
                    "a behaviour in emulator.yaml, or refuse such models with --stand-ins=configured"
                )
            ],
        ),
        ("mine", "models: {m: {behaviour: synthetic}}", []),
        ("onnxruntime", "", []),
    ],
    ids=["misspelt", "unknown", "unknown, with a behaviour", "known"],
)
def test_a_stand_in_for_an_unknown_backend_is_told_in_one_line(
    tmp_path: Path, backend: str, settings: str, warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "m", f'backend: "{backend}"\n{IO}')
    (tmp_path / "emulator.yaml").write_text(settings)
    with Emulator(tmp_path) as triton:
        assert states(triton) == {"m": "READY"}
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == warnings


@pytest.mark.parametrize(
    "options, line",
    [
        (
            {},
            (
                "each model has the GPUs that its config asks for, all simulated (--simulated-gpus=auto); a "
                "stand-in answers for every backend that cannot run here (--stand-ins=all)"
            ),
        ),
        (
            REFERENCE,
            (
                "there is no GPU, so KIND_GPU is refused (--simulated-gpus=0); a backend that cannot run here "
                "is refused, unless emulator.yaml gives the model a behaviour (--stand-ins=configured)"
            ),
        ),
        (
            {"simulated_gpus": 2},
            (
                "every model sees 2 simulated GPUs (--simulated-gpus=2); a stand-in answers for every backend "
                "that cannot run here (--stand-ins=all)"
            ),
        ),
    ],
    ids=["the default", "the reference", "two GPUs"],
)
def test_one_line_at_the_start_says_what_is_pretended(
    tmp_path: Path, options: EmulatorOptions, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="triton_emulator")
    with Emulator(tmp_path, **options):
        pass
    assert line in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"simulated_gpus": -1}, "simulated_gpus is None or a number from 0 to 64, not -1"),
        (
            {"simulated_gpus": 2_000_000_000},
            "simulated_gpus is None or a number from 0 to 64, not 2000000000",
        ),
        ({"stand_ins": "none"}, "stand_ins is one of 'all', 'configured', not 'none'"),
    ],
)
def test_a_value_that_means_nothing_is_refused(tmp_path: Path, options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        Emulator(tmp_path, **options).start()


@pytest.mark.parametrize("text, count", [("auto", None), ("0", 0), ("64", 64)])
def test_the_flag_takes_a_number_of_gpus_or_auto(text: str, count: int | None) -> None:
    assert parse([f"--simulated-gpus={text}"]).settings.simulated_gpus == count


@pytest.mark.parametrize("text", ["65", "-1", "all", ""])
def test_the_flag_refuses_another_number_of_gpus(text: str) -> None:
    with pytest.raises(UsageError, match="--simulated-gpus"):
        parse([f"--simulated-gpus={text}"])


@pytest.mark.parametrize("strict", [False, True], ids=["completed", "as written"])
@pytest.mark.parametrize(
    "environment, reason",
    [
        ("/nope/env.tar.gz", "Failed to get the canonical path for /nope/env.tar.gz."),
        ("nope.tar.gz", "Failed to get the canonical path for nope.tar.gz."),
        (
            "$$TRITON_MODEL_DIRECTORY/nope.tar.gz",
            "Failed to get the canonical path for {model}/nope.tar.gz.",
        ),
        (
            "/a$$TRITON_MODEL_DIRECTORY/$$TRITON_MODEL_DIRECTORY",
            "Failed to get the canonical path for /a{model}/$$TRITON_MODEL_DIRECTORY.",
        ),
        (
            "$$TRITON_MODEL_DIRECTORY/1",
            (
                "Path {model}/1/bin/activate does not exist. "
                "The Python environment should contain an 'activate' script."
            ),
        ),
    ],
    ids=["absolute", "relative", "in the model's folder", "the folder twice", "a folder that is none"],
)
def test_the_reference_needs_the_environment_of_a_python_model(
    tmp_path: Path, environment: str, reason: str, strict: bool
) -> None:
    write(
        tmp_path,
        "m",
        f'backend: "python" parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{environment}" }} }}'
        + IO,
    )
    (tmp_path / "m" / "1" / "model.py").write_text("1 / 0")  # the environment comes first
    options: EmulatorOptions = {
        **REFERENCE,
        "exit_on_error": False,
        "disable_auto_complete_config": strict,
    }
    with Emulator(tmp_path, **options) as triton:
        assert states(triton) == {"m": "Internal: " + reason.format(model=tmp_path / "m")}


@pytest.mark.parametrize("environment", ["env.tar.gz", "env", ""], ids=["a file", "a folder", "none"])
def test_the_reference_takes_an_environment_that_is_there(tmp_path: Path, environment: str) -> None:
    path = f"$$TRITON_MODEL_DIRECTORY/{environment}" if environment else ""
    write(
        tmp_path,
        "m",
        f'backend: "python" parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{path}" }} }}'
        + IO,
    )
    (tmp_path / "m" / "env.tar.gz").touch()
    (tmp_path / "m" / "env" / "bin").mkdir(parents=True)
    (tmp_path / "m" / "env" / "bin" / "activate").touch()
    with Emulator(tmp_path, **REFERENCE) as triton:
        assert states(triton) == {"m": "READY"}
