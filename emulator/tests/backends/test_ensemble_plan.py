"""The data flow of ensembles: the order of outputs, the steps that a request needs, and shapes between members."""

import pytest

from triton_emulator.backends.ensemble.plan import Plan, fitted, prune
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.pbtxt import parse_config


def plan(inputs: str, outputs: str, *steps: tuple[str, str]) -> Plan:
    """`steps` are (tensors read, tensors written), names of one letter."""

    def tensors(kind: str, names: str) -> str:
        rows = ", ".join(f'{{ name: "{name}" data_type: TYPE_INT32 dims: [ -1 ] }}' for name in names)
        return f"{kind} [ {rows} ]\n"

    def step(reads: str, writes: str) -> str:
        maps = [f'input_map {{ key: "I{name}" value: "{name}" }}' for name in reads]
        maps += [f'output_map {{ key: "O{name}" value: "{name}" }}' for name in writes]
        return f'{{ model_name: "m" model_version: -1 {" ".join(maps)} }}'

    text = f"""name: "e" platform: "ensemble"
{tensors("input", inputs)}{tensors("output", outputs)}
ensemble_scheduling {{ step [ {", ".join(step(*one) for one in steps)} ] }}"""
    return Plan.of(ModelConfig.of(parse_config(text)))


CHAIN = plan("X", "ML", ("X", "M"), ("M", "L"))
TWO_WAYS = plan("X", "AB", ("X", "A"), ("X", "B"))


def left(of: Plan, requested: str) -> set[int]:
    """The steps whose inputs can still arrive."""
    return {number for readers in prune(of, requested).values() for number in readers}


def test_outputs_come_in_the_order_of_tritons_hash_map() -> None:
    assert list(CHAIN.outputs) == ["L", "M"]


def test_with_all_outputs_requested_no_step_is_left_out() -> None:
    assert prune(CHAIN, "ML") is CHAIN.readers


def test_a_step_that_nothing_needs_is_left_out() -> None:
    assert left(TWO_WAYS, "A") == {0}
    assert left(TWO_WAYS, "B") == {1}


@pytest.mark.parametrize("requested", ["M", "L"])
def test_a_request_for_half_a_chain_runs_no_step(requested: str) -> None:
    # recorded: 2.51 answers that the ensemble is in a deadlock
    assert prune(CHAIN, requested)["X"] == frozenset()


@pytest.mark.parametrize(
    ("shape", "dims", "batching", "batch", "taken"),
    [
        ((2, 3), (-1,), True, 2, (2, 3)),
        ((3,), (-1,), True, 0, (1, 3)),
        ((2, 3), (-1,), True, 0, (2, 3)),
        ((1, 3), (-1,), False, 1, (3,)),
        ((2, 3), (-1,), False, 2, (2, 3)),
        ((1, 3), (-1, -1), False, 1, (1, 3)),
    ],
    ids=[
        "both batch",
        "a batch of one is made of a tensor without one",
        "a tensor of full shape is a batch already",
        "a batch of one is taken off",
        "a batch of two cannot be",
        "a batch that fits as it is stays",
    ],
)
def test_shapes_between_models_with_and_without_a_batch_dimension(
    shape: tuple[int, ...], dims: tuple[int, ...], batching: bool, batch: int, taken: tuple[int, ...]
) -> None:
    assert fitted(shape, dims, batching=batching, batch_size=batch) == taken
