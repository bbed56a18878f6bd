"""What the command line prints: progress on stderr, tables and differences on stdout."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from triton_contract.cases.case import Case
from triton_contract.cases.operations import OPERATIONS
from triton_contract.comparing.compare import Outcome
from triton_contract.comparing.results import CaseResult, RunResult
from triton_contract.playing.observation import Observation

_PLAIN_WIDTH = 120
_COLUMNS = (Outcome.EQUAL, Outcome.NORMALISED, Outcome.DIVERGENCE, Outcome.UNPROVEN, Outcome.DIFFERENT)


class Progress:
    """A progress bar on stderr, which counts the differences. Nothing is shown when stderr is not a terminal.

    `total` is the number of cases; None where it is not known at the start.
    """

    def __init__(self, total: int | None) -> None:
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
    """Print what differs in each failing case (with `details`), then the counts by operation and outcome."""
    console = _console()
    if details:
        last = ""
        for result in run.cases:
            if result.failed:
                last = _print_failure(console, result, last)
    rows = {operation: Counter[Outcome]() for operation in _operations(run)}
    for result in run.cases:
        rows[result.operation][result.outcome] += 1
    print_outcomes(f"expected: {run.expected}\nactual: {run.actual}", rows, _COLUMNS)


def print_outcomes(title: str, rows: Mapping[str, Counter[Outcome]], columns: Sequence[Outcome]) -> None:
    """Print a table of counts: a row for each operation, a column for each outcome, the sums last."""
    table = Table(title=title, title_justify="left")
    table.add_column("operation")
    for outcome in columns:
        table.add_column(outcome.value, justify="right")
    for operation, counts in rows.items():
        table.add_row(operation, *(str(counts[outcome] or "") for outcome in columns))
    total = sum(rows.values(), Counter[Outcome]())
    table.add_section()
    table.add_row(f"all {total.total()}", *(str(total[outcome] or "") for outcome in columns))
    _console().print(table)


def _console() -> Console:
    """A console that wraps no lines and, when its output goes to a file, has a fixed width."""
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def _operations(run: RunResult) -> list[str]:
    present = {result.operation for result in run.cases}
    return [name for name in OPERATIONS if name in present] + sorted(present - set(OPERATIONS))


def _print_failure(console: Console, result: CaseResult, last: str) -> str:
    """Print one failing case and return its details. Details that are equal to the `last` ones are not repeated."""
    lines = [f"  {axis}: {detail}" for axis, detail in result.differences().items()]
    shown = "\n".join(line.replace("\n", "\n      ") for line in lines)
    again = " (the same again)" if shown == last else ""
    console.print(f"[bold red]different[/] {escape(result.case)} ({result.operation}){again}")
    if not again:
        console.print(escape(shown))
    return shown


def list_cases(cases: list[tuple[Case, str]]) -> None:
    """Print one line for each case, in columns, without colours: grep and cut can read it."""
    width = max(len(case.id) for case, _ in cases)
    for case, operation in cases:
        click.echo(
            f"{case.id:<{width}}  {operation:<20}  {case.topic:<20}  {' '.join((case.repository, *case.group[1]))}"
        )


def show_observation(case: Case, seen: Observation) -> None:
    """Print what one server answered to a case: every answer, how it ended, the change of the statistics."""
    click.echo(f"== {case.id}")
    if seen.unproven:
        click.echo(f"-- not asked: {seen.unproven}")
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
