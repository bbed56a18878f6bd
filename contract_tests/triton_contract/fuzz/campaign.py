"""A campaign: Hypothesis makes requests until its budget is spent, and makes every disagreement small.

Hypothesis stops at the first failure. So a campaign is several runs of it: a kind of disagreement that has been
found (and minimised) counts from then on, but no longer stops a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, FlakyFailure, Unsatisfiable

from triton_contract.results import CaseResult

from .agreement import Agreement, Disagreement, KnownToCrash, kind_of
from .request import Request

KINDS_MOST = 40
"""Disagreements after which a campaign gives up: each costs a minimisation."""


@dataclass(slots=True)
class Report:
    """What a campaign found. `asked` counts requests made by the generator, without those of minimisation."""

    asked: int = 0
    minimising: int = 0
    found: list[Disagreement] = field(default_factory=list)
    """One for each kind, minimised."""
    again: Counter[str] = field(default_factory=Counter)
    """How often a kind was met, the first time included."""
    unstable: list[str] = field(default_factory=list)
    """Disagreements that did not show when the same request was sent again."""


def explore(
    agreement: Agreement,
    requests: st.SearchStrategy[Request],
    *,
    examples: int,
    start: int = 0,
    on_result: Callable[[CaseResult], None] = lambda _: None,
) -> Report:
    """Ask `examples` requests; the same `start` (a seed) makes the same requests of the same server."""
    report = Report()
    runs = 0
    while report.asked < examples and len(report.again) < KINDS_MOST:
        runs += 1
        before = report.asked
        _run(agreement, requests, examples - report.asked, start * 1000 + runs, report, on_result)
        if report.asked == before:
            break
    return report


def _run(
    agreement: Agreement,
    requests: st.SearchStrategy[Request],
    examples: int,
    number: int,
    report: Report,
    on_result: Callable[[CaseResult], None],
) -> None:
    known = set(report.again)
    hunted: list[str] = []
    smallest: list[Disagreement] = []

    @seed(number)
    @settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(request=requests)
    def agree(request: Request) -> None:
        try:
            result = agreement.ask(request)
        except KnownToCrash:
            reject()
        if hunted:
            report.minimising += 1
        else:
            report.asked += 1
            on_result(result)
        if not result.failed:
            return
        kind = kind_of(request, result)
        if not hunted:
            report.again[kind] += 1
            if kind in known:
                return
            hunted.append(kind)
        if kind == hunted[0]:
            found = Disagreement(request, result)
            smallest.append(found)
            raise found

    try:
        agree()
    except Disagreement as found:
        report.found.append(found)
    except (Flaky, FlakyFailure):
        report.unstable.append(f"{hunted[0]}: {smallest[-1].request}")
    except Unsatisfiable:
        pass
