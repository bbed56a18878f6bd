"""The repository index: one row per version of every model that is in a repository."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_emulator.repository.scanner import Found
from triton_emulator.repository.version_life import Slot, State

_DUPLICATE = "model appears in two or more repositories"


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One entry of the index. A model that was never loaded has neither version nor state; `reason` is then empty."""

    name: str
    version: int | None = None
    state: State | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, str]:
        """The row as the HTTP index prints it."""
        row = {"name": self.name}
        if self.version is not None and self.version >= 0:
            row["version"] = str(self.version)
        if self.state is not None:
            row["state"] = self.state.value
        if self.reason:
            row["reason"] = self.reason
        return row


def index_rows(
    found: Iterable[Found],
    duplicates: Mapping[str, Found],
    states: Mapping[str, Sequence[Slot[Any]]],
    *,
    ready: bool,
) -> list[IndexRow]:
    """The rows of the models that are in the repositories, by namespace and name; with `ready` only the READY ones."""
    rows: list[IndexRow] = []
    every = {folder.id: folder for folder in (*found, *duplicates.values())}
    for key, folder in sorted(every.items(), key=lambda item: (item[1].namespace, item[1].name)):
        if key in duplicates:
            rows.append(IndexRow(folder.name, -1, State.UNAVAILABLE, _DUPLICATE))
        elif key not in states:
            rows += [] if ready else [IndexRow(folder.name)]
        else:
            rows += [
                IndexRow(folder.name, slot.version, slot.state, slot.reason)
                for slot in states[key]
                if not ready or slot.state is State.READY
            ]
    return rows
