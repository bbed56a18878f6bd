"""The configuration as the engine and the backends read it."""

import pytest

from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.repository.config.backend_update import update_config
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec
from triton_emulator.repository.config.pbtxt import parse_config
from triton_emulator.repository.config.to_json import config_dict


def test_tensors_show_their_wire_types_dims_and_metadata_shapes() -> None:
    config = ModelConfig.of(
        parse_config(
            'name: "m" backend: "python" max_batch_size: 4\n'
            'input { name: "TEXT" data_type: TYPE_STRING dims: 1 optional: true reshape { shape: [ ] } }\n'
            'input { name: "IDS" data_type: TYPE_INT64 dims: [ -1, 2 ] allow_ragged_batch: true }\n'
            'output { name: "OUT" data_type: TYPE_BF16 dims: 3 label_filename: "l" }\n'
            'parameters { key: "b" value { string_value: "2" } }\nparameters { key: "a" value { string_value: "1" } }\n'
            "model_transaction_policy { decoupled: true }\n"
        )
    )
    assert config.inputs == (
        TensorSpec("TEXT", "BYTES", (1,), (-1, 1), optional=True, reshape=()),
        TensorSpec("IDS", "INT64", (-1, 2), (-1, -1, 2), allow_ragged_batch=True),
    )
    assert config.outputs == (TensorSpec("OUT", "BF16", (3,), (-1, 3), label_filename="l"),)
    assert config.input("IDS") is config.inputs[1]
    assert config.output("OUT") is config.outputs[0]
    assert config.input("OUT") is None
    assert config.parameters == {"a": "1", "b": "2"}
    assert (config.name, config.backend, config.platform, config.max_batch_size) == ("m", "python", "", 4)
    assert config.decoupled
    assert not config.is_ensemble


def test_a_model_that_does_not_batch_shows_its_dims_as_its_shape() -> None:
    config = ModelConfig.of(parse_config('input { name: "IN" data_type: TYPE_BOOL dims: [ 2, 3 ] }'))
    assert config.inputs[0].shape == (2, 3)


def test_a_backend_may_change_tensors_batching_and_the_transaction_policy_and_nothing_else() -> None:
    config = parse_config('name: "m" backend: "python"\ninput { name: "OLD" data_type: TYPE_BOOL dims: 1 }')
    update = config_dict(config) | {
        "name": "other",
        "backend": "other",
        "max_batch_size": 6,
        "input": [{"name": "X", "data_type": "TYPE_INT8", "dims": [2, -1]}],
        "output": [{"name": "Y", "data_type": "TYPE_STRING", "dims": [1]}],
        "dynamic_batching": {},
        "model_transaction_policy": {"decoupled": True},
        "parameters": {"k": {"string_value": "v"}},
    }
    update_config(config, update)
    completed = ModelConfig.of(config)
    assert (completed.name, completed.backend, completed.parameters) == ("m", "python", {})
    assert completed.inputs == (TensorSpec("X", "INT8", (2, -1), (-1, 2, -1)),)
    assert completed.outputs == (TensorSpec("Y", "BYTES", (1,), (-1, 1)),)
    assert completed.decoupled
    assert list(config.dynamic_batching.preferred_batch_size) == [6]


def test_a_scheduler_that_the_config_chose_is_kept() -> None:
    config = parse_config('name: "m" backend: "python" max_batch_size: 2\nsequence_batching { }')
    update_config(config, {"max_batch_size": 2, "dynamic_batching": {}})
    assert config.WhichOneof("scheduling_choice") == "sequence_batching"


@pytest.mark.parametrize(
    "update", [{"input": [{"name": "X", "data_type": "TYPE_NOPE", "dims": [2]}]}, {"nope": 1}]
)
def test_an_update_that_is_no_config_leaves_the_model_without_one(update: dict[str, object]) -> None:
    with pytest.raises(TritonError) as caught:
        update_config(parse_config('name: "m"'), update)
    assert (caught.value.code, caught.value.message) == (
        Code.NOT_FOUND,
        "model configuration is not provided for model 'm'",
    )
