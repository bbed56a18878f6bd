"""An ensemble's steps, and the graph of its tensors: which tensor is made from which, and in which order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.schema import Proto


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an ensemble. `inputs` and `outputs` are (the member's tensor, the ensemble's tensor), by the former.

    `version` is -1 for the newest one. `namespace` is the repository that the member is in, "" without model
    namespacing.
    """

    model: str
    version: int
    namespace: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]

    @property
    def version_text(self) -> str:
        """The version as a request names it: "" for the newest."""
        return "" if self.version < 0 else str(self.version)

    @property
    def member(self) -> tuple[str, str, str]:
        """Which model a request of this step goes to: its name, its version and its namespace."""
        return self.model, self.version_text, self.namespace


def steps_of(config: Proto) -> tuple[Step, ...]:
    """The steps in the order of the config; none for a model that is no ensemble."""
    return tuple(
        Step(
            to_text(step.model_name),
            step.model_version,
            to_text(step.model_namespace),
            _pairs(step.input_map),
            _pairs(step.output_map),
        )
        for step in config.ensemble_scheduling.step
    )


def _pairs(names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((to_text(name), to_text(ensemble_name)) for name, ensemble_name in sorted(names.items()))


@dataclass(slots=True, eq=False)
class Node:
    """A tensor of an ensemble. `step` is the number of the step that writes it, None for one that no step writes.

    `sources` are the tensors that this step reads, `readers` those that are written by the steps that read this one.
    """

    name: str
    step: int | None = None
    sources: list["Node"] = field(default_factory=list)
    readers: list["Node"] = field(default_factory=list)


def graph_of(steps: Sequence[Step]) -> dict[str, Node]:
    """The ensemble's tensors that any step reads or writes, by name, in the order in which the steps name them."""
    nodes: dict[str, Node] = {}
    for number, step in enumerate(steps):
        written = [nodes.setdefault(name, Node(name)) for _, name in step.outputs]
        for node in written:
            node.step = number
        for _, name in step.inputs:
            source = nodes.setdefault(name, Node(name))
            for node in written:
                node.sources.append(source)
                source.readers.append(node)
    return nodes


def flow(inputs: Iterable[Node]) -> Iterator[Node]:
    """The inputs, then every tensor that can be written, each once all of its sources have come."""
    queue = list(inputs)
    there = {node.name for node in queue}
    for node in queue:
        yield node
        for reader in node.readers:
            if reader.name not in there and all(source.name in there for source in reader.sources):
                there.add(reader.name)
                queue.append(reader)
