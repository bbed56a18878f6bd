"""Repositories whose configs name no tensors: they come from emulator.yaml or from the model's file.

What the backends make of a file follows their source at r24.10. No real server at hand has these backends.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.tests.backends.model_files.protobuf import onnx_model, onnx_tensor, openvino_ir, saved_model
from triton_emulator import Emulator

FIXED = onnx_model([onnx_tensor("images", 1, [1, 3, 4, 4])], [onnx_tensor("output0", 1, [1, 6, 8])])
BATCHED = onnx_model(
    [onnx_tensor(name, 7, ["N", "seq"]) for name in ("input_ids", "attention_mask", "token_type_ids")],
    [onnx_tensor("logits", 1, ["N", 2]), onnx_tensor("score", 1, ["N"])],
)
SERVED = saved_model({"serving_default": ({"x": (1, [-1, 3])}, {"y": (1, [-1, 2])})})
NOT_BATCHED = saved_model({"serving_default": ({"x": (1, [1, 3])}, {"y": (1, [2])})})
SCALAR = saved_model({"serving_default": ({"x": (1, [])}, {"y": (1, [-1])})})
X, Y = (
    'input { name: "x" data_type: TYPE_FP32 dims: 3 }\n',
    'output { name: "y" data_type: TYPE_FP32 dims: 2 }\n',
)


@dataclass(frozen=True)
class Case:
    """A model's folder: its file's path and bytes, its config (None for no file), its entry of emulator.yaml.

    `tensors` is the config's inputs and outputs as (name, type, dims), an empty tuple at the end for a reshape to a
    scalar; `batch` its batch size and whether it batches dynamically. Or `reason` is why the model does not load.
    """

    path: str
    data: bytes
    config: str | None = ""
    settings: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[list[Any], list[Any]] = ([], [])
    batch: tuple[int, bool] = (0, False)
    reason: str = ""


LONG = "TYPE_INT64"
FP32 = "TYPE_FP32"
WRITE = (
    "Write input and output into {model}/config.pbtxt, or inputs and outputs of the model into "
    "{repository}/emulator.yaml"
)
TOKENS = [(name, LONG, [-1]) for name in ("token_type_ids", "attention_mask", "input_ids")]
ANSWERS = [("score", FP32, [1], ()), ("logits", FP32, [2])]
GIVEN = {
    "inputs": {"a": {"data_type": "FP32", "dims": [3, -1]}},
    "outputs": {"b": {"data_type": "BYTES", "dims": [1]}},
    "max_batch_size": 8,
}
SAVED = "model.savedmodel/saved_model.pb"
CASES = {
    "onnx-without-config": Case(
        "model.onnx", FIXED, None, tensors=([("images", FP32, [1, 3, 4, 4])], [("output0", FP32, [1, 6, 8])])
    ),
    "onnx-with-an-empty-config": Case(
        "model.onnx", FIXED, tensors=([("images", FP32, [1, 3, 4, 4])], [("output0", FP32, [1, 6, 8])])
    ),
    "onnx-of-another-name": Case(
        "net.onnx",
        FIXED,
        'platform: "onnxruntime_onnx" default_model_filename: "net.onnx"',
        tensors=([("images", FP32, [1, 3, 4, 4])], [("output0", FP32, [1, 6, 8])]),
    ),
    "onnx-in-a-folder": Case(
        "model.onnx/model.onnx",
        FIXED,
        tensors=([("images", FP32, [1, 3, 4, 4])], [("output0", FP32, [1, 6, 8])]),
    ),
    "onnx-batches": Case("model.onnx", BATCHED, tensors=(TOKENS, ANSWERS), batch=(4, True)),
    "onnx-batches-by-its-config": Case(
        "model.onnx", BATCHED, "max_batch_size: 1", tensors=(TOKENS, ANSWERS), batch=(1, False)
    ),
    "onnx-batches-sequences": Case(
        "model.onnx", BATCHED, "sequence_batching { }", tensors=(TOKENS, ANSWERS), batch=(4, False)
    ),
    "onnx-outputs-only": Case(
        "model.onnx",
        onnx_model([onnx_tensor("images", 1, [1, 3, 4, 4])], [onnx_tensor("y", 1, [2])]),
        Y,
        tensors=([("images", FP32, [1, 3, 4, 4])], [("y", FP32, [2])]),
    ),
    "onnx-cannot-batch": Case(
        "model.onnx",
        FIXED,
        "max_batch_size: 2",
        reason="Invalid argument: autofill failed for model '{name}': model does not support batching while non-zero "
        "max_batch_size is specified",
    ),
    "onnx-is-not-needed": Case("model.onnx", b"?", X + Y, tensors=([("x", FP32, [3])], [("y", FP32, [2])])),
    "onnx-is-damaged": Case(
        "model.onnx",
        FIXED[:-9],
        reason="Invalid argument: model '{name}' has no inputs and no outputs: its config names none, and "
        "{model}/1/model.onnx does not tell them: it breaks off: 91 bytes should follow byte 13. " + WRITE,
    ),
    "onnx-is-missing": Case(
        "readme.txt",
        b"",
        'backend: "onnxruntime"',
        reason="Invalid argument: model '{name}' has no inputs and no outputs: its config names none, and "
        "{model}/1/model.onnx does not tell them: there is no such file. " + WRITE,
    ),
    "tensors-of-emulator-yaml": Case(
        "model.onnx",
        onnx_model([onnx_tensor("a", 1, ["N", 3, "w"])], [onnx_tensor("b", 8, ["N", 1])]),
        "",
        GIVEN,
        tensors=([("a", FP32, [3, -1])], [("b", "TYPE_STRING", [1])]),
        batch=(8, False),
    ),
    "tensors-of-emulator-yaml-for-a-plan": Case(
        "model.plan",
        b"ftrt",
        "",
        GIVEN,
        tensors=([("a", FP32, [3, -1])], [("b", "TYPE_STRING", [1])]),
        batch=(8, False),
    ),
    "plan": Case(
        "model.plan",
        b"ftrt",
        reason="Invalid argument: model '{name}' has no inputs and no outputs: its config names none, and "
        "{model}/1/model.plan does not tell them: only TensorRT itself can read a plan. " + WRITE,
    ),
    "torchscript": Case(
        "model.pt",
        b"PK",
        X,
        reason="Invalid argument: model '{name}' has no outputs: its config names none, and {model}/1/model.pt does "
        "not tell them: a TorchScript file does not name its inputs and outputs. Write output into "
        "{model}/config.pbtxt, or outputs of the model into {repository}/emulator.yaml",
    ),
    "saved-model": Case(
        SAVED, SERVED, None, tensors=([("x", FP32, [3])], [("y", FP32, [2])]), batch=(4, True)
    ),
    "saved-model-with-ranks-of-batches": Case(
        SAVED, SERVED, X, tensors=([("x", FP32, [3])], [("y", FP32, [2])]), batch=(4, True)
    ),
    "saved-model-with-whole-ranks": Case(
        SAVED,
        SERVED,
        X.replace("dims: 3", "dims: [ 7, 3 ]") + Y.replace("dims: 2", "dims: [ 7, 2 ]"),
        tensors=([("x", FP32, [7, 3])], [("y", FP32, [7, 2])]),
    ),
    "saved-model-with-contradicting-ranks": Case(
        SAVED,
        SERVED,
        X + Y.replace("dims: 2", "dims: [ 7, 2 ]"),
        reason="Internal: unable to autofill for '{name}', model tensor configurations are contradicting each other in "
        "terms of whether batching is supported",
    ),
    "saved-model-that-does-not-batch": Case(
        SAVED,
        NOT_BATCHED,
        "max_batch_size: 2",
        reason="Internal: unable to autofill for '{name}', configuration specified max-batch 2 but model signature "
        "does not support batching",
    ),
    "saved-model-of-a-scalar": Case(
        SAVED,
        SCALAR,
        reason="Invalid argument: Unable to autofill for '{name}': the rank of model tensor 'x' is 0 and dimensions "
        "are not defined",
    ),
    "openvino": Case(
        "model.xml",
        openvino_ir(),
        None,
        tensors=([("image", FP32, [-1, -1, -1, -1])], [("classes", LONG, [-1, -1])]),
    ),
    "openvino-batches": Case(
        "model.xml",
        openvino_ir("NCHW"),
        tensors=([("image", FP32, [-1, -1, -1])], [("classes", LONG, [-1])]),
        batch=(4, True),
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Path]]:
    """An emulator that has tried to load every case's model, and its repository."""
    repository = tmp_path_factory.mktemp("models")
    for name, case in CASES.items():
        file = repository / name / "1" / case.path
        file.parent.mkdir(parents=True)
        file.write_bytes(case.data)
        if case.config is not None:
            (repository / name / "config.pbtxt").write_text(case.config)
    entries = {name: case.settings for name, case in CASES.items() if case.settings}
    (repository / "emulator.yaml").write_text(json.dumps({"models": entries}))
    with Emulator(repository, exit_on_error=False) as triton:
        yield triton, repository


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.reason])
def test_a_model_gets_the_tensors_that_its_config_does_not_name(
    name: str, served: tuple[Emulator, Path]
) -> None:
    config = httpx.get(f"{served[0].http_url}/v2/models/{name}/config").json()
    sides = tuple(
        [
            (tensor["name"], tensor["data_type"], tensor["dims"])
            + ((tuple(tensor["reshape"]["shape"]),) if "reshape" in tensor else ())
            for tensor in config[side]
        ]
        for side in ("input", "output")
    )
    assert sides == CASES[name].tensors
    assert (config["max_batch_size"], "dynamic_batching" in config) == CASES[name].batch
    if "dynamic_batching" in config:
        assert config["dynamic_batching"]["preferred_batch_size"] == [4]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reason])
def test_a_model_whose_tensors_stay_unknown_is_refused_with_what_to_write_where(
    name: str, served: tuple[Emulator, Path]
) -> None:
    triton, repository = served
    rows = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    [reason] = [row["reason"] for row in rows if row["name"] == name]
    assert reason == CASES[name].reason.format(name=name, model=repository / name, repository=repository)


def test_a_model_without_a_config_answers(served: tuple[Emulator, Path]) -> None:
    asked = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 4, 4], "data": [0.5] * 48}]}
    answer = httpx.post(f"{served[0].http_url}/v2/models/onnx-without-config/infer", json=asked).json()
    assert [(output["name"], output["shape"]) for output in answer["outputs"]] == [("output0", [1, 6, 8])]


@pytest.mark.parametrize(
    "settings, size",
    [
        ((("", "default-max-batch-size", "16"),), 16),
        ((("onnxruntime", "default-max-batch-size", "2"), ("", "default-max-batch-size", "16")), 2),
        ((("tensorflow", "default-max-batch-size", "16"),), 4),
        ((("onnxruntime", "default-max-batch-size", "0"),), 0),
    ],
    ids=["of every backend", "of the model's backend", "of another backend", "none"],
)
def test_the_default_batch_size_is_a_setting_of_the_backend(
    tmp_path: Path, settings: tuple[tuple[str, str, str], ...], size: int
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(BATCHED)
    with Emulator(tmp_path, backend_config=settings) as triton:
        config = httpx.get(f"{triton.http_url}/v2/models/m/config").json()
    assert config["max_batch_size"] == size
    assert len(config["input"][0]["dims"]) == (1 if size else 2)


def test_without_completion_the_config_must_name_the_tensors(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(FIXED)
    (tmp_path / "m" / "config.pbtxt").write_text('platform: "onnxruntime_onnx"')
    with Emulator(tmp_path, disable_auto_complete_config=True, exit_on_error=False) as triton:
        [row] = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    assert row["reason"] == (
        "Invalid argument: model 'm' has no inputs and no outputs: its config names none. "
        + WRITE.format(model=tmp_path / "m", repository=tmp_path)
    )


def test_what_emulator_yaml_gives_is_no_completion(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text('backend: "tensorrt" dynamic_batching {}')
    (tmp_path / "emulator.yaml").write_text(json.dumps({"models": {"m": GIVEN}}))
    configs = []
    for strict in (True, False):
        with Emulator(tmp_path, disable_auto_complete_config=strict) as triton:
            configs.append(httpx.get(f"{triton.http_url}/v2/models/m/config").json())
    assert configs[0] == configs[1]
    assert [tensor["name"] for tensor in (*configs[0]["input"], *configs[0]["output"])] == ["a", "b"]
    assert configs[0]["max_batch_size"] == 8
    assert configs[0]["dynamic_batching"]["preferred_batch_size"] == [8]


@pytest.mark.parametrize("value", ["99999999999", "many", ""], ids=["too large", "a word", "empty"])
def test_a_default_batch_size_that_is_no_number_of_32_bits_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(BATCHED)
    settings = (("onnxruntime", "default-max-batch-size", value),)
    with Emulator(tmp_path, backend_config=settings, exit_on_error=False) as triton:
        [row] = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    assert row["reason"] == (
        f"Invalid argument: --backend-config: default-max-batch-size is no number of 32 bits: '{value}'"
    )


#: The file of the models below: x is a batch of 3 by any number, y a batch of 2, s a scalar.
COMPARED = onnx_model(
    [onnx_tensor("x", 1, ["N", 3, "w"]), onnx_tensor("s", 7, [])],
    [onnx_tensor("y", 1, ["N", 2]), onnx_tensor("open", 1, ["N", "inferred"]), onnx_tensor("none", 1, None)],
)
GOOD_X = 'input { name: "x" data_type: TYPE_FP32 dims: [3, 5] }'
GOOD_S = 'input { name: "s" data_type: TYPE_INT64 dims: 1 }'
GOOD_Y = """
output { name: "y" data_type: TYPE_FP32 dims: 2 }
output { name: "open" data_type: TYPE_FP32 dims: 7 }
output { name: "none" data_type: TYPE_FP32 dims: [7, 7] }
"""
BATCHES = "max_batch_size: 4\n"
#: a config, and the reason why it does not load
CONTRADICTIONS = {
    "an input too few": (
        BATCHES + GOOD_X + GOOD_Y,
        "unable to load model 'm', configuration expects 1 inputs, model provides 2",
    ),
    "an optional input in a batch": (
        BATCHES
        + GOOD_X
        + GOOD_S
        + 'input { name: "w" data_type: TYPE_FP32 dims: 1 optional: true }'
        + GOOD_Y,
        "unable to load model 'm', optional input 'w' is not supported for models that support batching",
    ),
    "an input of another name": (
        BATCHES + GOOD_X + GOOD_S.replace('"s"', '"t"') + GOOD_Y,
        "unexpected inference input 't', allowed inputs are: s, x",
    ),
    "an input of another datatype": (
        BATCHES + GOOD_X.replace("FP32", "STRING") + GOOD_S + GOOD_Y,
        "unable to load model 'm', configuration expects datatype TYPE_STRING for input 'x', model provides TYPE_FP32",
    ),
    "a datatype that ONNX Runtime lacks": (
        BATCHES + GOOD_X.replace("FP32", "BF16") + GOOD_S + GOOD_Y,
        "unsupported datatype TYPE_BF16 for input 'x' for model 'm'",
    ),
    "an input of another shape": (
        BATCHES + GOOD_X.replace("3, 5", "4, 5") + GOOD_S + GOOD_Y,
        (
            "model 'm', tensor 'x': the model expects 3 dimensions (shape [-1,3,-1]) but the model configuration "
            "specifies 3 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit "
            "tensor shape, making complete shape [-1,4,5])"
        ),
    ),
    "an input of another shape, without batches": (
        GOOD_X + GOOD_S + GOOD_Y,
        (
            "model 'm', tensor 'x': the model expects 3 dimensions (shape [-1,3,-1]) but the model configuration "
            "specifies 2 dimensions (shape [3,5])"
        ),
    ),
    "a scalar with a shape": (
        BATCHES + GOOD_X + GOOD_S.replace("dims: 1", "dims: 2") + GOOD_Y,
        (
            "unable to load model 'm', scalar tensor 's', should only provide 1 in the model configuration when the "
            "model doesn't support batching. Model configuration provided: [2]."
        ),
    ),
    "a ragged input": (
        BATCHES + GOOD_X.replace("dims", "allow_ragged_batch: true dims") + GOOD_S + GOOD_Y,
        (
            "unable to load model 'm', configuration expects model provides input with shape [-1]  for ragged input "
            "'x', model provides [-1,3,-1]"
        ),
    ),
    "an output of another name": (
        BATCHES + GOOD_X + GOOD_S + GOOD_Y.replace('"y"', '"z"'),
        "unexpected inference output 'z', allowed outputs are: none, open, y",
    ),
    "an output of another datatype": (
        BATCHES + GOOD_X + GOOD_S + GOOD_Y.replace("FP32", "INT8"),
        "unable to load model 'm', configuration expects datatype TYPE_INT8 for output 'y', model provides TYPE_FP32",
    ),
    "an output that is variable": (
        BATCHES + GOOD_X + GOOD_S + GOOD_Y.replace("dims: 2", "dims: -1"),
        (
            "model 'm', tensor 'y': the model expects 2 dimensions (shape [-1,2]) but the model configuration "
            "specifies 2 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit "
            "tensor shape, making complete shape [-1,-1])"
        ),
    ),
}


def onnx_repository(tmp_path: Path, config: str, data: bytes = COMPARED) -> Path:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(data)
    (tmp_path / "m" / "config.pbtxt").write_text('backend: "onnxruntime"\n' + config)
    return tmp_path


@pytest.mark.parametrize("config, reason", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_config_that_its_onnx_file_contradicts_is_refused(tmp_path: Path, config: str, reason: str) -> None:
    repository = onnx_repository(tmp_path, config)
    with Emulator(repository, allow_grpc=False, exit_on_error=False) as triton:
        [row] = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    assert row["reason"].partition(": ")[2] == reason


@pytest.mark.parametrize("strict", [False, True], ids=["completed", "as written"])
def test_a_config_that_agrees_with_its_onnx_file_loads(tmp_path: Path, strict: bool) -> None:
    repository = onnx_repository(tmp_path, BATCHES + GOOD_X + GOOD_S + GOOD_Y)
    with Emulator(repository, allow_grpc=False, disable_auto_complete_config=strict) as triton:
        assert httpx.get(f"{triton.http_url}/v2/models/m/ready").status_code == 200


def test_tensors_of_sequences_count_and_an_initializer_may_be_an_optional_input(tmp_path: Path) -> None:
    data = onnx_model(
        [onnx_tensor(name, 1, [1]) for name in ("x", "start", "state", "w")],
        [onnx_tensor("y", 1, [2])],
        weights=("w",),
    )
    config = """
    input { name: "x" data_type: TYPE_FP32 dims: 1 }
    input { name: "w" data_type: TYPE_FP32 dims: 1 optional: true }
    output { name: "y" data_type: TYPE_FP32 dims: 2 }
    sequence_batching {
      control_input { name: "start" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } }
      state { input_name: "state" output_name: "state" data_type: TYPE_FP32 dims: 1 }
    }
    """
    with Emulator(onnx_repository(tmp_path, config, data), allow_grpc=False) as triton:
        assert httpx.get(f"{triton.http_url}/v2/models/m/ready").status_code == 200
