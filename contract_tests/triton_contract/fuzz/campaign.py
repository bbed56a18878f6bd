"""A campaign: Hypothesis makes requests until its budget is spent, and reduces every disagreement to a small request.

Hypothesis stops at the first failure: it generates until a request fails, then shrinks that request, then raises. So a
campaign is several runs of Hypothesis. A kind of disagreement that an earlier run has found and reduced is only counted
from then on, and no longer stops a run. A run therefore goes through two phases:

- exploring: requests count as asked, until one disagrees in a kind that is new;
- minimising: Hypothesis tries smaller requests; only those that disagree in the same kind count as failures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, FlakyFailure, Unsatisfiable

from triton_contract.comparing.results import CaseResult
from triton_contract.targets import TargetUnavailable

from .agreement import Agreement, Disagreement, KnownToCrash
from .request import Request

KINDS_MOST = 40
"""The number of kinds of disagreement after which a campaign gives up: minimising each of them takes time."""

OnResult = Callable[[CaseResult], None]


@dataclass(slots=True)
class Report:
    """What a campaign found. `asked` counts requests made by the generator, without those of minimising."""

    asked: int = 0
    minimising: int = 0
    found: list[Disagreement] = field(default_factory=list)
    """One for each kind, minimised."""
    again: Counter[str] = field(default_factory=Counter)
    """How often each kind was met, including the first time."""
    unstable: list[str] = field(default_factory=list)
    """Disagreements that did not show again when the same request was sent again."""
    stopped: str = ""
    """Why the campaign ended early: a server was lost."""


def explore(
    agreement: Agreement,
    requests: st.SearchStrategy[Request],
    *,
    examples: int,
    start: int = 0,
    on_result: OnResult = lambda _: None,
) -> Report:
    """Ask `examples` requests. The same `start` (a seed) makes the same requests of the same server."""
    report = Report()
    runs = 0
    while report.asked < examples and len(report.again) < KINDS_MOST and not report.stopped:
        runs += 1
        before = report.asked
        run = _Run(agreement, report, on_result, known=frozenset(report.again))
        run.go(requests, examples - report.asked, start * 1000 + runs)
        if report.asked == before:
            break
    return report


@dataclass(slots=True)
class _Run:
    """One run of Hypothesis: until its first disagreement of a new kind, which it minimises."""

    agreement: Agreement
    report: Report
    on_result: OnResult
    known: frozenset[str]
    hunted: str | None = None
    """The kind that is being minimised; None while the run explores."""
    smallest: Request | None = None

    def go(self, requests: st.SearchStrategy[Request], examples: int, number: int) -> None:
        """Let Hypothesis call `ask` with at most `examples` requests, made from the seed `number`."""

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
            self.ask(request)

        try:
            agree()
        except Disagreement as found:
            self.report.found.append(found)
        except (Flaky, FlakyFailure):
            self.report.unstable.append(f"{self.hunted}: {self.smallest}")
        except (Unsatisfiable, TargetUnavailable):
            pass

    def ask(self, request: Request) -> None:
        """Ask one request. Raises Disagreement when it shows a new kind, or the kind that is being minimised."""
        if self.report.stopped:
            raise TargetUnavailable(self.report.stopped)  # Hypothesis sends what failed again
        try:
            result = self.agreement.ask(request)
        except KnownToCrash:
            reject()
        except TargetUnavailable as lost:
            self.report.stopped = str(lost)
            raise
        if self.hunted is None:
            self.report.asked += 1
            self.on_result(result)
        else:
            self.report.minimising += 1
        if result.failed:
            self._note(Disagreement(request, result))

    def _note(self, found: Disagreement) -> None:
        if self.hunted is None:
            self.report.again[found.kind] += 1
            if found.kind in self.known:
                return
            self.hunted = found.kind
        if found.kind == self.hunted:
            self.smallest = found.request
            raise found
