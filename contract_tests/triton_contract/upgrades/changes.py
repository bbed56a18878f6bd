"""The table of what versions of Triton do differently, as data.

The emulator's own table is the source (`triton_emulator.protocol.personality`). This package may not import it, so
`ci/changes.py` writes the rows to `changes.json`, and a check holds the two equal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("changes.json")


@dataclass(frozen=True, slots=True)
class Change:
    """From the version `first` on, clients see `what`. `field` names the row; one field may change several times.

    `proof` is a glob of case ids whose answers show it, or begins with `source:`.
    """

    field: str
    first: str
    what: str
    proof: str

    @property
    def is_read(self) -> bool:
        """Whether the row is known from the source alone."""
        return self.proof.startswith("source:")


@dataclass(frozen=True, slots=True)
class History:
    """All releases, oldest first, each with the tag of its container images; those with a reference; all changes."""

    releases: dict[str, str]
    proved: tuple[str, ...]
    changes: tuple[Change, ...]

    def between(self, old: str, new: str) -> list[Change]:
        """The changes after the release `old`, up to `new`. Raises KeyError for an unknown release."""
        order = {version: at for at, version in enumerate(self.releases)}
        return [each for each in self.changes if order[old] < order[each.first] <= order[new]]


@cache
def load_history(path: Path = FILE) -> History:
    """The table in that file."""
    node = json.loads(path.read_text(encoding="utf-8"))
    return History(node["releases"], tuple(node["proved"]), tuple(Change(**row) for row in node["changes"]))
