"""What a reference cannot be asked, as data: cases that are unproven for one version, each with the reason.

The rows are in `limits.yaml`. They say what the reference of a version cannot show, not what that version does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

from triton_contract.cases.case import Case

FILE = Path(__file__).parent / "limits.yaml"
_KINDS = ("flag", "mentions", "case")


class LimitError(Exception):
    """The file of limits breaks its format. The text is one line that names the row."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The reference of `version` cannot be asked the cases that fit. `kind` is one of flag, mentions and case."""

    version: str
    kind: str
    pattern: str
    reason: str

    def covers(self, case: Case) -> bool:
        """Whether the case is one of those."""
        if self.kind == "flag":
            return self.forbids(case.flags)
        if self.kind == "case":
            return fnmatchcase(case.id, self.pattern)
        return re.search(self.pattern, _sent(case)) is not None

    def forbids(self, flags: Sequence[str]) -> bool:
        """Whether a server cannot be started with these flags."""
        return self.kind == "flag" and any(flag.partition("=")[0] == self.pattern for flag in flags)


@cache
def load_limits(path: Path = FILE) -> tuple[Limit, ...]:
    """The rows of the file. Raises LimitError for a row that breaks the format."""
    found = []
    for number, row in enumerate(yaml.safe_load(path.read_text()) or [], start=1):
        kinds = [kind for kind in _KINDS if isinstance(row, dict) and kind in row]
        if len(kinds) != 1 or set(row) != {"version", "reason", kinds[0]}:
            raise LimitError(
                f"{path.name}: row {number} needs version, reason and one of {', '.join(_KINDS)}"
            )
        found.append(Limit(str(row["version"]), kinds[0], row[kinds[0]], row["reason"]))
    return tuple(found)


def reason_against(version: str, case: Case) -> str:
    """Why the reference of that version cannot be asked the case; "" where it can."""
    return next((row.reason for row in load_limits() if row.version == version and row.covers(case)), "")


def can_start(version: str, flags: Sequence[str]) -> bool:
    """Whether the reference of that version can be started with these flags."""
    return not any(row.version == version and row.forbids(flags) for row in load_limits())


def _sent(case: Case) -> str:
    return json.dumps(
        case.model_dump(mode="json", include={"flags", "steps", "shared_memory"}, exclude_defaults=True)
    )
