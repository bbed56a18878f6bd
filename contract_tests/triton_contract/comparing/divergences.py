"""Known divergences: where a target may differ, and why. Strict: a row whose case has become equal fails the run."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from .compare import AXES, Outcome, Verdict

FILE = Path(__file__).parent / "divergences.yaml"
ALL = "all"
_KNOWN = (*AXES, ALL)


class DivergenceError(Exception):
    """The file of known divergences breaks its format. The text is one line that names the row."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A target may differ on `axis` in the cases whose ids match `case`, a glob.

    The axis "all" is for a case in which one of the two servers does not answer, so that every axis differs. `since`
    and `until` are the oldest and the newest version of the real server that the row is about. An empty text sets no
    bound.
    """

    case: str
    axis: str
    reason: str
    since: str = ""
    until: str = ""

    def concerns(self, version: str) -> bool:
        """Whether the row is about that version of the real server."""
        oldest, newest = self.since or version, self.until or version
        return _number(oldest) <= _number(version) <= _number(newest)

    @property
    def versions(self) -> str:
        """Which versions the row is about, in words; "" for all."""
        bounds = (f"from {self.since}" if self.since else "", f"up to {self.until}" if self.until else "")
        return " ".join(filter(None, bounds))

    def covers(self, case_id: str, axis: str) -> bool:
        return self.axis in (axis, ALL) and fnmatchcase(case_id, self.case)


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def load_divergences(path: Path = FILE) -> tuple[Divergence, ...]:
    """The rows of the file. Raises DivergenceError for a row that breaks the format."""
    rows = yaml.safe_load(path.read_text()) or []
    found = []
    for number, row in enumerate(rows, start=1):
        if (
            not isinstance(row, dict)
            or set(row) - {"since", "until"} != {"case", "axis", "reason"}
            or row["axis"] not in _KNOWN
        ):
            raise DivergenceError(
                f"{path.name}: row {number} needs case, axis ({', '.join(_KNOWN)}) and reason; "
                "since and until are optional"
            )
        found.append(Divergence(**row))
    return tuple(found)


def apply(case_id: str, verdicts: dict[str, Verdict], rows: tuple[Divergence, ...]) -> dict[str, Verdict]:
    """The verdicts with known divergences marked. A row for an axis that is equal makes that axis a difference."""
    done = dict(verdicts)
    for axis, verdict in verdicts.items():
        row = next((row for row in rows if row.covers(case_id, axis)), None)
        if row is None:
            continue
        if verdict.outcome is Outcome.DIFFERENT:
            done[axis] = Verdict(Outcome.DIVERGENCE, f"{row.reason}\n{verdict.detail}")
        elif verdict.outcome in (Outcome.EQUAL, Outcome.NORMALISED) and not _answered_elsewhere(
            row, verdicts
        ):
            text = f"listed as a known divergence ({row.case}: {row.reason}), but it is equal: remove the row"
            done[axis] = Verdict(Outcome.DIFFERENT, text)
    return done


def _answered_elsewhere(row: Divergence, verdicts: dict[str, Verdict]) -> bool:
    """Whether a row for all axes has its difference on another axis: without an answer nothing is counted."""
    return row.axis == ALL and any(verdict.outcome is Outcome.DIFFERENT for verdict in verdicts.values())
