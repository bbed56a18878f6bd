"""triton-contract fuzz: generated requests to two servers."""

from __future__ import annotations

import sys

import click

from triton_contract.fuzz.options import CONFIGS, OPERATIONS, FuzzOptions

from .options import as_one_value, version_option


@click.command()
@as_one_value(
    "options",
    FuzzOptions,
    click.option(
        "--target",
        default="emulator",
        show_default=True,
        help="triton, emulator, one of them with a version (emulator==2.72.0), or a URL.",
    ),
    click.option(
        "--reference",
        default="triton",
        show_default=True,
        help="The reference: triton, triton==<version> or a URL.",
    ),
    version_option,
    click.option(
        "--repository",
        default="http",
        show_default=True,
        help="One of the contract's repositories, or a folder.",
    ),
    click.option(
        "--operation",
        "operations",
        multiple=True,
        type=click.Choice(sorted((*OPERATIONS, CONFIGS))),
        help="Only this operation; may be repeated. `configs` stands alone.",
    ),
    click.option(
        "--schemathesis", is_flag=True, help="Let Schemathesis make the requests, from openapi.yaml."
    ),
    click.option("--examples", default=2000, show_default=True, help="Number of requests in all."),
    click.option("--seed", default=0, show_default=True, help="The same seed makes the same requests."),
    click.option(
        "--leave-out",
        multiple=True,
        default=("slow",),
        show_default=True,
        help="A model that is not asked; may be repeated.",
    ),
)
def fuzz(options: FuzzOptions) -> None:
    r"""Send the same generated requests to two servers and compare the answers, which must be equal.

    Every disagreement is reduced to a small request and printed as a case to paste. Exit code 1 when there is one.

    \b
      triton-contract fuzz --target emulator --examples 20000
      triton-contract fuzz --operation infer --repository datatypes --seed 7
      triton-contract fuzz --schemathesis
      triton-contract fuzz --operation configs --examples 5000
    """
    if CONFIGS in options.operations and len(options.operations) > 1:
        raise click.UsageError(f"--operation {CONFIGS} stands alone: it has a repository of its own")
    # Hypothesis takes long to import, and no other command needs it.
    from triton_contract.fuzz.command import run_campaigns

    if run_campaigns(options):
        sys.exit(1)
