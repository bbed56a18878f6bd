"""Writes the tables of docs/benchmarks.md. A run replaces those that it has measured and keeps the other text."""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.rows import REPOSITORY, Extent, Row
from benchmarks.startup import MODELS, Startup
from triton_contract.reference import DEFAULT_VERSION

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def write(name: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Replace the text between the marks of this name by `lines`."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page.name} has no place for '{name}'")
    page.write_text("".join((before, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, after)))


def rates(rows: Sequence[Row], extent: Extent, load: float) -> list[str]:
    return [
        f"{conditions(load)} A number is the median of {extent.rounds} rounds of {extent.seconds} s.",
        "",
        "| what | connections | emulator | real | ratio | p50 / p99, emulator | real | processor, emulator | real |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {row.what} | {row.connections} | {row.emulator.per_second:,.0f}/s | {row.triton.per_second:,.0f}/s "
            f"| {row.ratio:.2f}x | {row.emulator.p50_us / 1e3:.2f} / {row.emulator.p99_us / 1e3:.2f} ms "
            f"| {row.triton.p50_us / 1e3:.2f} / {row.triton.p99_us / 1e3:.2f} ms "
            f"| {row.emulator.cpu_us:.0f} us | {row.triton.cpu_us:.0f} us |"
            for row in rows
        ),
    ]


def startup(found: Startup, extent: Extent, load: float) -> list[str]:
    many, one = found.many, found.one
    further = {name: found.further(name) for name in many}
    times = (
        (f"from the command to ready, {MODELS} Python models", many, 1.0, "s", ".2f"),
        ("from the command to ready, one", one, 1.0, "s", ".2f"),
        ("each further model", further, 1e3, "ms", ".0f"),
    )
    memory = (
        (f"resident memory then, {MODELS} Python models", many, "MiB", ".0f"),
        ("resident memory then, one", one, "MiB", ".0f"),
        ("each further model", further, "MiB", ".2f"),
    )
    models = sum(1 for folder in REPOSITORY.iterdir() if folder.is_dir())
    took = 1000 * found.in_process_s
    return [
        f"{conditions(load)} A number is the median of {extent.rounds} starts.",
        "",
        "| what | emulator | real | ratio |",
        "|---|--:|--:|--:|",
        *(
            _line(what, of["emulator"].ready_s * factor, of["triton"].ready_s * factor, unit, form)
            for what, of, factor, unit, form in times
        ),
        *(
            _line(what, of["emulator"].resident_mib, of["triton"].resident_mib, unit, form)
            for what, of, unit, form in memory
        ),
        _line(
            f"to ready, {MODELS} Python models in processes",
            found.processes.ready_s,
            many["triton"].ready_s,
            "s",
            ".2f",
        ),
        _line(
            f"resident memory then, {MODELS} Python models in processes",
            found.processes.resident_mib,
            many["triton"].resident_mib,
            "MiB",
            ".0f",
        ),
        f"| a second `Emulator()` of a program, {models} models, to its answer | {took:.0f} ms | | |",
    ]


def _line(what: str, emulator: float, triton: float, unit: str, form: str) -> str:
    ratio = triton / emulator
    return f"| {what} | {emulator:{form}} {unit} | {triton:{form}} {unit} | {ratio:.{0 if ratio >= 2 else 1}f}x |"


def conditions(load: float) -> str:
    """Date, machine and versions of a measurement; `load` is the machine's load average before it."""
    raised = os.sched_getscheduler(0) != os.SCHED_OTHER or os.getpriority(os.PRIO_PROCESS, 0) < 0
    return (
        f"Measured on {dt.datetime.now(dt.UTC).date()} on {machine()}"
        f"{', everything at a raised priority' if raised else ''}, load average {load:.1f} before; "
        f"Python {platform.python_version()}, uvicorn {version('uvicorn')}, tritonserver {DEFAULT_VERSION}."
    )


def machine() -> str:
    """Number of cores and processor; the name of the machine is left out."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()})"
