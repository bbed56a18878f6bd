"""Outputs made from a config: their names, datatypes and shapes are right, and equal inputs give equal outputs."""

import numpy as np
import pytest

from emulator.tests.backends.standins.driving import Exchange, Given, Model
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.tensor import Tensor


def config(
    outputs: str, inputs: str = '{ name: "X" data_type: TYPE_FP32 dims: [ -1, 4 ] }', rest: str = ""
) -> str:
    return f'backend: "onnxruntime" {rest} input [ {inputs} ] output [ {outputs} ]'


def x(rows: int = 1, width: int = 4, fill: float = 1.0, lead: tuple[int, ...] = ()) -> Given:
    shape = [*lead, rows, width]
    return {"X": ("FP32", [fill] * int(np.prod(shape)), shape)}


def only(exchange: Exchange) -> Tensor:
    [tensor] = exchange.responses[0].outputs
    return tensor


ALL_TYPES = [name for name in DATATYPES if name != "BYTES"]


@pytest.mark.parametrize("datatype", ALL_TYPES)
def test_every_datatype_can_be_generated(datatype: str) -> None:
    row = DATATYPES[datatype]
    made = only(Model(config(f'{{ name: "Y" data_type: {row.config_name} dims: [ 3 ] }}')).ask(x()))
    assert (made.datatype, made.shape) == (datatype, (3,))
    assert made.array.dtype == row.numpy
    assert len(bytes(made.data)) == 3 * row.size


def test_bytes_are_words() -> None:
    made = only(Model(config('{ name: "Y" data_type: TYPE_STRING dims: [ 3 ] }')).ask(x()))
    assert all(element.isalpha() for element in made.array.tolist())


FLOATS = '{ name: "Y" data_type: TYPE_FP32 dims: [ 6 ] }'


def test_the_same_input_gives_the_same_values_and_another_gives_others() -> None:
    same = only(Model(config(FLOATS)).ask(x())).array
    assert (same == only(Model(config(FLOATS)).ask(x())).array).all()
    assert (same != only(Model(config(FLOATS)).ask(x(fill=2.0))).array).all()
    assert (same != only(Model(config(FLOATS), "{seed: 1}").ask(x())).array).all()


def test_two_outputs_hold_different_values() -> None:
    two = FLOATS + "," + FLOATS.replace('"Y"', '"Z"')
    first, second = Model(config(two)).ask(x()).responses[0].outputs
    assert (first.array != second.array).all()


def test_floats_lie_between_0_and_1_and_integers_between_0_and_9() -> None:
    floats = only(Model(config(FLOATS.replace("6", "500"))).ask(x())).array
    assert 0 <= floats.min() < 0.1
    assert 0.9 < floats.max() < 1
    integers = only(Model(config('{ name: "Y" data_type: TYPE_INT64 dims: [ 500 ] }')).ask(x())).array
    assert set(integers.tolist()) == set(range(10))


def test_settings_choose_the_range() -> None:
    made = only(
        Model(config('{ name: "Y" data_type: TYPE_INT8 dims: [ 500 ] }'), "{range: [-2, 2]}").ask(x())
    )
    assert set(made.array.tolist()) == {-2, -1, 0, 1, 2}


def test_probabilities_add_up_to_1() -> None:
    made = only(Model(config('{ name: "probs" data_type: TYPE_FP32 dims: [ -1, 10 ] }')).ask(x(3)))
    assert made.shape == (3, 10)
    assert made.array.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


def test_settings_can_fix_the_values() -> None:
    made = only(Model(config(FLOATS), "{values: {Y: [0.25, 0.5]}}").ask(x()))
    assert made.array.tolist() == [0.25, 0.5, 0.25, 0.5, 0.25, 0.5]


def test_fixed_values_can_be_texts() -> None:
    labels = '{ name: "Y" data_type: TYPE_STRING dims: [ 2 ] }'
    made = only(Model(config(labels), "{values: {Y: [cat, 3]}}").ask(x()))
    assert made.array.tolist() == [b"cat", b"3"]


# --- shapes ---


@pytest.mark.parametrize(
    "dims, expected",
    [("-1, 4", (3, 4)), ("-1, -1", (3, 4)), ("-1", (1,)), ("2, -1, 5", (2, 1, 5)), ("", ())],
    ids=[
        "a variable dim follows the input's",
        "a fixed input dim is used where there is no variable one",
        "another rank gives 1",
        "fixed dims stay",
        "a scalar",
    ],
)
def test_variable_dims_come_from_an_input_of_equal_rank(dims: str, expected: tuple[int, ...]) -> None:
    made = only(Model(config(f'{{ name: "Y" data_type: TYPE_FP32 dims: [ {dims} ] }}')).ask(x(3)))
    assert made.shape == expected
    assert made.array.shape == expected


def test_settings_name_the_axis_that_a_dim_follows() -> None:
    made = only(
        Model(config('{ name: "Y" data_type: TYPE_FP32 dims: [ -1, -1 ] }'), '{dims: {Y: ["X[0]", 7]}}').ask(
            x(3)
        )
    )
    assert made.shape == (3, 7)


@pytest.mark.parametrize(
    "dims, complaint",
    [
        ("[5]", r"'dims' \[5\] of output 'Y' do not fit \[-1, 4\]"),
        ("[1, 5]", r"'dims' \[1, 5\] of output 'Y' do not fit"),
        ('["W[0]", 4]', r"dim 'W\[0\]' of model 'm' is neither a number nor INPUT\[axis\]"),
        ('["X[2]", 4]', r"dim 'X\[2\]' of model 'm': input 'X' has dims \[.*\], and the first axis is 0$"),
    ],
    ids=["another rank", "another fixed dim", "an unknown input", "an axis that the input does not have"],
)
def test_dims_that_do_not_fit_the_config_keep_the_model_from_loading(dims: str, complaint: str) -> None:
    with pytest.raises(LoadError, match=complaint):
        Model(config('{ name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] }'), f"{{dims: {{Y: {dims}}}}}")


BATCHING = "max_batch_size: 8"


def test_a_batch_row_is_answered_as_if_it_were_alone() -> None:
    model = Model(config(FLOATS, rest=BATCHING))
    both = only(model.ask({"X": ("FP32", [1.0] * 4 + [2.0] * 4, [2, 1, 4])}))
    assert both.shape == (2, 6)
    for row, fill in enumerate((1.0, 2.0)):
        assert (both.array[row] == only(model.ask(x(fill=fill, lead=(1,)))).array[0]).all()


def test_rows_of_texts_count_as_rows_too() -> None:
    texts = '{ name: "X" data_type: TYPE_STRING dims: [ 1 ] }'
    model = Model(config(FLOATS, inputs=texts, rest=BATCHING), "{behaviour: synthetic}")
    both = only(model.ask({"X": ("BYTES", ["a", "b"], [2, 1])}))
    assert (both.array[1] == only(model.ask({"X": ("BYTES", ["b"], [1, 1])})).array[0]).all()


def test_an_empty_batch_gives_an_empty_output() -> None:
    made = only(Model(config(FLOATS, rest=BATCHING)).ask({"X": ("FP32", [], [0, 1, 4])}))
    assert (made.shape, bytes(made.data)) == ((0, 6), b"")


def test_a_large_output_repeats_what_was_drawn() -> None:
    made = only(Model(config(FLOATS.replace("6", "100000"))).ask(x())).array
    assert (made[:1000] == made[65536:66536]).all()


def test_an_output_too_large_to_generate_is_an_error() -> None:
    exchange = Model(config(FLOATS.replace("6", "100000, 100000"))).ask(x())
    assert exchange.error == (
        "INTERNAL",
        "output 'Y' of shape [100000, 100000] is too large to make up; set its 'dims'",
    )


def test_a_decoupled_model_answers_once() -> None:
    exchange = Model(config(FLOATS, rest="model_transaction_policy { decoupled: true }")).ask(x())
    assert len(exchange.responses) == 1


def test_only_requested_outputs_are_sent_in_the_configs_order() -> None:
    three = ",".join(FLOATS.replace('"Y"', f'"{name}"') for name in "ABC")
    assert Model(config(three)).ask(x(), outputs=["C", "A"]).outputs == ["A", "C"]


# --- identity ---


def test_an_identity_gives_back_what_it_was_given() -> None:
    same = config('{ name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] }')
    made = only(Model(same, "{behaviour: identity}").ask(x(2, fill=3.5)))
    assert (made.name, made.shape, made.array.tolist()) == ("Y", (2, 4), [[3.5] * 4] * 2)


def test_an_identity_pairs_tensors_by_datatype_in_the_configs_order() -> None:
    inputs = ",".join(
        f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ 1 ] }}'
        for name, datatype in (("A", "INT32"), ("B", "STRING"), ("C", "INT32"))
    )
    outputs = ",".join(
        f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ 1 ] }}'
        for name, datatype in (("P", "STRING"), ("Q", "INT32"), ("R", "INT32"))
    )
    model = Model(config(outputs, inputs), "{behaviour: identity}")
    exchange = model.ask({"C": ("INT32", [3]), "B": ("BYTES", ["b"]), "A": ("INT32", [1])})
    assert exchange.outputs == ["P", "Q", "R"]
    assert [exchange.texts(name) for name in "PQR"] == [[["b"]], [[1]], [[3]]]


def test_an_identity_needs_an_input_for_each_output() -> None:
    with pytest.raises(LoadError, match="finds no BYTES input for output 'Y'"):
        Model(config('{ name: "Y" data_type: TYPE_STRING dims: [ 1 ] }'), "{behaviour: identity}")


@pytest.mark.parametrize("behaviour", ["synthetic", "identity"])
def test_an_answer_can_take_its_time(behaviour: str) -> None:
    same = config('{ name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] }')
    assert Model(same, f"{{behaviour: {behaviour}, delay_ms: 30}}").ask(x()).times == [0.03]


def test_a_request_cancelled_while_it_waits_is_answered_with_an_error() -> None:
    model = Model(config(FLOATS), "{delay_ms: 30}")
    exchange = model.start(x())
    exchange.call.cancelled = True
    model.clock.run()
    assert exchange.error == ("CANCELLED", "Request was cancelled")


def test_an_input_left_out_counts_as_1_in_shapes() -> None:
    optional = '{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] optional: true }'
    made = only(Model(config('{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }', optional)).ask({}))
    assert made.shape == (1,)


def test_an_identity_leaves_out_what_was_left_out() -> None:
    optional = (
        '{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }, { name: "W" data_type: TYPE_INT8 dims: [ 1 ] }'
    )
    model = Model(config('{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }', optional), "{behaviour: identity}")
    assert model.ask({"W": ("INT8", [1]), "X": ("FP32", [2.0])}).outputs == ["Y"]


def test_fixed_values_of_bf16_are_the_upper_halves_of_floats() -> None:
    halves = '{ name: "Y" data_type: TYPE_BF16 dims: [ 2 ] }'
    made = only(Model(config(halves), "{values: {Y: [1.0, -2.0]}}").ask(x()))
    assert made.array.tolist() == [0x3F80, 0xC000]


def test_fixed_values_of_another_type_keep_the_model_from_loading() -> None:
    with pytest.raises(LoadError, match="'values' of output 'Y' are not FP32: could not convert"):
        Model(config(FLOATS), "{values: {Y: [cat]}}")
