"""YAML files by their nodes, which know their lines: what is wrong is refused with its file and its line."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from triton_emulator.cxx.numbers import INT64_MIN, UINT64_MAX

#: an integer of 64 bits has 66 characters at most (in base 2)
_MOST_DIGITS = 80


class SettingsError(Exception):
    """An `emulator.yaml` that cannot be used. The message begins with the file and the line (0: the whole file)."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path = path
        self.line = line


class YamlFile:
    """The nodes of one file; `path` is for messages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<YamlFile {self.path}>"

    def root(self, text: str) -> yaml.Node | None:
        """The node of the whole text, None where it is empty. Raises SettingsError."""
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SettingsError(self.path, line, f"not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise SettingsError(self.path, 1, f"not YAML: {error}") from error
        except RecursionError:
            raise SettingsError(self.path, 1, "it is nested too deeply") from None

    def pairs(self, node: yaml.Node, where: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a mapping as texts, with the nodes of key and value. Raises SettingsError."""
        if is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{where} must be a mapping")
        found: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, f"a key in {where} must be a name")
            if key.value in found:
                raise self.error(key, f"'{key.value}' is twice in {where}")
            found[key.value] = (key.value, key, value)
        return list(found.values())

    def items(self, node: yaml.Node, where: str) -> Iterator[yaml.Node]:
        """The nodes of a list. Raises SettingsError."""
        if is_null(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, f"{where} must be a list")
        yield from node.value

    def error(self, node: yaml.Node, message: str) -> SettingsError:
        return SettingsError(self.path, line_of(node), message)


def is_null(node: yaml.Node) -> bool:
    """Whether nothing is there."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def line_of(node: yaml.Node) -> int:
    """The line on which a node begins, from 1 on."""
    return node.start_mark.line + 1


def hint(given: str, known: Iterable[str]) -> str:
    """The nearest of the known words, for the end of a message; "" without such."""
    close = get_close_matches(given, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


class _TooLarge(Exception):
    """An integer that no tensor, config or seed can hold."""


class _Constructor(yaml.SafeLoader):
    """Makes Python values of nodes. Raises _TooLarge for an integer beyond 64 bits."""

    def integer(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _MOST_DIGITS:  # Python refuses to read very many
            raise _TooLarge
        value = self.construct_yaml_int(node)
        if not INT64_MIN <= value <= UINT64_MAX:
            raise _TooLarge
        return value


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.integer)


def plain(node: yaml.Node) -> Any:
    """The Python value of a node. Raises ValueError if it is none that a key can take."""
    try:
        return _Constructor("").construct_document(node)
    except _TooLarge:
        raise ValueError("holds an integer beyond 64 bits") from None
    except Exception as error:  # PyYAML raises what Python's conversions raise: a KeyError, for one
        raise ValueError(f"is not plain YAML: {getattr(error, 'problem', error)}") from error
