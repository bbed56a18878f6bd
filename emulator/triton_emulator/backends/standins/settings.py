"""Reads `emulator.yaml`, the settings of stand-ins. Anything unknown is refused with its line.

In this order: the result (`ModelSettings`), the schema (`KEYS`: each key with its behaviours and its check), the
reader, and the functions that turn a model's settings into those of each stand-in.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from triton_emulator.backends.standins.embedding import Embedding
from triton_emulator.backends.standins.generator import Source
from triton_emulator.backends.standins.synthetic import Drawing
from triton_emulator.backends.standins.text import Behaviour

#: The file's name in a model repository.
FILE_NAME = "emulator.yaml"

BEHAVIOURS = ("text", "embedding", "synthetic", "identity", "python")


class SettingsError(Exception):
    """An `emulator.yaml` that cannot be used. The message begins with the file and the line."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """A read `emulator.yaml`: the settings of every model, then those of models whose name matches a pattern."""

    default: Mapping[str, object] = field(default_factory=dict)
    models: tuple[tuple[str, Mapping[str, object]], ...] = ()

    @classmethod
    def read(cls, path: Path) -> "ModelSettings":
        """Read a file. A missing one counts as empty. Raises SettingsError if it cannot be used."""
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(path, 1, f"cannot be read: {error}") from error
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path = Path(FILE_NAME)) -> "ModelSettings":
        """Read the text of a file; `path` is for messages. Raises SettingsError if it cannot be used."""
        return _Reader(path).settings(text)

    def for_model(self, name: str) -> dict[str, object]:
        """The settings of a model: its own entry, or that of the first pattern that matches, over the defaults."""
        exact = [entry for pattern, entry in self.models if pattern == name]
        fitting = exact or [entry for pattern, entry in self.models if fnmatchcase(name, pattern)]
        return {**self.default, **(fitting[0] if fitting else {})}


# --- the schema: key -> the behaviours that know it, and what its value must be -----------------------------------


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be an integer")


def _natural(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("must be an integer of at least 0")


def _positive(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("must be an integer of at least 1")


def _milliseconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise ValueError("must be a number of milliseconds")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be a text (quote it)")


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise ValueError("must be a text or a list of texts (quote them)")


def _replies(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(
        isinstance(part, str) for pair in value.items() for part in pair
    ):
        raise ValueError("must map regular expressions to texts (quote them)")
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"holds a broken regular expression {pattern!r}: {error}") from error
    return value


def _length(value: Any) -> tuple[int, int]:
    pair = [value, value] if isinstance(value, int) else value
    if isinstance(pair, list) and len(pair) == 2 and 0 <= _natural(pair[0]) <= _natural(pair[1]):
        return pair[0], pair[1]
    raise ValueError("must be a number of tokens or [least, most]")


def _range(value: Any) -> tuple[float, float]:
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
        and value[0] <= value[1]
    ):
        return value[0], value[1]
    raise ValueError("must be [lowest, highest]")


def _values(value: Any) -> dict[str, list[Any]]:
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        lists = {name: one if isinstance(one, list) else [one] for name, one in value.items()}
        if all(
            one and not any(isinstance(part, list | dict | None) for part in one) for one in lists.values()
        ):
            return lists
    raise ValueError("must map outputs to a value or a flat list of values")


def _dims(value: Any) -> dict[str, list[int | str]]:
    if isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(dims, list)
        and all(isinstance(dim, str) or (type(dim) is int and dim >= 0) for dim in dims)
        for name, dims in value.items()
    ):
        return value
    raise ValueError("must map outputs to lists of dimensions, each a number or INPUT[axis]")


def _behaviour(value: Any) -> str:
    if value in BEHAVIOURS:
        return str(value)
    raise ValueError(f"must be one of {', '.join(BEHAVIOURS)}{_hint(str(value), BEHAVIOURS)}")


_ALL = frozenset(BEHAVIOURS)
_TEXT = frozenset({"text"})
_SEEDED = frozenset({"text", "embedding", "synthetic"})
_AT_ONCE = frozenset({"embedding", "synthetic", "identity"})
_NAMED = frozenset({"text", "embedding"})

KEYS: dict[str, tuple[frozenset[str], Callable[[Any], object]]] = {
    "behaviour": (_ALL, _behaviour),
    "seed": (_SEEDED, _integer),
    "input": (_NAMED, _text),
    "output": (_NAMED, _text),
    "echo": (_TEXT, _boolean),
    "reply": (_TEXT, _texts),
    "replies": (_TEXT, _replies),
    "length": (_TEXT, _length),
    "max_tokens": (_TEXT, _natural),
    "stream": (_TEXT, _boolean),
    "exclude_input_in_output": (_TEXT, _boolean),
    "cumulative": (_TEXT, _boolean),
    "time_to_first_token_ms": (_TEXT, _milliseconds),
    "time_per_token_ms": (_TEXT, _milliseconds),
    "fail_after_tokens": (_TEXT, _natural),
    "fail_message": (_TEXT, _text),
    "dim": (frozenset({"embedding"}), _positive),
    "delay_ms": (_AT_ONCE, _milliseconds),
    "range": (_SEEDED, _range),
    "values": (_SEEDED, _values),
    "dims": (_SEEDED, _dims),
}

_SECTIONS = ("default", "models")


def _hint(given: str, known: Any) -> str:
    close = get_close_matches(given, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


class _Reader:
    """Reads one file by its YAML nodes, as these know their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self, text: str) -> ModelSettings:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SettingsError(self.path, line, f"not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise SettingsError(self.path, 1, f"not YAML: {error}") from error
        if root is None:
            return ModelSettings()
        default: Mapping[str, object] = {}
        models: list[tuple[str, Mapping[str, object]]] = []
        for section, key, value in self._pairs(root, "the file"):
            if section == "default":
                default = self._entry(value, "'default'")
            elif section == "models":
                pairs = self._pairs(value, "'models'")
                models = [(name, self._entry(node, f"model '{name}'")) for name, _, node in pairs]
            else:
                raise self._error(key, f"unknown section '{section}'{_hint(section, _SECTIONS)}")
        return ModelSettings(default, tuple(models))

    def _entry(self, node: yaml.Node, where: str) -> dict[str, object]:
        entry: dict[str, object] = {}
        lines: dict[str, yaml.Node] = {}
        for name, key, value in self._pairs(node, where):
            if name not in KEYS:
                raise self._error(key, f"unknown key '{name}' in {where}{_hint(name, KEYS)}")
            try:
                entry[name] = KEYS[name][1](_plain(value))
            except ValueError as error:
                raise self._error(value, f"'{name}' in {where} {error}") from error
            lines[name] = key
        chosen = entry.get("behaviour")
        for name, key in lines.items():
            if chosen is not None and chosen not in KEYS[name][0]:
                raise self._error(key, f"'{name}' in {where} has no meaning for behaviour '{chosen}'")
        return entry

    def _pairs(self, node: yaml.Node, where: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return []
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{where} must be a mapping")
        found: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, f"a key in {where} must be a name")
            if key.value in found:
                raise self._error(key, f"'{key.value}' is twice in {where}")
            found[key.value] = (key.value, key, value)
        return list(found.values())

    def _error(self, node: yaml.Node, message: str) -> SettingsError:
        return SettingsError(self.path, node.start_mark.line + 1, message)


def _plain(node: yaml.Node) -> Any:
    """The Python value of a node. Raises ValueError if a YAML tag does not give one."""
    constructor = yaml.SafeLoader("")
    try:
        return constructor.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"is not plain YAML: {getattr(error, 'problem', error)}") from error


# --- from a model's settings to what each stand-in takes ----------------------------------------------------------


def number(settings: Mapping[str, Any], key: str) -> float:
    return float(settings.get(key, 0))


def _chosen(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: settings[key] for key in keys if key in settings}


def behaviour_of(settings: Mapping[str, Any]) -> Behaviour:
    """The settings of a text stand-in."""
    source = Source(
        **_chosen(settings, "seed", "echo", "reply", "length"),
        replies={re.compile(pattern): reply for pattern, reply in settings.get("replies", {}).items()},
    )
    return Behaviour(
        source=source,
        **_chosen(
            settings,
            "max_tokens",
            "stream",
            "exclude_input_in_output",
            "cumulative",
            "time_to_first_token_ms",
            "time_per_token_ms",
            "fail_after_tokens",
            "fail_message",
        ),
    )


def drawing_of(settings: Mapping[str, Any]) -> Drawing:
    """The settings for made-up values."""
    return Drawing(**_chosen(settings, "seed", "range", "values", "dims"))


def embedding_of(settings: Mapping[str, Any]) -> Embedding:
    """The settings of an embedding stand-in."""
    return Embedding(**_chosen(settings, "seed", "dim", "input", "output"))
