"""triton-contract run: targets against the recorded answers of the real server."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from triton_contract import recordings
from triton_contract.comparing.results import RunResult
from triton_contract.running.run import recorded_reference
from triton_contract.running.stop import UNAVAILABLE
from triton_contract.targets import target_of, version_of

from .comparison import DIFFERED, compare_and_print, known_failures, worst, write
from .options import ComparisonOptions, Selection, comparison_options, runnable, selection_options


@click.command()
@click.option(
    "--target",
    "names",
    multiple=True,
    required=True,
    help="triton, emulator, one of them with a version (emulator==2.72.0), or a URL; may be repeated.",
)
@click.option(
    "--recordings",
    "folder",
    default=recordings.FOLDER,
    type=click.Path(path_type=Path),
    help="The folder of the recorded answers.",
)
@selection_options
@comparison_options
def run(names: tuple[str, ...], folder: Path, selection: Selection, options: ComparisonOptions) -> None:
    r"""Run the cases against a target and compare with the recorded answers of the real server.

    Needs no real server. The answers are those of the version in the target's name, else of --version. The exit code is
    1 when something differs, unless it is a known divergence.

    \b
      triton-contract run --target emulator
      triton-contract run --target emulator==2.72.0
      triton-contract run --target http://localhost:8000 --repository http
    """
    chosen = selection.cases()
    known = known_failures(options, selection)
    codes: list[int] = []
    outcomes: list[RunResult] = []
    for name in names:
        version = version_of(name) or options.version
        recorded = recordings.read(version, chosen, folder)
        missing = [case.id for case in chosen if case.id not in recorded]
        if missing:
            count = "1 case has" if len(missing) == 1 else f"{len(missing)} cases have"
            click.echo(f"{count} no recorded answer of {version}, left out (first: {missing[0]})", err=True)
        reference = recorded_reference(recorded, version)
        cases = [case for case in runnable(chosen, (name,), options.repository) if case.id in recorded]
        target = partial(target_of, name, version=version)
        codes += [DIFFERED] if missing else []
        outcome, code = compare_and_print(reference, target, cases, replace(options, version=version), known)
        outcomes.append(outcome)
        codes.append(code)
        if codes[-1] > UNAVAILABLE:  # a signal
            break
    write(options, outcomes)
    sys.exit(worst(codes))
