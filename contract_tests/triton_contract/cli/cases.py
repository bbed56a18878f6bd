"""triton-contract cases: the list of cases."""

from __future__ import annotations

import click

from triton_contract.cases.operations import operation_of
from triton_contract.reporting.terminal import list_cases

from .options import Selection, selection_options


@click.command()
@selection_options
def cases(selection: Selection) -> None:
    """List the cases: id, operation, file, repository and flags. Every case file is checked first."""
    list_cases([(case, operation_of(case)) for case in selection.cases()])
