"""Which requests may share a batch: those whose inputs have equal shapes, unless the model allows ragged batches."""

from dataclasses import dataclass

from triton_emulator.engine.call import Call
from triton_emulator.repository.config.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class EqualInputs:
    """What must be equal: `shapes` names inputs whose shapes must match, `contents` those whose bytes must, too."""

    shapes: frozenset[str]
    contents: frozenset[str]
    has_optional: bool

    @classmethod
    def of(cls, config: ModelConfig) -> "EqualInputs":
        contents = {tensor.name for tensor in config.proto.input if tensor.is_shape_tensor}
        return cls(
            frozenset(spec.name for spec in config.inputs if not spec.allow_ragged_batch and -1 in spec.dims)
            | contents,
            frozenset(contents),
            any(spec.optional for spec in config.inputs),
        )

    def fit(self, first: Call, other: Call) -> bool:
        """Whether `other` may run in the same batch as `first`."""
        if not self.shapes and not self.has_optional:
            return True
        begun = {tensor.name: tensor for tensor in first.request.inputs}
        given = other.request.inputs
        if self.has_optional and len(given) != len(begun):
            return False
        for tensor in given:
            known = begun.get(tensor.name)
            if known is None:
                if self.has_optional:
                    return False
            elif tensor.name in self.shapes:
                # the batch dimension may differ; every model with dynamic batching has one
                if known.shape[1:] != tensor.shape[1:]:
                    return False
                if tensor.name in self.contents and bytes(known.data) != bytes(tensor.data):
                    return False
        return True
