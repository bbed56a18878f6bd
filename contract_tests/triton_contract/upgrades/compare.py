"""Compares two servers over anybody's models, and groups what differs by the rows of the table of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from triton_contract.cases.case import Case
from triton_contract.comparing.results import CaseResult
from triton_contract.fuzz.model import Model, read_models
from triton_contract.running.pair import Pair
from triton_contract.running.run import MakeTarget
from triton_contract.running.sides import LiveSide
from triton_contract.targets import TargetUnavailable

from .changes import Change, History
from .probes import PROBES, cases_of


@dataclass(frozen=True, slots=True)
class Shown:
    """One probe of one model: what was asked, what was found, and the rows of the table that may be the reason."""

    case: Case
    result: CaseResult
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What two versions do differently over the models of a repository."""

    old: str
    new: str
    models: tuple[Model, ...]
    shown: tuple[Shown, ...]
    changes: tuple[Change, ...]
    stopped: str = ""
    """Why not all was asked: a server at an address was lost."""

    @property
    def different(self) -> list[Shown]:
        return [each for each in self.shown if each.result.failed]

    def of(self, change: Change) -> list[Shown]:
        """The differences that a row of the table explains."""
        return [each for each in self.different if change in each.changes]

    @property
    def unexplained(self) -> list[Shown]:
        """The differences that no row explains."""
        return [each for each in self.different if not each.changes]


def compare_upgrade(
    old: MakeTarget,
    new: MakeTarget,
    folder: Path,
    flags: Iterable[str] = (),
    *,
    history: History,
    versions: tuple[str, str],
    on_result: Callable[[CaseResult], None] | None = None,
) -> Upgrade:
    """Start both servers over the models in `folder`, ask every probe of each model, and compare.

    Raises TargetUnavailable when a server cannot be had here, ServerFailed when one does not start over the models.
    What was found before a server was lost is kept.
    """
    changes = tuple(history.between(*versions))
    before, after = LiveSide(old()), LiveSide(new())
    pair = Pair(before, after, alike=True)
    pair.begin(str(folder), tuple(flags))
    try:
        models = read_models(before.target.http)
        shown = []
        stopped = ""
        asked = [(probe, case) for probe in PROBES for case in cases_of(probe, models, str(folder))]
        for probe, case in asked:
            try:
                result = pair.run(case)
            except TargetUnavailable as lost:
                stopped = str(lost)
                break
            rows = tuple(change for change in changes if change.field in probe.shows)
            shown.append(Shown(case, result, rows))
            if on_result is not None:
                on_result(result)
            if result.failed and (stopped := pair.lost(case)):
                break
    finally:
        pair.end()
    return Upgrade(*versions, tuple(models), tuple(shown), changes, stopped)
