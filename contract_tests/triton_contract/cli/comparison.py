"""What `diff` and `run` share: comparing with a progress bar, printing the tables, saving the results, exit codes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import click

from triton_contract.cases.case import Case
from triton_contract.comparing.baseline import Known, apply_baseline, load_baseline
from triton_contract.comparing.results import RunResult
from triton_contract.reporting.reports import Report, write_reports
from triton_contract.reporting.terminal import Progress, print_run
from triton_contract.reporting.words import told
from triton_contract.running.run import MakeTarget, Reference, compare_target, today
from triton_contract.running.stop import Stop
from triton_contract.targets import TargetUnavailable, UnknownTarget

from .options import ComparisonOptions, Selection

AGREED, DIFFERED = 0, 1
"""The exit codes of a run in which every case was asked."""


def compare_and_print(
    reference: Reference,
    target: MakeTarget,
    cases: list[Case],
    options: ComparisonOptions,
    known: tuple[Known, ...] = (),
) -> tuple[RunResult, int]:
    """Run the cases, or a shard of them, and print what was found. Returns that, with the exit code.

    `known` failures are marked as such.

    A run that ends early, because its target is lost or a signal came, has what was found until then.
    """
    stop = Stop()
    whole = [case.id for case in cases]
    if options.shard is not None:
        cases = options.shard.of(cases)
    with told_to_stop(stop), Progress(len(cases)) as progress:
        try:
            outcome = compare_target(
                reference,
                target,
                cases,
                version=options.version,
                jobs=options.jobs,
                on_result=progress.result,
                stop=stop,
            )
        except UnknownTarget:
            raise
        except TargetUnavailable as unavailable:
            stop.ask(str(unavailable))
            how = reference.how, "not available"
            outcome = RunResult(options.version, *how, today(), (), stop.reason, len(cases))
    outcome = apply_baseline(outcome, known, whole)
    if options.shard is not None:
        outcome = replace(outcome, shard=str(options.shard))
    if outcome.cases:
        print_run(outcome, details=options.details)
    for line in outcome.stale:
        click.echo(line)
    if outcome.stopped:
        click.echo(f"triton-contract: {told(outcome)}", err=True)
    return outcome, stop.exit_code or (DIFFERED if outcome.differs else AGREED)


def known_failures(options: ComparisonOptions, selection: Selection) -> tuple[Known, ...]:
    """The entries of the baseline; none without one. Raises BaselineError."""
    if options.baseline is None:
        return ()
    return load_baseline(options.baseline, [case.id for case in selection.whole()])


def write(options: ComparisonOptions, runs: Sequence[RunResult]) -> None:
    """Write the files that the options ask for. Raises UsageError where one cannot be written."""
    reports = options.reports
    if options.json_file is not None:
        reports = (*reports, Report("json", options.json_file))
    write_files(reports, runs)


def write_files(reports: Iterable[Report], runs: Sequence[RunResult]) -> None:
    """Write the reports. Raises UsageError where one cannot be written."""
    try:
        write_reports(reports, runs)
    except OSError as error:
        raise click.UsageError(f"cannot write the report {error.filename}: {error.strerror}") from None


def worst(codes: Iterable[int]) -> int:
    """The exit code of several runs: that of the one that says most. A signal's comes before all others."""
    return max(codes, default=AGREED)


@contextmanager
def told_to_stop(stop: Stop) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM ask for a stop. A second signal ends the program at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)

    def ask(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        stop.ask(f"interrupted ({signal.Signals(number).name})", 128 + number)

    before = [signal.signal(each, ask) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)
