"""triton-contract show: what a target answers, byte for byte."""

from __future__ import annotations

from functools import partial

import click

from triton_contract.reporting.terminal import show_observation
from triton_contract.running.record import record
from triton_contract.targets import target_of

from .options import Selection, repository_option, runnable, selection_options, version_option


@click.command()
@click.option(
    "--target",
    "name",
    default="triton",
    show_default=True,
    help="triton, emulator, one of them with a version (triton==2.72.0), or a URL.",
)
@version_option
@repository_option
@selection_options
def show(name: str, version: str, repository: str | None, selection: Selection) -> None:
    r"""Show what a target answers to the cases, byte for byte. Use it when you write a case.

    \b
      triton-contract show --http-case infer/json/adds-and-subtracts
      triton-contract show --only 'wire/*' --target emulator
    """
    cases = runnable(selection.cases(), (name,), repository)
    for case, seen in record(cases, partial(target_of, name, version=version)):
        show_observation(case, seen)
