"""The labels of the classes of a model's outputs, from the files that its config names."""

import os.path
from collections.abc import Callable, Mapping
from pathlib import Path

from triton_emulator.protocol.errors import internal, unsupported
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.config.whole_file import read_whole
from triton_emulator.repository.schema import Proto

#: by output name, the label of each class in turn
Labels = Mapping[str, tuple[bytes, ...]]


def read_labels(config: Proto, directory: Path, rules: Personality) -> Labels:
    """The labels of each output that has a `label_filename`.

    Raises INTERNAL for a file that cannot be read, and UNSUPPORTED for one that must not be where it is.
    """
    labels = {}
    for output in config.output:
        if output.label_filename:
            path = f"{directory}/{to_text(output.label_filename)}"
            if rules.label_files_inside and not _is_inside(path, directory, exactly=rules.label_paths_exact):
                raise unsupported(
                    f"label file path '{path}' for output '{to_text(output.name)}' in model '{to_text(config.name)}' "
                    "is outside model directory"
                )
            try:
                content = read_whole(Path(path))
            except OSError as error:
                raise internal(f"failed to open text file for read {path}: {error.strerror}") from None
            labels[to_text(output.name)] = _lines(content)
    return labels


def _is_inside(path: str, directory: Path, *, exactly: bool) -> bool:
    """Whether a file is in a folder. Not `exactly`: or in one whose path only begins as the folder's does."""
    folder = os.path.realpath(directory)
    return f"{os.path.realpath(path)}/".startswith(f"{folder}/" if exactly else folder)


def _lines(content: bytes) -> tuple[bytes, ...]:
    """The labels in a file. 2.51: only a line feed ends one, and a label ends at a zero byte, as a C string."""
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    return tuple(line.partition(b"\0")[0] for line in lines)


def with_member_labels(labels: Labels, config: Proto, member_labels: Callable[[Proto], Labels]) -> Labels:
    """An ensemble's labels: an output without labels has those of the member that writes it.

    `member_labels` returns the labels of a step's model.
    """
    found = dict(labels)
    for step in config.ensemble_scheduling.step:
        for name, ensemble_name in step.output_map.items():
            from_member = member_labels(step).get(to_text(name))
            if from_member and not any(found.get(to_text(ensemble_name), ())):
                found[to_text(ensemble_name)] = from_member
    names = [to_text(output.name) for output in config.output]
    return {name: found[name] for name in names if name in found}
