"""A model's configuration as a value: what the engine, the backends and the frontends read of `config.pbtxt`."""

from dataclasses import dataclass, field

from triton_emulator.protocol.datatypes import BY_CONFIG_NAME
from triton_emulator.repository.config.raw_text import as_shown, to_text
from triton_emulator.repository.schema import Proto, enum_name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    `datatype` is the wire name ("FP32", "BYTES"); `dims` are as in the config, without the batch dimension, -1 for a
    variable one; `shape` is what metadata shows: `dims`, after -1 when the model batches. `reshape` is the shape that
    the backend sees in place of `dims`, None without one (an empty tuple is a scalar per batch row).
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    shape: tuple[int, ...]
    optional: bool = False
    label_filename: str = ""
    reshape: tuple[int, ...] | None = None
    allow_ragged_batch: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ModelConfig:
    """A completed configuration; `proto` is the `inference.ModelConfig` message it was made from (do not change it)."""

    proto: Proto
    name: str
    platform: str
    backend: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    decoupled: bool
    #: the `string_value` of each entry, as backends get it
    parameters: dict[str, str]
    #: how many inputs are not optional
    required_inputs: int
    _inputs: dict[str, TensorSpec] = field(repr=False)
    _outputs: dict[str, TensorSpec] = field(repr=False)

    @classmethod
    def of(cls, proto: Proto) -> "ModelConfig":
        batching = proto.max_batch_size > 0
        inputs = tuple(_input(tensor, batching) for tensor in proto.input)
        outputs = tuple(_output(tensor, batching) for tensor in proto.output)
        return cls(
            proto=proto,
            name=to_text(proto.name),
            platform=to_text(proto.platform),
            backend=to_text(proto.backend),
            max_batch_size=proto.max_batch_size,
            inputs=inputs,
            outputs=outputs,
            decoupled=proto.model_transaction_policy.decoupled,
            parameters={
                as_shown(key): as_shown(value.string_value) for key, value in sorted(proto.parameters.items())
            },
            required_inputs=sum(not spec.optional for spec in inputs),
            # 2.51: of two tensors with one name the first is the one that requests reach
            _inputs={spec.name: spec for spec in reversed(inputs)},
            _outputs={spec.name: spec for spec in reversed(outputs)},
        )

    def input(self, name: str) -> TensorSpec | None:
        return self._inputs.get(name)

    def output(self, name: str) -> TensorSpec | None:
        return self._outputs.get(name)

    @property
    def is_ensemble(self) -> bool:
        return self.platform == "ensemble"


#: the kind of the control that gives a model the id of a request's sequence
SEQUENCE_ID = "CONTROL_SEQUENCE_CORRID"


def sequence_id_control(config: ModelConfig) -> tuple[str, str] | None:
    """The name and the datatype of the input that gives a model sequence ids; None where it has none."""
    for tensor in config.proto.sequence_batching.control_input:
        for control in tensor.control:
            if enum_name(control, "kind") == SEQUENCE_ID:
                return to_text(tensor.name), BY_CONFIG_NAME[enum_name(control, "data_type")].name
    return None


def _datatype(tensor: Proto) -> str:
    row = BY_CONFIG_NAME.get(enum_name(tensor, "data_type"))
    return row.name if row else ""


def _shape(tensor: Proto, batching: bool) -> tuple[int, ...]:
    return (-1, *tensor.dims) if batching else tuple(tensor.dims)


def _reshape(tensor: Proto) -> tuple[int, ...] | None:
    return tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None


def _input(tensor: Proto, batching: bool) -> TensorSpec:
    return TensorSpec(
        name=to_text(tensor.name),
        datatype=_datatype(tensor),
        dims=tuple(tensor.dims),
        shape=_shape(tensor, batching),
        optional=tensor.optional,
        reshape=_reshape(tensor),
        allow_ragged_batch=tensor.allow_ragged_batch,
    )


def _output(tensor: Proto, batching: bool) -> TensorSpec:
    return TensorSpec(
        name=to_text(tensor.name),
        datatype=_datatype(tensor),
        dims=tuple(tensor.dims),
        shape=_shape(tensor, batching),
        label_filename=to_text(tensor.label_filename),
        reshape=_reshape(tensor),
    )
