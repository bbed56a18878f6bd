"""The results of a run, as values that can be written to a file and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .compare import Outcome, Verdict, worst


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case's verdicts by axis. `crash` says how the reference died, if it did."""

    case: str
    operation: str
    verdicts: dict[str, Verdict]
    crash: str = ""

    @property
    def outcome(self) -> Outcome:
        return worst([verdict.outcome for verdict in self.verdicts.values()])

    @property
    def failed(self) -> bool:
        return self.outcome is Outcome.DIFFERENT

    def differences(self) -> dict[str, str]:
        """What differs, by axis. An axis that says the same as one before it is left out."""
        found: dict[str, str] = {}
        for axis, verdict in self.verdicts.items():
            if verdict.outcome is Outcome.DIFFERENT and verdict.detail not in found.values():
                found[axis] = verdict.detail
        return found


@dataclass(frozen=True, slots=True)
class RunResult:
    """A whole run: the real server's version, what was compared with what, the date, and every case's result.

    `stopped` says why the run ended early, "" where it did not; `not_asked` is how many cases have no result.
    """

    version: str
    expected: str
    actual: str
    date: str
    cases: tuple[CaseResult, ...]
    stopped: str = ""
    not_asked: int = 0

    @property
    def failed(self) -> bool:
        """Whether a case differs, or the run ended early."""
        return bool(self.stopped) or self.differs

    @property
    def differs(self) -> bool:
        return any(case.failed for case in self.cases)


def to_json(run: RunResult) -> dict[str, Any]:
    """The run as values that JSON can hold."""
    cases = [
        {
            "case": result.case,
            "operation": result.operation,
            "outcome": result.outcome,
            "axes": {axis: {"outcome": v.outcome, "detail": v.detail} for axis, v in result.verdicts.items()},
            **({"crash": result.crash} if result.crash else {}),
        }
        for result in run.cases
    ]
    head: dict[str, Any] = {
        "version": run.version,
        "expected": run.expected,
        "actual": run.actual,
        "date": run.date,
    }
    if run.stopped:
        head |= {"stopped": run.stopped, "not_asked": run.not_asked}
    return {**head, "cases": cases}


def from_json(node: dict[str, Any]) -> RunResult:
    """The inverse of to_json."""
    cases = tuple(
        CaseResult(
            case=each["case"],
            operation=each["operation"],
            verdicts={axis: Verdict(Outcome(v["outcome"]), v["detail"]) for axis, v in each["axes"].items()},
            crash=each.get("crash", ""),
        )
        for each in node["cases"]
    )
    return RunResult(
        node["version"],
        node["expected"],
        node["actual"],
        node["date"],
        cases,
        node.get("stopped", ""),
        node.get("not_asked", 0),
    )


def save(path: Path, run: RunResult) -> None:
    path.write_text(json.dumps(to_json(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(paths: Iterable[Path]) -> list[RunResult]:
    return [from_json(json.loads(path.read_text(encoding="utf-8"))) for path in paths]
