"""Reads YAML and keeps the line of every value. Lines count from 1, as in editors."""

from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
# Limits that no real config reaches: a few lines of aliases of aliases can make a document of any size.
MOST_VALUES = 100_000
MOST_BITS = 1 << 13


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
        """Return the line of a path, or of the nearest value around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def load(text: str) -> Document:
    """Read one document. YamlError if the text cannot be read."""
    document = Document(None)
    try:
        loader = _Loader(text)
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
    except RecursionError as error:
        raise YamlError("brackets are nested too deeply", None) from error
    except yaml.YAMLError as error:
        raise YamlError("the file holds characters that YAML does not allow", None) from error
    return document


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, with YamlError for values such as a date of month 13, for which it raises other exceptions."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except YamlError:
            raise
        except (ValueError, KeyError, AttributeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            raise YamlError(
                f"this is not a valid value of type {kind}: put it in quotes",
                _line(node),
            ) from error
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise YamlError("a number has too many digits", _line(node))
        return value


def _line(node: Any) -> int:
    line: int = node.start_mark.line + 1
    return line


def _walk(node: Any, path: Path, lines: dict[Path, int], around: tuple[Any, ...]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > MOST_VALUES:
        raise YamlError(f"there are more than {MOST_VALUES} values; aliases count each time", _line(node))
    if node in around:
        raise YamlError("an alias is inside of the value that it refers to", node.start_mark.line + 1)
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
