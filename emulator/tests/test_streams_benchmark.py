"""The program that measures many streams: it reads them all, over HTTP and gRPC."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE = (
    r" +3 streams +\d+ of +150 events/s +[\d.]+ us of processor each \( *\d+/s per core\) "
    r"gap error p50 +[\d.]+ ms p99 +[\d.]+ ms"
)


@pytest.mark.parametrize(
    ("options", "title", "workers"),
    [((), "HTTP", 1), (("--grpc",), "gRPC", 1), (("--workers=2",), "HTTP", 2)],
)
def test_three_streams_are_measured(options: tuple[str, ...], title: str, workers: int) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.streams",
        "--streams=3",
        "--pace-ms=20",
        "--seconds=0.5",
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{title}, a token every 20 ms, workers: {workers}, load ")
    assert re.fullmatch(LINE, second), second
