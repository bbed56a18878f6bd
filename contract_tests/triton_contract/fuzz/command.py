"""`triton-contract fuzz`: a campaign from the command line."""

from __future__ import annotations

import sys
from collections import Counter

import click
from rich.console import Console
from rich.table import Table

from triton_contract.compare import Outcome
from triton_contract.output import Progress
from triton_contract.runner import LiveSide, Pair
from triton_contract.targets import target_of

from .agreement import Agreement, Disagreement, details
from .campaign import Report, explore
from .model import read_models
from .request import yaml_of
from .strategies import OPERATIONS, described_requests, requests_of

_COLUMNS = (Outcome.EQUAL, Outcome.NORMALISED, Outcome.UNPROVEN, Outcome.DIFFERENT)
_WIDTH = 120


def run_campaign(
    *,
    target: str,
    reference: str,
    version: str,
    repository: str,
    operations: tuple[str, ...],
    schemathesis: bool,
    examples: int,
    seed: int,
    leave_out: tuple[str, ...],
) -> None:
    """Start both servers, explore each operation with its share of the examples, print; exits 1 on a difference."""
    sides = [LiveSide(target_of(name, version=version)) for name in (reference, target)]
    pair = Pair(sides[0], sides[1], alike=reference == target)
    pair.begin(repository, ())
    try:
        agreement = Agreement(pair, repository)
        models = read_models(sides[0].target.http, leave_out=leave_out)
        makers = {name: requests_of(name, models) for name in operations or OPERATIONS}
        if schemathesis:
            makers = {"openapi.yaml": described_requests(models, operations)}
        share = -(-examples // len(makers))
        with Progress(share * len(makers)) as progress:
            reports = [
                explore(agreement, maker, examples=share, start=seed, on_result=progress.result)
                for maker in makers.values()
            ]
    finally:
        pair.end()
    show(agreement, reports)
    if any(report.again for report in reports):
        sys.exit(1)


def show(agreement: Agreement, reports: list[Report]) -> None:
    """Every disagreement as a case to paste, what the reference died of, then the counts."""
    for report in reports:
        for found in report.found:
            show_disagreement(found, agreement.repository, report.again[found.kind])
        for unstable in report.unstable:
            click.echo(f"# differed once, and not when asked again: {unstable}\n")
    for request, how in agreement.crashes.values():
        click.echo(f"# the reference died ({how}); unproven:")
        click.echo(yaml_of(request, agreement.repository))
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table(title="requests sent, those of minimising included", title_justify="left")
    table.add_column("operation")
    for outcome in _COLUMNS:
        table.add_column(outcome.value, justify="right")
    for operation in sorted({operation for operation, _ in agreement.tally}):
        table.add_row(operation, *(str(agreement.tally[operation, each] or "") for each in _COLUMNS))
    total: Counter[Outcome] = Counter()
    for (_, outcome), number in agreement.tally.items():
        total[outcome] += number
    table.add_section()
    table.add_row(f"all {total.total()}", *(str(total[each] or "") for each in _COLUMNS))
    console.print(table)
    asked, minimising = (sum(getattr(r, name) for r in reports) for name in ("asked", "minimising"))
    kinds = sum(len(report.again) for report in reports)
    click.echo(
        f"{asked} requests made, {minimising} more to make disagreements small, {kinds} kinds of disagreement, "
        f"{len(agreement.crashes)} crashes of the reference ({agreement.left_out} requests of their shapes left out)"
    )


def show_disagreement(found: Disagreement, repository: str, times: int) -> None:
    """What differs, as comments over a case that shows it."""
    for line in details(found.result).splitlines():
        click.echo(f"# {line}")
    click.echo(f"# met {times} times")
    click.echo(yaml_of(found.request, repository))
