"""--check: the report on standard output, as text or as JSON, and the exit code."""

import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from textwrap import indent
from typing import TextIO

from triton_emulator.cli import foreground
from triton_emulator.cli.command_line import WRONG_FLAGS
from triton_emulator.harness.cassettes.reading import CassetteError
from triton_emulator.protocol.errors import TritonError
from triton_emulator.server import CheckedModel, CheckReport, described
from triton_emulator.session import log
from triton_emulator.session.log_settings import LogSettings
from triton_emulator.settings import Settings

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


def check(settings: Settings, warnings: Sequence[str], *, as_json: bool) -> int:
    """Print what a server with these settings would serve, and `warnings` before its own.

    Returns the exit code: 0 if all models load, 1 if not, 2 if the settings mean nothing.
    """
    if settings.log_file:
        log.install(LogSettings.of(settings))
    else:  # its warnings and errors are in the report
        logging.getLogger(log.ROOT).propagate = False
        logging.getLogger(log.ROOT).addHandler(logging.NullHandler())
    with _output_for_the_report() as output:
        try:
            report = foreground.check(settings)
        except (CassetteError, TritonError) as fault:
            sys.stderr.write(f"error: creating server: {described(fault)}\n")
            return WRONG_FLAGS
        report = replace(report, warnings=[*warnings, *report.warnings])
        output.write(f"{json.dumps(asdict(report), indent=2)}\n" if as_json else _text(report))
    return 0 if report.ok else 1


@contextmanager
def _output_for_the_report() -> Iterator[TextIO]:
    """Standard output. What models and the programs that they start print there goes to standard error meanwhile."""
    sys.stdout.flush()
    with open(os.dup(_STANDARD_OUTPUT), "w", encoding="utf-8", errors="backslashreplace") as output:  # noqa: PTH123
        os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)
        try:
            yield output
        finally:
            sys.stdout.flush()
            os.dup2(output.fileno(), _STANDARD_OUTPUT)


def _text(report: CheckReport) -> str:
    """The report for people: the models, the warnings and errors, a summary."""
    lines = [line for model in report.models for line in _model(model)]
    lines += [report.answers] if report.answers else []
    lines += [f"warning: {warning}" for warning in report.warnings]
    lines += [f"error: {error}" for error in report.errors]
    return "".join(f"{line}\n" for line in [*lines, _summary(report)])


def _model(model: CheckedModel) -> Iterable[str]:
    name = f"{model.namespace}::{model.name}" if model.namespace else model.name
    title = name if model.version is None else f"{name}, version {model.version}"
    if model.status == "not_loaded":
        return [f"{title}: not asked for"]
    if model.status == "fails":
        where = [f"    {model.path}"] if model.path else []
        first, *more = model.reason.splitlines() or [""]
        return [f"{title}: DOES NOT LOAD: {first}", *(indent(line, "    ") for line in more), *where]
    batches = f"max_batch_size {model.max_batch_size}"
    traits = [batches, *(["decoupled"] if model.decoupled else []), *_gpus(model.simulated_gpus)]
    tensors = [
        (side, tensor.name, tensor.datatype, f"{list(tensor.shape)}{' optional' if tensor.optional else ''}")
        for side, tensors in (("input", model.inputs), ("output", model.outputs))
        for tensor in tensors
    ]
    widths = [max(len(row[column]) for row in tensors) for column in range(3)] if tensors else []
    rows = [
        "    " + " ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in tensors
    ]
    return [f"{title}: {_runs_as(model)}; {', '.join(traits)}", *rows]


def _runs_as(model: CheckedModel) -> str:
    if model.runs_as == "stand-in":
        return f"stand-in ({model.behaviour}) for backend {model.backend}"
    return "its model.py runs" if model.runs_as == "python" else "ensemble"


def _gpus(numbers: Sequence[int]) -> list[str]:
    if not numbers:
        return []
    return [f"simulated GPU{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"]


def _summary(report: CheckReport) -> str:
    by_status: dict[str, set[tuple[str, str]]] = {}
    for model in report.models:
        by_status.setdefault(model.status, set()).add((model.namespace, model.name))
    failing = by_status.get("fails", set())
    counts = Counter({status: len(models - failing) for status, models in by_status.items()})
    parts = [f"models that load: {counts['loads']}", f"that do not: {len(failing)}"]
    if counts["not_loaded"]:
        parts.append(f"not asked for: {counts['not_loaded']}")
    return ", ".join(parts)
