"""Which behaviour stands in for which model."""

import pytest

from emulator.tests.backends.standins.driving import Model
from triton_emulator.backends import standins
from triton_emulator.backends.standins.choice import fit
from triton_emulator.engine.executor import LoadError, ThreadedExecutor

Tensors = list[tuple[str, str]]


def config(backend: str, inputs: Tensors, outputs: Tensors, rest: str = "") -> str:
    def side(tensors: Tensors) -> str:
        return ",".join(
            f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ -1 ] }}' for name, datatype in tensors
        )

    return f"{backend} {rest} input [ {side(inputs)} ] output [ {side(outputs)} ]"


TENSORRT = 'platform: "tensorrt_plan"'


@pytest.mark.parametrize(
    "inputs, outputs, expected",
    [
        ([("text_input", "STRING")], [("text_output", "STRING")], "text"),
        ([("PROMPT", "STRING")], [("GENERATED", "STRING")], "text"),
        ([("A", "STRING")], [("B", "STRING")], "synthetic"),
        ([("input_text", "STRING")], [("embeddings", "FP32")], "embedding"),
        ([("input_ids", "INT64")], [("pooler_output", "FP16")], "embedding"),
        ([("image", "UINT8")], [("scores", "FP32")], "synthetic"),
        ([("text", "STRING")], [("sentiment", "FP32")], "synthetic"),
        ([("text_input", "STRING")], [("text_output", "STRING"), ("cum_log_probs", "FP32")], "text"),
    ],
    ids=[
        "prompt and text",
        "other names that mean text",
        "strings that might be anything",
        "texts and embeddings",
        "ids and a pooled output",
        "an image and scores",
        "a text and a class",
        "a language model with log probabilities",
    ],
)
def test_tensors_determine_what_a_model_does(inputs: Tensors, outputs: Tensors, expected: str) -> None:
    assert fit(Model(config(TENSORRT, inputs, outputs)).definition) == expected


def test_a_models_name_can_determine_it_as_well() -> None:
    plain = config(TENSORRT, [("INPUT", "STRING")], [("OUTPUT", "FP32")])
    assert fit(Model(plain, name="bge-embedder").definition) == "embedding"
    assert fit(Model(plain, name="classifier").definition) == "synthetic"


@pytest.mark.parametrize(
    "backend",
    [
        "tensorrtllm",
        "vllm",
        "onnxruntime",
        "tensorrt",
        "pytorch",
        "tensorflow",
        "openvino",
        "dali",
        "fil",
        "fastertransformer",
        "mine",
    ],
)
def test_a_model_of_a_backend_that_cannot_run_here_gets_a_stand_in(backend: str) -> None:
    model = Model(config(f'backend: "{backend}"', [("A", "FP32")], [("B", "FP32")]))
    assert standins.stands_in(model.definition)
    assert not standins.stands_in(model.definition, unasked=False)


@pytest.mark.parametrize(
    "inputs, outputs, expected",
    [
        ([("INPUT0", "FP32"), ("INPUT1", "INT8")], [("OUTPUT1", "INT8"), ("OUTPUT0", "FP32")], "identity"),
        ([("INPUT0", "FP32")], [("OUTPUT0", "FP32"), ("OUTPUT1", "FP32")], "synthetic"),
    ],
    ids=["every output has an input of its datatype", "an output has none"],
)
def test_a_model_of_tritons_identity_backend_answers_its_inputs(
    inputs: Tensors, outputs: Tensors, expected: str
) -> None:
    assert fit(Model(config('backend: "identity"', inputs, outputs)).definition) == expected


@pytest.mark.parametrize("runner", ['backend: "python"', 'platform: "ensemble"'], ids=["python", "ensemble"])
@pytest.mark.parametrize(
    "settings, expected",
    [("{}", False), ("{behaviour: python}", False), ("{behaviour: synthetic}", True), ("{seed: 3}", False)],
    ids=["without settings", "set to run", "set to have a stand-in", "with other settings"],
)
def test_what_runs_here_runs_unless_settings_say_otherwise(
    runner: str, settings: str, expected: bool
) -> None:
    model = Model(config(runner, [("A", "FP32")], [("B", "FP32")]), settings)
    assert standins.stands_in(model.definition) is expected


def test_stand_ins_run_on_the_event_loop() -> None:
    executor = Model(config(TENSORRT, [("A", "FP32")], [("B", "FP32")])).executor
    assert not isinstance(executor, ThreadedExecutor)
    assert executor.instances == 1
    executor.finalize()


@pytest.mark.parametrize("behaviour", ["text", "embedding"])
@pytest.mark.parametrize("side, known", [("input", "prompt, ids"), ("output", "text, vector")])
def test_a_named_tensor_that_the_model_does_not_have_keeps_it_from_loading(
    behaviour: str, side: str, known: str
) -> None:
    inputs, outputs = [("prompt", "STRING"), ("ids", "INT64")], [("text", "STRING"), ("vector", "FP32")]
    with pytest.raises(LoadError) as refused:
        Model(config(TENSORRT, inputs, outputs), f"{{behaviour: {behaviour}, {side}: txet}}")
    assert str(refused.value) == (
        f"Invalid argument: '{side}' in emulator.yaml: model 'm' has no {side} 'txet'; it has {known}"
    )
