"""What `diff` and `run` share: comparing with a progress bar, printing the tables, saving the results."""

from __future__ import annotations

from triton_contract.cases.case import Case
from triton_contract.comparing import results
from triton_contract.reporting.terminal import Progress, print_run
from triton_contract.running.run import MakeTarget, Reference, compare_target

from .options import ComparisonOptions


def compare_and_report(
    reference: Reference, target: MakeTarget, cases: list[Case], options: ComparisonOptions
) -> bool:
    """Run the cases, print what was found, save it if asked to. Returns whether nothing differed."""
    with Progress(len(cases)) as progress:
        outcome = compare_target(
            reference,
            target,
            cases,
            version=options.version,
            jobs=options.jobs,
            on_result=progress.result,
        )
    print_run(outcome, details=options.details)
    if options.json_file is not None:
        results.save(options.json_file, outcome)
    return not outcome.failed
