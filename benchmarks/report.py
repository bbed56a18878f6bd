"""The page that shows what was measured: docs/benchmarks.md, written by a run and by nothing else."""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.http import Row
from benchmarks.startup import MODELS, Startup
from triton_contract.reference import DEFAULT_VERSION

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

_INTRODUCTION = """\
# Speed and memory, beside the real server

Written by `make bench`; do not edit. Both servers serve the same model folders on the same machine in one run, and the
same program (`wrk`, one thread) loads them in turn, round by round; a number is the median of {rounds} rounds of
{seconds} seconds. Machines are noisy: the ratios mean more than the rates.

Measured on {date} on {machine}, with a load average of {load:.1f} before; Python {python}, uvicorn {uvicorn},
tritonserver {triton} from its wheel, on the CPU.

"Python model" is one `model.py` that both run. "Built-in behaviour" is the emulator answering from the model's
configuration alone, where the real server runs the same `model.py`. "Processor" is the processor time that a server's
processes spent per request, the real one's stubs included: the real server spreads it over all cores, the emulator is
one process that runs Python on one of them.
"""


def write(
    rows: Sequence[Row], calls: Sequence[Row], startup: Startup, *, rounds: int, seconds: int, load: float
) -> None:
    """Write the page; `load` is the machine's load average before anything was measured."""
    introduction = _INTRODUCTION.format(
        rounds=rounds,
        seconds=seconds,
        date=dt.datetime.now(dt.UTC).date(),
        machine=machine(),
        load=load,
        python=platform.python_version(),
        uvicorn=version("uvicorn"),
        triton=DEFAULT_VERSION,
    )
    PAGE.write_text("\n".join((introduction, *_http(rows), "", *_grpc(calls), "", *_startup(startup), "")))


def machine() -> str:
    """Cores and processor, not the name of the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()})"


def _http(rows: Sequence[Row]) -> list[str]:
    return ["## Requests per second over HTTP", "", *_rates(rows)]


def _grpc(rows: Sequence[Row]) -> list[str]:
    return [
        "## Requests per second over gRPC",
        "",
        "Loaded by NVIDIA's `perf_analyzer`. A request whose answer is 20 responses counts as one.",
        "",
        *_rates(rows),
    ]


def _rates(rows: Sequence[Row]) -> list[str]:
    return [
        "| what | connections | emulator | real | ratio | p50 / p99, emulator | real | processor, emulator | real |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {row.what} | {row.connections} | {row.emulator.per_second:,.0f} | {row.triton.per_second:,.0f} "
            f"| {row.ratio:.2f} | {row.emulator.p50_us / 1e3:.2f} / {row.emulator.p99_us / 1e3:.2f} ms "
            f"| {row.triton.p50_us / 1e3:.2f} / {row.triton.p99_us / 1e3:.2f} ms "
            f"| {row.emulator.cpu_us:.0f} us | {row.triton.cpu_us:.0f} us |"
            for row in rows
        ),
    ]


def _startup(startup: Startup) -> list[str]:
    ready, memory = startup.ready_s, startup.resident_mib
    rows = (
        (f"from the command to ready, {MODELS} Python models", ready, ".2f", "s"),
        ("resident memory then, stubs included", memory, ".0f", "MiB"),
    )
    return [
        "## Start and memory",
        "",
        "| what | emulator | real server | ratio |",
        "|---|--:|--:|--:|",
        *(
            f"| {what} | {of['emulator']:{form}} {unit} | {of['triton']:{form}} {unit} "
            f"| {of['triton'] / of['emulator']:.1f} |"
            for what, of, form, unit in rows
        ),
        f"| from `Emulator(...)` to its first answer | {1000 * startup.in_process_s:.0f} ms | | |",
        "",
        "The last line is of the second emulator of a Python program, with four models: the first one also imports.",
    ]
