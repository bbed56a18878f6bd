"""Start-up time and memory: from the command to ready with 28 Python models and with one, and of `Emulator()`."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.rows import REPOSITORY
from benchmarks.servers import NAMES, resident_mib, running

MODELS = 28


@dataclass(frozen=True)
class Start:
    """Seconds from the command to the first ready answer, and the memory of all its processes then."""

    ready_s: float
    resident_mib: float


@dataclass(frozen=True)
class Startup:
    """The starts with 28 models and with one, by server."""

    many: Mapping[str, Start]
    one: Mapping[str, Start]
    #: the emulator's with 28 models and a process for each
    processes: Start
    #: from `Emulator(...)` to its first answer, for the second emulator of a Python program
    in_process_s: float

    def further(self, name: str) -> Start:
        """The cost of each model after the first."""
        many, one = self.many[name], self.one[name]
        others = MODELS - 1
        return Start((many.ready_s - one.ready_s) / others, (many.resident_mib - one.resident_mib) / others)


def run(*, rounds: int) -> Startup:
    """Raises Unmeasured."""
    result = Startup(
        _starts(MODELS, rounds),
        _starts(1, rounds),
        _starts(MODELS, rounds, ("emulator",), "--python-process-per-model")["emulator"],
        median(_in_process() for _ in range(rounds)),
    )
    print(f"a second emulator of a Python program answers after {1000 * result.in_process_s:.0f} ms")
    return result


def _starts(models: int, rounds: int, names: Sequence[str] = NAMES, *flags: str) -> dict[str, Start]:
    found: dict[str, list[Start]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        for number in range(models):
            shutil.copytree(REPOSITORY / "identity", repository / f"identity_{number}")
        for _ in range(rounds):
            for name in names:
                begin = time.perf_counter()
                with running(name, repository, flags) as target:
                    found[name].append(Start(time.perf_counter() - begin, resident_mib(target)))
                start = found[name][-1]
                print(
                    f"{name:10}{models:3} Python models ready after {start.ready_s:6.2f} s, "
                    f"{start.resident_mib:6.0f} MiB resident",
                    flush=True,
                )
    return {
        name: Start(median(start.ready_s for start in starts), median(start.resident_mib for start in starts))
        for name, starts in found.items()
    }


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
