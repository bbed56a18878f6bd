"""What the command line shows: progress on stderr, tables and differences on stdout."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from .compare import Outcome
from .http.case import Case
from .http.operations import OPERATIONS
from .http.play import Observation
from .results import CaseResult, RunResult

_PLAIN_WIDTH = 120
_COLUMNS = (Outcome.EQUAL, Outcome.NORMALISED, Outcome.DIVERGENCE, Outcome.UNPROVEN, Outcome.DIFFERENT)


class Progress:
    """A bar on stderr (nothing when stderr is no terminal); counts differences as they come."""

    def __init__(self, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting servers", total=total)
        self._lock = threading.Lock()
        self._different = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def result(self, result: CaseResult) -> None:
        with self._lock:
            self._different += result.failed
            self._advance(f"{self._different} different" if self._different else result.operation)

    def case(self, case: Case) -> None:
        with self._lock:
            self._advance(case.topic)

    def _advance(self, text: str) -> None:
        self._bar.update(self._task, advance=1, description=f"{text:<24.24}")


def print_run(run: RunResult, *, details: bool) -> None:
    """Cases by operation and outcome, then the first difference of each failing case."""
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    if details:
        last = ""
        for result in run.cases:
            if result.failed:
                last = _print_failure(console, result, last)
    table = Table(title=f"expected: {run.expected}\nactual: {run.actual}", title_justify="left")
    table.add_column("operation")
    for outcome in _COLUMNS:
        table.add_column(outcome.value, justify="right")
    for operation in _operations(run):
        counts = Counter(result.outcome for result in run.cases if result.operation == operation)
        table.add_row(operation, *(str(counts[outcome] or "") for outcome in _COLUMNS))
    total = Counter(result.outcome for result in run.cases)
    table.add_section()
    table.add_row(f"all {len(run.cases)}", *(str(total[outcome] or "") for outcome in _COLUMNS))
    console.print(table)


def _operations(run: RunResult) -> list[str]:
    present = {result.operation for result in run.cases}
    return [name for name in OPERATIONS if name in present] + sorted(present - set(OPERATIONS))


def _print_failure(console: Console, result: CaseResult, last: str) -> str:
    """Print one failing case and return its details; those that equal the `last` ones are not repeated."""
    found: dict[str, str] = {}
    for axis, verdict in result.verdicts.items():
        if verdict.outcome is Outcome.DIFFERENT and verdict.detail not in found.values():
            found[axis] = verdict.detail
    shown = "\n".join(f"  {axis}: {detail}".replace("\n", "\n      ") for axis, detail in found.items())
    again = " (the same again)" if shown == last else ""
    console.print(f"[bold red]different[/] {escape(result.case)} ({result.operation}){again}")
    if not again:
        console.print(escape(shown))
    return shown


def list_cases(cases: list[tuple[Case, str]]) -> None:
    """One line per case, columns apart by spaces; plain, so that grep and cut can read it."""
    width = max(len(case.id) for case, _ in cases)
    for case, operation in cases:
        click.echo(
            f"{case.id:<{width}}  {operation:<20}  {case.topic:<20}  {' '.join((case.repository, *case.flags))}"
        )


def show(case: Case, seen: Observation) -> None:
    """What came over the wire for one case, readable: every answer, its ending, the statistics' change."""
    click.echo(f"== {case.id}")
    for number, exchange in enumerate(seen.exchanges, start=1):
        response = exchange.response
        interim = "".join(f"{code} then " for code in exchange.interim)
        if response is None:
            click.echo(f"-- answer {number}: none ({exchange.ending}) {exchange.extra!r}")
            continue
        click.echo(f"-- answer {number}: {interim}{response.version} {response.status} {response.reason}")
        for name, value in response.headers:
            click.echo(f"   {name}: {value}")
        click.echo(f"   {response.body!r}"[:4000])
        chunks = f" {list(response.chunks)}" if response.framing == "chunked" else ""
        complete = "" if response.complete else ", incomplete"
        extra = f", extra bytes {exchange.extra!r}" if exchange.extra else ""
        click.echo(
            f"   [{response.framing}{chunks}{complete}; then the connection is {exchange.ending}{extra}]"
        )
    if seen.counts is not None:
        click.echo(f"-- statistics: {seen.counts}")
    if seen.death is not None:
        click.echo(f"-- the server died: {seen.death.splitlines()[0]}")
