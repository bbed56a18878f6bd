"""Start-up and memory: 28 Python models, from the command to the first ready answer; and the emulator inside a test."""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.http import REPOSITORY
from benchmarks.servers import NAMES, resident_mib, running

MODELS = 28


@dataclass(frozen=True)
class Startup:
    """Seconds from the command to the first ready answer, and the memory taken then, of each server."""

    ready_s: dict[str, float]
    resident_mib: dict[str, float]
    #: from `Emulator(...)` to its first answer, in a Python program that has had one before
    in_process_s: float


def run(*, rounds: int) -> Startup:
    ready: dict[str, list[float]] = {name: [] for name in NAMES}
    memory: dict[str, list[float]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        for number in range(MODELS):
            shutil.copytree(REPOSITORY / "identity", repository / f"identity_{number}")
        for _ in range(rounds):
            for name in NAMES:
                begin = time.perf_counter()
                with running(name, repository) as target:
                    ready[name].append(time.perf_counter() - begin)
                    memory[name].append(resident_mib(target))
    result = Startup(
        {name: median(values) for name, values in ready.items()},
        {name: median(values) for name, values in memory.items()},
        median(_in_process() for _ in range(rounds)),
    )
    for name in NAMES:
        print(
            f"{name:10}{MODELS} Python models ready after {result.ready_s[name]:5.2f} s, "
            f"{result.resident_mib[name]:6.0f} MiB resident"
        )
    print(f"in a test: a second emulator, of four models, answers after {1000 * result.in_process_s:.0f} ms")
    return result


_PROGRAM = """
import time, urllib.request
from triton_emulator import Emulator
for _ in range(2):
    begin = time.perf_counter()
    with Emulator(MODELS) as triton:
        urllib.request.urlopen(triton.url + "/v2/health/ready").close()
        took = time.perf_counter() - begin
print(took)
"""


def _in_process() -> float:
    program = _PROGRAM.replace("MODELS", repr(str(REPOSITORY)))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)
