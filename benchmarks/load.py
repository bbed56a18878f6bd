"""Puts load on a server with wrk."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

WRK = "wrk"


class Unmeasured(Exception):
    """The measurement is not possible. The text is one line with the reason."""


@dataclass(frozen=True)
class Request:
    """A POST that is sent repeatedly."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rate:
    """Requests per second; the 50th and 99th percentile of the latency, in microseconds; and the processor time of the
    server's processes for each request, in microseconds.
    """

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float


def require_wrk() -> None:
    if shutil.which(WRK) is None:
        raise Unmeasured("wrk is needed (on Debian and Ubuntu: apt-get install wrk)")


def measure(
    url: str, request: Request, *, connections: int, seconds: int, cpu_seconds: Callable[[], float]
) -> Rate:
    """Send `request` to the server at `url` as fast as it answers; `cpu_seconds` reads its processor time so far.

    Raises Unmeasured if an answer is an error.
    """
    before = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "request.lua"
        script.write_bytes(_script(request))
        command = [WRK, "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--latency"]
        done = subprocess.run(
            [*command, f"--script={script}", url + request.path], capture_output=True, text=True, check=False
        )
    if done.returncode or "Non-2xx" in done.stdout:
        raise Unmeasured(f"{url}{request.path}: {done.stdout.splitlines()[-1:]} {done.stderr.strip()}")
    spent = cpu_seconds() - before
    return Rate(
        float(_found(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]),
        _microseconds(_found(r"50%\s+([\d.]+)(us|ms|s)", done.stdout)),
        _microseconds(_found(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)),
        1e6 * spent / max(1, int(_found(r"(\d+) requests in", done.stdout)[1])),
    )


def _script(request: Request) -> bytes:
    """A script for wrk. Its body is written in decimal escapes, because it may hold any bytes."""
    body = "".join(f"\\{byte:03d}" for byte in request.body)
    headers = "".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in request.headers.items())
    return f'wrk.method = "POST"\nwrk.body = "{body}"\n{headers}'.encode()


def _found(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if found is None:
        raise Unmeasured(f"wrk printed no {pattern}: {text}")
    return found


def _microseconds(found: re.Match[str]) -> float:
    return float(found[1]) * {"us": 1.0, "ms": 1e3, "s": 1e6}[found[2]]
