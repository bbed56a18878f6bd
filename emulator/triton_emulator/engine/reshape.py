"""`reshape`: converts between the shape that clients see and the shape that the model sees."""

from collections import deque
from collections.abc import Sequence

from triton_emulator.engine.call import Deliver
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig

Shape = tuple[int, ...]


def reshaped(shape: Sequence[int], before: Sequence[int], after: Sequence[int], *, batching: bool) -> Shape:
    """Convert `shape`, which matches the dims `before`, to the dims `after`.

    The variable dimensions of `shape` fill the variable dimensions of `after`, in order; a missing one becomes 1. The
    batch dimension stays.
    """
    start = 1 if batching else 0
    variable = deque(size for size, dim in zip(shape[start:], before, strict=False) if dim == -1)
    taken = [dim if dim != -1 else variable.popleft() if variable else 1 for dim in after]
    return (*shape[:start], *taken)


def reshapes_inputs(config: ModelConfig) -> bool:
    return any(spec.reshape is not None for spec in config.inputs)


def reshapes_outputs(config: ModelConfig) -> bool:
    return any(spec.reshape is not None for spec in config.outputs)


def reshape_inputs(request: InferRequest, config: ModelConfig) -> None:
    """Convert the inputs of a validated request to the shapes that the model sees."""
    batching = config.max_batch_size > 0
    for at, tensor in enumerate(request.inputs):
        spec = config.input(tensor.name)
        if spec is not None and spec.reshape is not None:
            shape = reshaped(tensor.shape, spec.dims, spec.reshape, batching=batching)
            request.inputs[at] = tensor.renamed(tensor.name, shape)


def as_computed(outputs: Sequence[Tensor], config: ModelConfig) -> list[Tensor]:
    """Outputs in the shapes that clients see, in those in which the model makes them, for `reshaping`."""
    batching = config.max_batch_size > 0
    converted = []
    for tensor in outputs:
        spec = config.output(tensor.name)
        if spec is not None and spec.reshape is not None:
            shape = reshaped(tensor.shape, spec.dims, spec.reshape, batching=batching)
            tensor = tensor.renamed(tensor.name, shape)  # noqa: PLW2901
        converted.append(tensor)
    return converted


def reshaping(deliver: Deliver, config: ModelConfig) -> Deliver:
    """Wrap `deliver` so that it gets the outputs in the shapes that clients see."""
    batching = config.max_batch_size > 0

    def take(response: InferResponse | None, final: bool) -> None:
        if response is not None:
            for at, tensor in enumerate(response.outputs):
                spec = config.output(tensor.name)
                if spec is not None and spec.reshape is not None:
                    shape = reshaped(tensor.shape, spec.reshape, spec.dims, batching=batching)
                    response.outputs[at] = tensor.renamed(tensor.name, shape)
        deliver(response, final)

    return take
