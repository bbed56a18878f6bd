"""The host's load and memory, read from /proc where there is one (zeros elsewhere, as Triton has on such a host)."""

from pathlib import Path

from triton_emulator.frontends.metrics.text import Machine


class MachineReader:
    """Keeps the last reading of the processor's clocks, for the utilisation since then."""

    def __init__(self) -> None:
        self._busy, self._total = _clocks()

    def read(self) -> Machine:
        busy, total = _clocks()
        passed = total - self._total
        utilization = (busy - self._busy) / passed if passed > 0 else 0.0
        self._busy, self._total = busy, total
        memory = _memory()
        size = memory.get("MemTotal", 0)
        return Machine(utilization, size, size - memory.get("MemAvailable", size))


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
