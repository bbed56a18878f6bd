"""The labels of the classes of a model's outputs, from the files that its config names."""

from collections.abc import Callable, Mapping
from pathlib import Path

from triton_emulator.protocol.errors import internal
from triton_emulator.repository.schema import Proto

#: by output name, the label of each class in turn
Labels = Mapping[str, tuple[str, ...]]


def read_labels(config: Proto, directory: Path) -> Labels:
    """The labels of each output that has a `label_filename`. Raises INTERNAL for a file that cannot be read."""
    labels = {}
    for output in config.output:
        if output.label_filename:
            path = f"{directory}/{output.label_filename}"
            try:
                text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
            except OSError as error:
                raise internal(f"failed to open text file for read {path}: {error.strerror}") from None
            labels[output.name] = tuple(text.removesuffix("\n").split("\n")) if text else ()
    return labels


def with_member_labels(labels: Labels, config: Proto, member_labels: Callable[[Proto], Labels]) -> Labels:
    """An ensemble's labels: an output without labels has those of the member that writes it.

    `member_labels` returns the labels of a step's model.
    """
    found = dict(labels)
    for step in config.ensemble_scheduling.step:
        for name, ensemble_name in step.output_map.items():
            from_member = member_labels(step).get(name)
            if from_member and not any(found.get(ensemble_name, ())):
                found[ensemble_name] = from_member
    return {output.name: found[output.name] for output in config.output if output.name in found}
