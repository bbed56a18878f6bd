"""The host's load and memory, read from /proc. On a host without /proc they are zero, as in Triton."""

from pathlib import Path
from time import monotonic

from triton_emulator.frontends.metrics.families import Machine

#: tritonserver reserves this by default, and reports it even if it could not reserve it
_PINNED_POOL_BYTES = 268435456


class MachineReader:
    """Keeps the last reading of the processor's clocks to compute the utilisation since then."""

    def __init__(self, interval_ms: int, *, processor: bool = True) -> None:
        """`processor` turns the processor's metrics on. 2.51 polls the pinned pool only together with them."""
        self._processor = processor
        self._busy, self._total = _clocks()
        #: 2.51 sets its gauges at the end of each interval
        self._first_poll = monotonic() + interval_ms / 1000

    def read(self) -> Machine:
        busy, total = _clocks()
        passed = total - self._total
        utilization = (busy - self._busy) / passed if passed > 0 else 0.0
        self._busy, self._total = busy, total
        memory = _memory()
        size = memory.get("MemTotal", 0)
        pool = _PINNED_POOL_BYTES if self._processor and monotonic() >= self._first_poll else 0
        return Machine(utilization, size, size - memory.get("MemAvailable", size), pool)


def _clocks() -> tuple[int, int]:
    """(busy, all) clock ticks since the machine started."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except (OSError, IndexError):
        return 0, 0
    ticks = [int(word) for word in first.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _memory() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
