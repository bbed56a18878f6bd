"""The host's load and memory, read from /proc where there is one (zeros elsewhere, as Triton has on such a host)."""

from pathlib import Path
from time import monotonic

from triton_emulator.frontends.metrics.families import Machine

#: what tritonserver reserves by default, and reports even where no driver let it
_PINNED_POOL_BYTES = 268435456


class MachineReader:
    """Keeps the last reading of the processor's clocks, for the utilisation since then."""

    def __init__(self, interval_ms: int, *, processor: bool = True) -> None:
        """`processor` is whether the processor's metrics are wanted: 2.51 polls the pinned pool beside them alone."""
        self._processor = processor
        self._busy, self._total = _clocks()
        #: 2.51 fills its gauges once per interval, the first time at the end of the first
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
