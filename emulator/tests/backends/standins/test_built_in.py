"""The built-in repository: its models' own code and their stand-ins give the same answers."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from emulator.tests.backends.standins.built_in_requests import REQUESTS
from emulator.tests.backends.standins.driving import Given, tensor
from triton_emulator.backends import standins
from triton_emulator.backends.python import loading as python
from triton_emulator.backends.standins import FILE_NAME, Hooks, ModelSettings
from triton_emulator.builtin import REPOSITORY
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.executor import Executor, ModelDefinition
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.pbtxt import read_config

MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))


def definition(name: str, settings: dict[str, object]) -> ModelDefinition:
    config = ModelConfig.of(read_config(REPOSITORY / name / "config.pbtxt"))
    return ModelDefinition(name, 1, config, REPOSITORY / name, settings)


@pytest.fixture(scope="module")
def own_code() -> Iterator[dict[str, Executor]]:
    """Every model, run by its model.py."""
    loaded: dict[str, Executor] = {name: python.load(definition(name, {})) for name in MODELS}
    yield loaded
    for executor in loaded.values():
        executor.finalize()


def answers(executor: Executor, model: str, inputs: Given, parameters: dict[str, Any]) -> list[Any]:
    """Each response as its error, or as its tensors: name, datatype, shape and bytes."""
    request = InferRequest(
        model,
        inputs=[tensor(name, *given) for name, given in inputs.items()],
        parameters=list(parameters.items()),
    )
    responses: list[InferResponse] = []
    done = threading.Event()

    def deliver(response: InferResponse | None, final: bool) -> None:
        if response is not None:
            responses.append(response)
        if final:
            done.set()

    def post(deliver: Deliver, response: InferResponse | None, final: bool) -> None:
        deliver(response, final)

    executor.execute([Call(request, 1, deliver, post)], 0)
    assert done.wait(60)
    return [
        (response.error.code.name, response.error.message)
        if response.error
        else {output.name: (output.datatype, output.shape, bytes(output.data)) for output in response.outputs}
        for response in responses
    ]


class Past:
    """The timer of a function that has been run."""

    def cancel(self) -> None:
        raise AssertionError("it has been run")


def at_once(_: float, function: Callable[[], None]) -> Past:
    function()
    return Past()


def stand_in(name: str, behaviour: str) -> Executor:
    return standins.load(definition(name, {"behaviour": behaviour}), Hooks(at_once))


STOOD_IN = {
    "custom_llm": "text",
    "trtllm": "text",
    "vllm": "text",
    "embedding": "embedding",
    "identity_fp32": "identity",
}


@pytest.mark.parametrize(
    "request_name", [name for name, (model, _, _) in REQUESTS.items() if model in STOOD_IN]
)
def test_a_stand_in_answers_as_the_models_own_code_does(
    request_name: str, own_code: dict[str, Executor]
) -> None:
    model, inputs, parameters = REQUESTS[request_name]
    expected = answers(own_code[model], model, inputs, parameters)
    assert answers(stand_in(model, STOOD_IN[model]), model, inputs, parameters) == expected


def test_every_model_has_a_request() -> None:
    assert {model for model, _, _ in REQUESTS.values()} == set(MODELS)


def test_the_emulator_yaml_of_the_built_in_models_gives_one_stand_in() -> None:
    settings = ModelSettings.read(REPOSITORY / FILE_NAME)
    inline = [name for name in MODELS if standins.stands_in(definition(name, settings.for_model(name)))]
    assert inline == ["identity_fp32"]


def test_the_examples_add_and_subtract(own_code: dict[str, Executor]) -> None:
    left, right = np.arange(16, dtype=np.int32), np.full(16, 2**31 - 1, dtype=np.int32)
    [sums] = answers(own_code["simple"], *REQUESTS["simple"])
    assert sums["OUTPUT0"] == ("INT32", (1, 16), (left + right).tobytes())
    assert sums["OUTPUT1"] == ("INT32", (1, 16), (left - right).tobytes())


def test_the_example_of_texts_refuses_what_is_no_number(own_code: dict[str, Executor]) -> None:
    [error] = answers(own_code["simple_string"], *REQUESTS["simple_string: no number"])
    assert error == ("INVALID_ARG", "invalid literal for int() with base 10: b'x'")
