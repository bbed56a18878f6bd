"""Reads `emulator.yaml`, the settings of stand-ins. Anything unknown is refused with its line.

In this order: the result (`ModelSettings`), the schema (`KEYS`: each key with its behaviours and its check), the
reader, and the functions that turn a model's settings into those of each stand-in.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import yaml

from triton_emulator.backends.standins.embedding import Embedding
from triton_emulator.backends.standins.generator import Source
from triton_emulator.backends.standins.latency import Latency
from triton_emulator.backends.standins.measured import BadFile, Measured
from triton_emulator.backends.standins.measured import parse as parse_measured
from triton_emulator.backends.standins.synthetic import Drawing
from triton_emulator.backends.standins.text import Behaviour
from triton_emulator.cxx.numbers import INT32_MAX, INT64_MAX, INT64_MIN, UINT64_MAX
from triton_emulator.protocol.datatypes import BY_CONFIG_NAME
from triton_emulator.repository.config.whole_file import read_whole

#: The file's name in a model repository.
FILE_NAME = "emulator.yaml"

#: an integer of 64 bits has 66 characters at most (in base 2)
_MOST_DIGITS = 80

BEHAVIOURS = ("text", "embedding", "synthetic", "identity", "python")


class SettingsError(Exception):
    """An `emulator.yaml` that cannot be used. The message begins with the file and the line (0: the whole file)."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class GivenTensor:
    """An input or output that `emulator.yaml` gives to a model; datatype and dims are as in `config.pbtxt`."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """A read `emulator.yaml`: the settings of every model, then those of models whose name matches a pattern."""

    default: Mapping[str, object] = field(default_factory=dict)
    models: tuple[tuple[str, Mapping[str, object]], ...] = ()
    path: Path = Path(FILE_NAME)
    #: the line of a model's entry by (pattern, ""), and of each of its keys by (pattern, key)
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "ModelSettings":
        """Read a file. A missing one counts as empty. Raises SettingsError if it cannot be used."""
        try:
            text = read_whole(path).decode("utf-8")
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
        return {**self.default, **self._entry(name)[1]}

    def _entry(self, name: str) -> tuple[str, Mapping[str, object]]:
        """The pattern and the entry of a model."""
        fitting = [entry for entry in self.models if fnmatchcase(name, entry[0])]
        return next((entry for entry in self.models if entry[0] == name), fitting[0] if fitting else ("", {}))

    def without_a_model(self, names: Iterable[str]) -> list[str]:
        """What to say of entries that fit none of a repository's models."""
        known = list(names)
        return [
            f"{self.path}:{self.lines[pattern, '']}: no model fits '{pattern}'{_hint(pattern, known)}"
            for pattern, _ in self.models
            if not any(pattern == name or fnmatchcase(name, pattern) for name in known)
        ]

    def without_meaning(self, name: str, behaviour: str) -> list[str]:
        """What to say of the keys in a model's own entry that its behaviour does not know."""
        pattern, entry = self._entry(name)
        why = "which runs here" if behaviour == "python" else f"whose behaviour is {behaviour}"
        return [
            f"{self.path}:{self.lines[pattern, key]}: '{key}' means nothing for model '{name}', {why}"
            for key in entry
            if behaviour not in KEYS[key][0]
        ]

    def without_an_output(self, name: str, outputs: Collection[str], made_up: Collection[str]) -> list[str]:
        """What to say of names in a model's own entry that are none of its outputs, or none with made-up values."""
        pattern, entry = self._entry(name)
        return [
            f"{self.path}:{self.lines[pattern, key]}: "
            + (
                f"'{key}' means nothing for output '{given}' of model '{name}', whose values are not made up"
                if given in outputs
                else f"'{key}': {no_tensor(name, 'output', given, outputs)}"
            )
            for key in entry
            if key in _OF_OUTPUTS
            for given in cast(Mapping[str, object], entry[key])
            if given not in made_up
        ]


def no_tensor(model: str, side: str, given: str, known: Collection[str]) -> str:
    """What to say of a name that is no input or output (`side`) of a model, whose names are `known`."""
    return f"model '{model}' has no {side} '{given}'; it has {', '.join(known)}"


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


def _batch_size(value: Any) -> int:
    if _natural(value) <= INT32_MAX:
        return int(value)
    raise ValueError(f"must be an integer from 0 to {INT32_MAX}, as in config.pbtxt")


def _positive(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("must be an integer of at least 1")


def _milliseconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise ValueError("must be a number of milliseconds")


def _latency(value: Any) -> float | Latency:
    if not isinstance(value, dict):
        return _milliseconds(value)
    if set(value) != {"median", "p99"}:
        raise ValueError("must be a number of milliseconds or {median: 120, p99: 400}")
    median, p99 = _milliseconds(value["median"]), _milliseconds(value["p99"])
    if not 0 < median <= p99:
        raise ValueError("must have a median above 0, and a p99 that is not below it")
    return Latency(median, p99)


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
        and all(isinstance(dim, str) or (type(dim) is int and 0 <= dim <= INT64_MAX) for dim in dims)
        for name, dims in value.items()
    ):
        return value
    raise ValueError("must map outputs to lists of dimensions, each a number or INPUT[axis]")


def _tensors(value: Any) -> tuple[GivenTensor, ...]:
    if not isinstance(value, dict) or not value:
        raise ValueError("must map names to {data_type: FP32, dims: [3, 640, 640]}")
    return tuple(_tensor(str(name), tensor) for name, tensor in value.items())


def _tensor(name: str, value: Any) -> GivenTensor:
    if not isinstance(value, dict) or set(value) != {"data_type", "dims"}:
        raise ValueError(f"must give '{name}' as {{data_type: FP32, dims: [3, 640, 640]}}")
    dims = value["dims"]
    if (
        not isinstance(dims, list)
        or not dims
        or not all(type(dim) is int and (0 < dim <= INT64_MAX or dim == -1) for dim in dims)
    ):
        raise ValueError(
            f"must give '{name}' dims as a list of numbers of 64 bits, each above 0, or -1 for a variable one"
        )
    given = str(value["data_type"]).removeprefix("TYPE_")
    datatype = "TYPE_STRING" if given == "BYTES" else f"TYPE_{given}"
    if datatype not in BY_CONFIG_NAME:
        known = [config_name.removeprefix("TYPE_") for config_name in BY_CONFIG_NAME]
        raise ValueError(f"must give '{name}' a data_type of Triton's, not {given!r}{_hint(given, known)}")
    return GivenTensor(name, datatype, tuple(dims))


def _behaviour(value: Any) -> str:
    if value in BEHAVIOURS:
        return str(value)
    raise ValueError(f"must be one of {', '.join(BEHAVIOURS)}{_hint(str(value), BEHAVIOURS)}")


_ALL = frozenset(BEHAVIOURS)
_TEXT = frozenset({"text"})
_SEEDED = frozenset({"text", "embedding", "synthetic"})
_AT_ONCE = frozenset({"embedding", "synthetic", "identity"})
#: the behaviours that know `input` and `output`
NAMED = frozenset({"text", "embedding"})
_STAND_INS = _ALL - {"python"}
#: the keys that map outputs by name
_OF_OUTPUTS = ("values", "dims")

KEYS: dict[str, tuple[frozenset[str], Callable[[Any], object]]] = {
    "behaviour": (_ALL, _behaviour),
    "inputs": (_STAND_INS, _tensors),
    "outputs": (_STAND_INS, _tensors),
    "max_batch_size": (_STAND_INS, _batch_size),
    "own_process": (frozenset({"python"}), _boolean),
    "seed": (_SEEDED, _integer),
    "input": (NAMED, _text),
    "output": (NAMED, _text),
    "echo": (_TEXT, _boolean),
    "reply": (_TEXT, _texts),
    "replies": (_TEXT, _replies),
    "length": (_TEXT, _length),
    "max_tokens": (_TEXT, _natural),
    "stream": (_TEXT, _boolean),
    "exclude_input_in_output": (_TEXT, _boolean),
    "cumulative": (_TEXT, _boolean),
    "time_to_first_token_ms": (_TEXT, _latency),
    "time_per_token_ms": (_TEXT, _latency),
    "fail_after_tokens": (_TEXT, _natural),
    "fail_message": (_TEXT, _text),
    "dim": (frozenset({"embedding"}), _positive),
    "delay_ms": (_AT_ONCE, _latency),
    "latency_from": (_STAND_INS, _text),
    "slots": (_STAND_INS, _positive),
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
        except RecursionError:
            raise SettingsError(self.path, 1, "it is nested too deeply") from None
        if root is None:
            return ModelSettings()
        default: Mapping[str, object] = {}
        models: list[tuple[str, Mapping[str, object]]] = []
        lines: dict[tuple[str, str], int] = {}
        for section, key, value in self._pairs(root, "the file"):
            if section == "default":
                default = self._entry(value, "'default'")
            elif section == "models":
                pairs = self._pairs(value, "'models'")
                models = [(name, self._entry(node, f"model '{name}'")) for name, _, node in pairs]
                for name, at, node in pairs:
                    keys = self._pairs(node, f"model '{name}'")
                    places = [("", at), *((key_name, key_node) for key_name, key_node, _ in keys)]
                    lines |= {(name, key_name): _line(key_node) for key_name, key_node in places}
            else:
                raise self._error(key, f"unknown section '{section}'{_hint(section, _SECTIONS)}")
        return ModelSettings(default, tuple(models), self.path, lines)

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
            if name == "latency_from":
                entry[name] = self._measured(str(entry[name]), value, where)
            lines[name] = key
        chosen = entry.get("behaviour")
        for name, key in lines.items():
            if chosen is not None and chosen not in KEYS[name][0]:
                raise self._error(key, f"'{name}' in {where} has no meaning for behaviour '{chosen}'")
        return entry

    def _measured(self, name: str, node: yaml.Node, where: str) -> Measured:
        """Read a file of latencies, whose path is relative to this file."""
        path = self.path.parent / name
        try:
            return parse_measured(read_whole(path).decode("utf-8-sig"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise self._error(node, f"'latency_from' in {where} cannot be read: {error}") from error
        except BadFile as error:
            raise SettingsError(path, error.line, str(error)) from error

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
        return SettingsError(self.path, _line(node), message)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


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


def _plain(node: yaml.Node) -> Any:
    """The Python value of a node. Raises ValueError if it is none that a key can take."""
    try:
        return _Constructor("").construct_document(node)
    except _TooLarge:
        raise ValueError("holds an integer beyond 64 bits") from None
    except Exception as error:  # PyYAML raises what Python's conversions raise: a KeyError, for one
        raise ValueError(f"is not plain YAML: {getattr(error, 'problem', error)}") from error


# --- from a model's settings to what each stand-in takes ----------------------------------------------------------


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
