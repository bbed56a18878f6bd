"""triton-contract diff: two servers side by side."""

from __future__ import annotations

import sys
from functools import partial

import click

from triton_contract.running.run import live_reference
from triton_contract.targets import target_of

from .comparison import compare_and_report
from .options import ComparisonOptions, Selection, comparison_options, runnable, selection_options


@click.command()
@click.option(
    "--target",
    "names",
    multiple=True,
    help="Twice: the two servers to compare; triton is always the reference. Once: this one against triton.",
)
@selection_options
@comparison_options
def diff(names: tuple[str, ...], selection: Selection, options: ComparisonOptions) -> None:
    r"""Run the cases against two servers side by side and compare every answer.

    The exit code is 1 when something differs, unless it is a known divergence.

    \b
      triton-contract diff --target emulator
      triton-contract diff --target triton --target emulator --only 'infer/*' --json results.json
      triton-contract diff --target triton --target triton        (does the real server agree with itself?)
    """
    expected, actual = reference_and_target(names)
    cases = runnable(selection.cases(), (expected, actual), options.repository)
    reference = live_reference(partial(target_of, expected, version=options.version))
    target = partial(target_of, actual, version=options.version)
    if not compare_and_report(reference, target, cases, options):
        sys.exit(1)


def reference_and_target(names: tuple[str, ...]) -> tuple[str, str]:
    """Which of the named servers is the reference and which the target (default: triton and emulator)."""
    match names:
        case (actual,):
            return "triton", actual
        case (expected, "triton"):
            return "triton", expected  # the real server is the reference, in whatever order the two are named
        case (expected, actual):
            return expected, actual
        case _:
            return "triton", "emulator"
