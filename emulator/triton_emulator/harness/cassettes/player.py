"""Which recording answers a request, and what is nearest where none does."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from triton_emulator.harness.cassettes.meaning import Meaning, meaning_of
from triton_emulator.harness.cassettes.recording import Recording
from triton_emulator.harness.journal import JournalEntry
from triton_emulator.harness.near_miss import Distance, nearest, tensor_differences
from triton_emulator.protocol.tensor import Tensor

#: what a replay says of a server that it stands for, where that was not recorded
_OF_THE_SERVER = frozenset({"server_live", "server_ready", "health_check", "server_metadata"})


class Player:
    """The recordings of a cassette, for one session."""

    def __init__(self, folder: Path, recordings: Iterable[Recording], server: Mapping[str, Any]) -> None:
        """`server` is what the recorded server says of itself (`name`, `version`, `extensions`), as far as it does."""
        self.folder = folder
        self.server = server
        self._recordings: dict[Meaning, list[Recording]] = {}
        for each in recordings:
            self._recordings.setdefault(each.meaning, []).append(each)
        #: how many of a meaning have been given
        self._given: dict[Meaning, int] = {}

    def __repr__(self) -> str:
        return f"<Player {self.folder}, {len(self)} recordings>"

    def __len__(self) -> int:
        return sum(map(len, self._recordings.values()))

    def contents(self) -> list[tuple[tuple[str, str, str], int]]:
        """How many recordings there are of each (protocol, operation, model), in the order of these."""
        counted = Counter[tuple[str, str, str]]()
        for meaning, found in self._recordings.items():
            counted[meaning.protocol, meaning.operation, meaning.model] += len(found)
        return sorted(counted.items())

    def rewind(self) -> None:
        """Begin again with the first of each."""
        self._given.clear()

    def find(self, entry: JournalEntry) -> Recording | None:
        """The next recording of what a request asks for; the last one again after it."""
        wanted = meaning_of(entry)
        found = self._recordings.get(wanted)
        if found is None:
            return None
        given = self._given.get(wanted, 0)
        self._given[wanted] = given + 1
        return found[min(given, len(found) - 1)]

    def is_ready(self, model: str, version: str) -> bool:
        """Whether a model, in a version ("": any), stands for one that is ready, because it has recordings."""
        versions = {each.version for each in self._recordings if each.model == model}
        return bool(versions) and (not version or not versions.isdisjoint({"", version}))

    def stands_for(self, entry: JournalEntry) -> bool:
        """Whether a request that no recording answers is about the health of what the recordings stand for.

        What waits for a server asks it before anything else, and is seldom part of what is recorded.
        """
        return entry.operation in _OF_THE_SERVER or (
            entry.operation == "model_ready" and self.is_ready(entry.model, entry.version)
        )

    def miss(self, entry: JournalEntry) -> str:
        """Why nothing answers a request: the recordings that come nearest, with what is different."""
        inputs, asked = entry.asked()
        firsts = [found[0] for found in self._recordings.values()]
        near = nearest(
            (_distance(each, entry, differences), (differences, each))
            for each in firsts
            for differences in [list(_differences(each, entry, inputs, asked))]
        )
        model = f" {entry.model}" if entry.model else ""
        asks = f"{entry.protocol} {entry.operation or entry.target}{model}"
        lines = [f"no recording of {self.folder} answers this request: {asks}"]
        if not near:
            lines.append("the cassette is empty")
        else:
            lines.append("the nearest:")
        for differences, each in near:
            lines += [f"  {each.where}", *(f"    {difference}" for difference in differences)]
        return "\n".join(lines)


def _distance(recorded: Recording, entry: JournalEntry, differences: Sequence[str]) -> Distance:
    return Distance(
        recorded.operation != entry.operation,
        recorded.model != entry.model,
        recorded.protocol != entry.protocol,
        len(differences),
    )


def _differences(
    recorded: Recording, entry: JournalEntry, inputs: Sequence[Tensor], asked: object
) -> Iterator[str]:
    for name in ("protocol", "operation", "model", "version"):
        if (was := getattr(recorded, name)) != (now := getattr(entry, name)):
            yield f"{name}: expected {was!r}, got {now!r}"
    given = {tensor.name: tensor for tensor in inputs}
    for name in recorded.inputs:
        if name not in given:
            yield f"{name}: missing"
            continue
        datatype, shape, data = recorded.inputs[name]
        if (given[name].datatype, given[name].shape) != (datatype, shape) or bytes(given[name].data) != data:
            yield from tensor_differences(name, recorded.tensor(name).array, given[name], datatype)
    yield from (f"{name}: not recorded" for name in given if name not in recorded.inputs)
    yield from json_differences(dict(recorded.asked), asked if isinstance(asked, dict) else {})


def json_differences(
    recorded: dict[str, object], asked: dict[str, object], before: str = ""
) -> Iterator[str]:
    for name in sorted(recorded.keys() | asked.keys()):
        was, now = recorded.get(name), asked.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from json_differences(was, now, f"{before}{name}.")
        elif was != now:
            yield f"{before}{name}: expected {_short(was)}, got {_short(now)}"


def _short(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
