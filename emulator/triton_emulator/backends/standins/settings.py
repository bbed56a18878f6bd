"""Reads `emulator.yaml`, the settings of stand-ins. Anything unknown is refused with its line.

In this order: the result (`ModelSettings`), the schema (`KEYS`: each key with its behaviours and its check), the
reader, and the functions that turn a model's settings into those of each stand-in.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
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
from triton_emulator.cxx.numbers import INT32_MAX, INT64_MAX
from triton_emulator.protocol.datatypes import BY_CONFIG_NAME
from triton_emulator.repository.config.whole_file import read_whole
from triton_emulator.yaml_nodes import SettingsError, YamlFile, hint, line_of, plain

#: The file's name in a model repository.
FILE_NAME = "emulator.yaml"

BEHAVIOURS = ("text", "embedding", "synthetic", "identity", "python")


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
    #: the sections that are not about stand-ins, by their names
    others: Mapping[str, yaml.Node] = field(default_factory=dict)

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
            f"{self.path}:{self.lines[pattern, '']}: no model fits '{pattern}'{hint(pattern, known)}"
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


def latency_of(value: Any) -> float | Latency | None:
    """A latency that is given outside of a file. None stays None. Raises ValueError."""
    if value == {"median": 0, "p99": 0}:
        return 0.0
    try:
        return None if value is None else _latency(value)
    except ValueError as error:
        raise ValueError(f"a latency {error}") from None


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
        raise ValueError(f"must give '{name}' a data_type of Triton's, not {given!r}{hint(given, known)}")
    return GivenTensor(name, datatype, tuple(dims))


def _behaviour(value: Any) -> str:
    if value in BEHAVIOURS:
        return str(value)
    raise ValueError(f"must be one of {', '.join(BEHAVIOURS)}{hint(str(value), BEHAVIOURS)}")


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

#: what is read here, and what `harness.given_files` reads
_SECTIONS = ("default", "models", "faults", "stubs")


class _Reader:
    """Reads one file by its YAML nodes, as these know their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = YamlFile(path)

    def settings(self, text: str) -> ModelSettings:
        root = self._file.root(text)
        if root is None:
            return ModelSettings()
        default: Mapping[str, object] = {}
        models: list[tuple[str, Mapping[str, object]]] = []
        lines: dict[tuple[str, str], int] = {}
        others: dict[str, yaml.Node] = {}
        for section, key, value in self._file.pairs(root, "the file"):
            if section == "default":
                default = self._entry(value, "'default'")
            elif section == "models":
                pairs = self._file.pairs(value, "'models'")
                models = [(name, self._entry(node, f"model '{name}'")) for name, _, node in pairs]
                for name, at, node in pairs:
                    keys = self._file.pairs(node, f"model '{name}'")
                    places = [("", at), *((key_name, key_node) for key_name, key_node, _ in keys)]
                    lines |= {(name, key_name): line_of(key_node) for key_name, key_node in places}
            elif section in _SECTIONS:
                others[section] = value
            else:
                raise self._file.error(key, f"unknown section '{section}'{hint(section, _SECTIONS)}")
        return ModelSettings(default, tuple(models), self.path, lines, others)

    def _entry(self, node: yaml.Node, where: str) -> dict[str, object]:
        entry: dict[str, object] = {}
        lines: dict[str, yaml.Node] = {}
        for name, key, value in self._file.pairs(node, where):
            if name not in KEYS:
                raise self._file.error(key, f"unknown key '{name}' in {where}{hint(name, KEYS)}")
            try:
                entry[name] = KEYS[name][1](plain(value))
            except ValueError as error:
                raise self._file.error(value, f"'{name}' in {where} {error}") from error
            if name == "latency_from":
                entry[name] = self._measured(str(entry[name]), value, where)
            lines[name] = key
        chosen = entry.get("behaviour")
        for name, key in lines.items():
            if chosen is not None and chosen not in KEYS[name][0]:
                raise self._file.error(key, f"'{name}' in {where} has no meaning for behaviour '{chosen}'")
        return entry

    def _measured(self, name: str, node: yaml.Node, where: str) -> Measured:
        """Read a file of latencies, whose path is relative to this file."""
        path = self._file.path.parent / name
        try:
            return parse_measured(read_whole(path).decode("utf-8-sig"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise self._file.error(node, f"'latency_from' in {where} cannot be read: {error}") from error
        except BadFile as error:
            raise SettingsError(path, error.line, str(error)) from error


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
