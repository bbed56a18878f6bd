"""triton-contract report (or ledger): reports, and FIDELITY.md, from the results of runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from triton_contract.comparing import results
from triton_contract.comparing.baseline import apply_baseline, load_baseline
from triton_contract.comparing.merging import merge
from triton_contract.reporting.ledger import render_ledger
from triton_contract.reporting.reports import Report
from triton_contract.reporting.words import headline, told
from triton_contract.running.stop import UNAVAILABLE

from .comparison import AGREED, DIFFERED, worst, write_files
from .options import baseline_option, report_option

LEDGER = Path("FIDELITY.md")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"Write the ledger to this file. Default without --report and --baseline: {LEDGER}.",
)
@report_option
@baseline_option
def report(
    files: tuple[Path, ...], out: Path | None, reports: tuple[Report, ...], baseline: Path | None
) -> None:
    r"""Write the ledger, or reports, from the result FILES of `diff --json` or `run --json`.

    The results of all shards of a run are merged. With --report or --baseline the exit code is that of the runs: 1 when
    something differs, 3 when a run ended early or a shard is missing.

    \b
      triton-contract diff --target emulator --json results.json
      triton-contract report results.json --out FIDELITY.md
      triton-contract report shard-*.json --report html=report.html --report junit=junit.xml
    """
    runs = merge(results.load(files))
    if baseline is not None:
        known = load_baseline(baseline)
        runs = [apply_baseline(run, known) for run in runs]
    judged = bool(reports) or baseline is not None
    if out is None and not judged:
        out = LEDGER
    if out is not None:
        out.write_text(render_ledger(runs), encoding="utf-8")
        click.echo(out)
    write_files(reports, runs)
    if not judged:
        return
    for run in runs:
        click.echo(f"{run.actual} against {run.version}: {headline(run)}")
        for line in run.stale:
            click.echo(line)
        if run.stopped:
            click.echo(f"triton-contract: {told(run)}", err=True)
    sys.exit(worst(UNAVAILABLE if run.stopped else DIFFERED if run.differs else AGREED for run in runs))
