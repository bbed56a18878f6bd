"""An ensemble's data flow: which steps read and write which ensemble tensors, and which steps a request needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from triton_emulator.cxx.unordered_map import walk
from triton_emulator.repository.config.ensemble_graph import Step, steps_of
from triton_emulator.repository.config.model_config import ModelConfig

#: The steps that read each ensemble tensor, by their numbers.
Readers = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ensemble's configuration says of its steps.

    `outputs` are the dims of the ensemble's outputs (of their reshape where they have one), in the order in which
    Triton answers them: that of its hash map. `optional` are the inputs that a request may leave out.
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
    """The readers that are left when only these outputs are asked for.

    2.51: a step whose outputs were not asked for is dropped even where another step reads them, so asking for the last
    output of a chain alone, whose middle is an output too, ends in a deadlock. The ensemble's own inputs have no
    writer; they count against the first step, as the look-up in Triton's map makes them do.
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
    """A tensor's shape as its reader takes it, where one of the two has a batch dimension and the other has none.

    `dims` are the reader's without its batch dimension; `batch_size` is that of the request that made the tensor, 0
    where it came from a model without a batch dimension.
    """
    taken = tuple(shape)
    if batching == (batch_size != 0):
        return taken
    if batching:
        return (1, *taken) if _matches(dims, taken) else taken
    return taken[1:] if batch_size == 1 and not _matches(dims, taken) else taken


def _matches(dims: Sequence[int], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))
