"""NVIDIA's own load generator: `perf_analyzer`, from the last wheel of `tritonclient` that contains it.

It is a real client: it reads metadata, configuration and statistics before and after it measures.
"""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .wheel import DEFAULT_VERSION, Pin, ReferenceUnavailable, fetch, fetch_server, prepare

PERF_ANALYZER = Pin(
    "tritonclient",
    "2.40.0",
    ("f270fdb61560894c20b6e7fcd4fc1bf837e51022092692b63a38692042fa18b8",),
    ("tritonclient-2.40.0.data/data/bin/perf_analyzer",),
)
#: libraries that it loads by their plain names; the server's wheel has them under other names
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
#: the program measures until three windows in a row are stable. These make it accept the first three in which anything
#: was answered; on a busy machine a short window may pass without an answer, which counts as a trial
_UNSTABLE = ("--stability-percentage=999", "--max-trials=600")


_LINES_SHOWN = 20


class Failed(Exception):
    """perf_analyzer ended with an error. The text is what it printed."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of its report: requests per second, and microseconds, of the client and of the server's statistics."""

    per_second: float
    p50_us: float
    p99_us: float
    server_queue_us: float
    server_infer_us: float


def measure(
    model: str,
    protocol: str,
    address: str,
    *,
    concurrency: int = 1,
    milliseconds: int = 1000,
    options: Sequence[str] = (),
) -> Measurement:
    """Load `model` over "http" or "grpc" at `address` (host:port).

    Measures for `milliseconds` with `concurrency` requests at a time. `options` are further options of perf_analyzer.
    Raises ReferenceUnavailable when the program cannot be downloaded, Failed when it ends with an error.
    """
    program, environment = installed()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.csv"
        command = [
            *(str(program), "-m", model, "-i", protocol, "-u", address),
            *("--concurrency-range", str(concurrency), "--measurement-interval", str(milliseconds)),
            *("-f", str(report), *_UNSTABLE, *options),
        ]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode or not report.is_file():
            raise Failed("\n".join((done.stdout + done.stderr).splitlines()[:_LINES_SHOWN]))
        with report.open(newline="") as file:
            [row] = csv.DictReader(file)
    return Measurement(
        float(row["Inferences/Second"]),
        float(row["p50 latency"]),
        float(row["p99 latency"]),
        float(row["Server Queue"]),
        float(row["Server Compute Infer"]),
    )


@cache
def installed() -> tuple[Path, dict[str, str]]:
    """The program and the environment that it runs in, downloaded on first use. Raises ReferenceUnavailable."""
    libraries = fetch_server(DEFAULT_VERSION) / "nvidia_pytriton.libs"
    home = fetch(PERF_ANALYZER, f"perf_analyzer-{PERF_ANALYZER.version}")
    program = home / PERF_ANALYZER.parts[0]
    program.chmod(0o755)

    def link(draft: Path) -> None:
        draft.mkdir()
        for name, pattern in _LIBRARIES.items():
            found = sorted(libraries.glob(pattern))
            if not found:
                raise ReferenceUnavailable(f"the server's wheel has no {pattern}")
            (draft / name).symlink_to(found[0])

    links = prepare(home / "libraries", link)
    return program, {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join((str(links), str(libraries)))}
