"""YAML whose values remember the line they stand on. Line numbers count from 1, as editors do."""

from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]


class YamlError(ValueError):
    """The text is not YAML, or a mapping names a key twice. `line` is where."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(slots=True)
class Document:
    """A YAML document: plain data, and the line of each key and item by its path."""

    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """Return the line of a path, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def load(text: str) -> Document:
    """Read one document. YamlError if that cannot be done."""
    document = Document(None)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                _walk(node, (), document.lines, ())
                document.data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or error.context or "", mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise YamlError("the file holds characters that YAML does not allow", None) from error
    return document


def _walk(node: Any, path: Path, lines: dict[Path, int], around: tuple[Any, ...]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if node in around:
        raise YamlError("an alias stands inside of what it names", node.start_mark.line + 1)
    around = (*around, node)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a key must be a word", key.start_mark.line + 1)
            if key.value in seen:
                raise YamlError(f"'{key.value}' is given twice", key.start_mark.line + 1)
            seen.add(key.value)
            lines[*path, key.value] = key.start_mark.line + 1
            _walk(value, (*path, key.value), lines, around)
    elif isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            _walk(item, (*path, at), lines, around)
