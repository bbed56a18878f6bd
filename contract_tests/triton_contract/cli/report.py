"""triton-contract report (or ledger): FIDELITY.md from the results of runs."""

from __future__ import annotations

from pathlib import Path

import click

from triton_contract.comparing import results
from triton_contract.reporting.ledger import render_ledger


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", default="FIDELITY.md", show_default=True, type=click.Path(path_type=Path))
def report(files: tuple[Path, ...], out: Path) -> None:
    r"""Write the ledger from the result FILES of `diff --json` or `run --json`.

    \b
      triton-contract diff --target emulator --json results.json
      triton-contract report results.json --out FIDELITY.md
    """
    out.write_text(render_ledger(results.load(files)), encoding="utf-8")
    click.echo(out)
