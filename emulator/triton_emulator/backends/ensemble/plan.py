"""The data flow of an ensemble: which steps read and write which tensors, and which steps a request needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from triton_emulator.cxx.unordered_map import walk
from triton_emulator.repository.config.ensemble_graph import Step, steps_of
from triton_emulator.repository.config.model_config import ModelConfig

#: The steps that read each ensemble tensor, by their numbers.
Readers = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The data flow that an ensemble's configuration describes.

    `readers` and `writers` are steps by ensemble tensor. `outputs` are the dims of the ensemble's outputs (after
    reshape), in the order in which Triton answers them: that of its hash map. `optional` are the inputs that a request
    may leave out.
    """

    steps: tuple[Step, ...]
    readers: Readers
    writers: Mapping[str, int]
    outputs: Mapping[str, tuple[int, ...]]
    optional: tuple[str, ...]

    @classmethod
    def of(cls, config: ModelConfig) -> "Plan":
        steps = steps_of(config.proto)
        readers: dict[str, set[int]] = {spec.name: set() for spec in (*config.inputs, *config.outputs)}
        writers: dict[str, int] = {}
        for number, step in enumerate(steps):
            for _, tensor in step.inputs:
                readers.setdefault(tensor, set()).add(number)
            for _, tensor in step.outputs:
                readers.setdefault(tensor, set())
                writers.setdefault(tensor, number)
        specs = {spec.name: spec for spec in config.outputs}
        return cls(
            steps,
            {tensor: frozenset(numbers) for tensor, numbers in readers.items()},
            writers,
            {
                name: spec.dims if spec.reshape is None else spec.reshape
                for name, spec in ((name, specs[name]) for name in walk(specs))
            },
            tuple(spec.name for spec in config.inputs if spec.optional),
        )


def prune(plan: Plan, requested: Iterable[str]) -> Readers:
    """The readers that remain when only these outputs are requested.

    2.51: a step whose outputs are not requested is dropped even if another step reads them. So in a chain whose middle
    tensor is an output too, requesting only the last output ends in a deadlock. The ensemble's own inputs have no
    writer; they count as outputs of the first step, because the look-up in Triton's map finds 0 for them.
    """
    ignored = set(plan.outputs) - set(requested)
    if not ignored:
        return plan.readers
    left = {tensor: set(numbers) for tensor, numbers in plan.readers.items()}
    open_outputs = [len(step.outputs) for step in plan.steps]
    while ignored:
        found: set[str] = set()
        for tensor in ignored:
            number = plan.writers.get(tensor, 0)
            open_outputs[number] -= 1
            if open_outputs[number] == 0:
                for _, source in plan.steps[number].inputs:
                    left[source].discard(number)
                    if not left[source]:
                        found.add(source)
        ignored = found
    return {tensor: frozenset(numbers) for tensor, numbers in left.items()}


def fitted(shape: Sequence[int], dims: Sequence[int], *, batching: bool, batch_size: int) -> tuple[int, ...]:
    """A tensor's shape as its reader takes it, if only one of the two models has a batch dimension.

    `dims` are the reader's, without its batch dimension. `batch_size` is that of the request that made the tensor, 0 if
    its model has no batch dimension. `batching` says whether the reader has one.
    """
    taken = tuple(shape)
    if batching == (batch_size != 0):
        return taken
    if batching:
        return (1, *taken) if _matches(dims, taken) else taken
    return taken[1:] if batch_size == 1 and not _matches(dims, taken) else taken


def _matches(dims: Sequence[int], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))
