"""What the reports say of a run in the same words: its headline, the reason of an outcome, the first difference."""

from __future__ import annotations

from collections import Counter

from triton_contract.cases.operations import OPERATIONS
from triton_contract.comparing.compare import Outcome
from triton_contract.comparing.results import CaseResult, RunResult

ORDER = (Outcome.EQUAL, Outcome.NORMALISED, Outcome.DIVERGENCE, Outcome.UNPROVEN, Outcome.DIFFERENT)
"""The outcomes, from best to worst as columns of a table."""


def counts(results: tuple[CaseResult, ...] | list[CaseResult]) -> Counter[Outcome]:
    """How many cases have each outcome."""
    return Counter(result.outcome for result in results)


def headline(run: RunResult) -> str:
    """One line: how many cases agree or differ, and whether the run is complete."""
    different = counts(run.cases)[Outcome.DIFFERENT]
    total = len(run.cases)
    if not total:
        return "no case was asked"
    said = f"{different:,} of {total:,} cases differ" if different else f"all {total:,} cases agree"
    if total == 1:
        said = "the one case differs" if different else "the one case agrees"
    if run.stale:
        number = len(run.stale)
        said += f", {number:,} known {'failure is' if number == 1 else 'failures are'} stale"
    return f"{said}, {run.not_asked:,} were not asked" if run.not_asked else said


def told(run: RunResult) -> str:
    """One line that says why a run ended early, and what it left out."""
    asked = len(run.cases)
    if not asked:
        return f"{run.stopped}; no case was asked"
    if not run.not_asked:
        return run.stopped
    return f"{run.stopped}; {run.not_asked} of {asked + run.not_asked} cases were not asked"


def operations_of(*runs: RunResult) -> list[str]:
    """The operations of the runs, in the order of the tables."""
    present = {result.operation for run in runs for result in run.cases}
    return [name for name in OPERATIONS if name in present] + sorted(present - set(OPERATIONS))


def reason_of(result: CaseResult) -> str:
    """Why a case is not judged: that it is a known divergence, or unproven. The first line says it."""
    details = [verdict.detail for verdict in result.verdicts.values() if verdict.outcome is result.outcome]
    return next(filter(None, details), result.crash or result.outcome.value).split("\n")[0]


def difference_of(result: CaseResult) -> str:
    """What differs, by axis, on a few lines."""
    lines = [f"{axis}: {detail}" for axis, detail in result.differences().items()]
    return "\n".join(line.replace("\n", "\n  ") for line in lines)


def repeat(case: str) -> str:
    """The command that shows the real server's answer to a case."""
    return f"triton-contract show --http-case {case}"
