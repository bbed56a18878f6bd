"""The results of a run, as values that can be written to a file and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .compare import Outcome, Verdict, worst
from .evidence import Evidence


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case's verdicts by axis. `crash` says how the reference died, if it did.

    `evidence` shows the requests and answers where something differs. `seconds` is how long the case took.
    """

    case: str
    operation: str
    verdicts: dict[str, Verdict]
    crash: str = ""
    evidence: tuple[Evidence, ...] = ()
    seconds: float = 0.0

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

    `stopped` says why the run ended early, "" where it did not; `not_asked` is how many cases have no result. `stale`
    has a line for each known failure that no longer fails. `shard` is "2/3" for the second of three parts of a run.
    """

    version: str
    expected: str
    actual: str
    date: str
    cases: tuple[CaseResult, ...]
    stopped: str = ""
    not_asked: int = 0
    stale: tuple[str, ...] = ()
    shard: str = ""

    @property
    def failed(self) -> bool:
        """Whether something differs, or the run ended early."""
        return bool(self.stopped) or self.differs

    @property
    def differs(self) -> bool:
        """Whether a case differs, or a known failure no longer does."""
        return bool(self.stale) or any(case.failed for case in self.cases)


def to_json(run: RunResult) -> dict[str, Any]:
    """The run as values that JSON can hold."""
    cases = [
        {
            "case": result.case,
            "operation": result.operation,
            "outcome": result.outcome,
            "axes": {axis: {"outcome": v.outcome, "detail": v.detail} for axis, v in result.verdicts.items()},
            **({"crash": result.crash} if result.crash else {}),
            **({"evidence": [asdict(each) for each in result.evidence]} if result.evidence else {}),
            **({"seconds": result.seconds} if result.seconds else {}),
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
    if run.shard:
        head["shard"] = run.shard
    if run.stale:
        head["stale"] = list(run.stale)
    return {**head, "cases": cases}


def from_json(node: dict[str, Any]) -> RunResult:
    """The inverse of to_json."""
    cases = tuple(
        CaseResult(
            case=each["case"],
            operation=each["operation"],
            verdicts={axis: Verdict(Outcome(v["outcome"]), v["detail"]) for axis, v in each["axes"].items()},
            crash=each.get("crash", ""),
            evidence=tuple(Evidence(**step) for step in each.get("evidence", ())),
            seconds=each.get("seconds", 0.0),
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
        tuple(node.get("stale", ())),
        node.get("shard", ""),
    )


def to_text(runs: Sequence[RunResult]) -> str:
    """The JSON of a file of results: of one run, or a list of several."""
    nodes = [to_json(run) for run in runs]
    return json.dumps(nodes[0] if len(nodes) == 1 else nodes, indent=1, ensure_ascii=False) + "\n"


def save(path: Path, *runs: RunResult) -> None:
    path.write_text(to_text(runs), encoding="utf-8")


class ResultsError(Exception):
    """A file is not one of results. The text is one line that names it."""


def load(paths: Iterable[Path]) -> list[RunResult]:
    """The runs of these files, in their order. Raises ResultsError for a file that has none."""
    runs = []
    for path in paths:
        try:
            node = json.loads(path.read_text(encoding="utf-8"))
            runs += [from_json(each) for each in (node if isinstance(node, list) else [node])]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(
                f"{path}: not a file of results: {type(error).__name__}: {error}; "
                "`triton-contract run --report json=FILE` writes one"
            ) from None
    return runs
