"""What `triton-contract fuzz` does: start two servers, run the campaigns, print what they found."""

from __future__ import annotations

from collections import Counter

import click

from triton_contract.comparing.compare import Outcome
from triton_contract.reporting.terminal import Progress, print_outcomes
from triton_contract.running.pair import Pair
from triton_contract.running.sides import LiveSide
from triton_contract.targets import Target, TargetUnavailable, target_of

from .agreement import Agreement, Disagreement, details
from .campaign import Report, explore
from .configs import EXPLICIT, ConfigAgreement, config_loads, config_repository
from .model import read_models
from .options import CONFIGS, OPERATIONS, FuzzOptions
from .request import yaml_of
from .strategies import described_requests, requests_of

_COLUMNS = (Outcome.EQUAL, Outcome.NORMALISED, Outcome.UNPROVEN, Outcome.DIFFERENT)


def run_campaigns(options: FuzzOptions) -> bool:
    """Start both servers, run one campaign per operation, and print. Returns whether the servers disagreed.

    Raises TargetUnavailable when a server was lost, after what was found is printed.
    """
    reference, target = (
        LiveSide(target_of(name, version=options.version)) for name in (options.reference, options.target)
    )
    pair = Pair(reference, target, alike=options.reference == options.target)
    if CONFIGS in options.operations:
        return run_config_campaign(options, pair, (reference.target, target.target))
    pair.begin(options.repository, ())
    try:
        agreement = Agreement(pair, options.repository)
        models = read_models(reference.target.http, leave_out=options.leave_out)
        makers = {name: requests_of(name, models) for name in options.operations or OPERATIONS}
        if options.schemathesis:
            makers = {"openapi.yaml": described_requests(models, options.operations)}
        share = -(-options.examples // len(makers))
        with Progress(share * len(makers)) as progress:
            reports = [
                explore(agreement, maker, examples=share, start=options.seed, on_result=progress.result)
                for maker in makers.values()
            ]
    finally:
        pair.end()
    return conclude(agreement, reports)


def run_config_campaign(options: FuzzOptions, pair: Pair, targets: tuple[Target, Target]) -> bool:
    """The campaign of CONFIGS: both servers load a model from the same folder, with one text after the other."""
    with config_repository() as repository:
        pair.begin(str(repository), EXPLICIT)
        try:
            agreement = ConfigAgreement(pair, repository.name, folder=repository, targets=targets)
            with Progress(options.examples) as progress:
                report = explore(
                    agreement,
                    config_loads(),
                    examples=options.examples,
                    start=options.seed,
                    on_result=progress.result,
                )
        finally:
            pair.end()
    return conclude(agreement, [report])


def conclude(agreement: Agreement, reports: list[Report]) -> bool:
    """Print what was found. Returns whether the servers disagreed. Raises TargetUnavailable when one was lost."""
    show(agreement, reports)
    if stopped := next((report.stopped for report in reports if report.stopped), ""):
        raise TargetUnavailable(stopped)
    return any(report.again for report in reports)


def show(agreement: Agreement, reports: list[Report]) -> None:
    """Print every disagreement as a case to paste, then what the reference died of, then the counts."""
    for report in reports:
        for found in report.found:
            show_disagreement(found, agreement.repository, report.again[found.kind])
        for unstable in report.unstable:
            click.echo(f"# differed once, and not when asked again: {unstable}\n")
    for request, how in agreement.crashes.values():
        click.echo(f"# the reference died ({how}); unproven:")
        click.echo(yaml_of(request, agreement.repository))
    show_counts(agreement, reports)


def show_counts(agreement: Agreement, reports: list[Report]) -> None:
    """Print how many requests were sent, by operation and outcome, and what the campaigns did."""
    rows: dict[str, Counter[Outcome]] = {}
    for (operation, outcome), number in sorted(agreement.tally.items()):
        rows.setdefault(operation, Counter())[outcome] = number
    print_outcomes("requests sent, those of minimising included", rows, _COLUMNS)
    asked, minimising = (sum(getattr(r, name) for r in reports) for name in ("asked", "minimising"))
    kinds = sum(len(report.again) for report in reports)
    click.echo(
        f"{asked} requests made, {minimising} more to make disagreements small, {kinds} kinds of disagreement, "
        f"{len(agreement.crashes)} crashes of the reference ({agreement.left_out} requests of their shapes left out)"
    )


def show_disagreement(found: Disagreement, repository: str, times: int) -> None:
    """Print what differs, as comments above a case that shows it."""
    for line in details(found.result).splitlines():
        click.echo(f"# {line}")
    click.echo(f"# met {times} times")
    if found.request.config is not None:
        click.echo(f"# with config.pbtxt {found.request.config!r}")
    click.echo(yaml_of(found.request, repository))
