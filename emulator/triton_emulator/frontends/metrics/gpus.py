"""Simulated GPUs, for dashboards and autoscalers that look at Triton's GPU metrics. No device is ever read.

A GPU's memory and power are invented and constant but for the utilisation, which is the share of the time that the
models that are stood in for were at work.
"""

import uuid
from hashlib import shake_128
from time import monotonic_ns

from triton_emulator.frontends.metrics.families import Gpu

_MEMORY_BYTES = 80 << 30
_USED_SHARE = 0.25
_POWER_LIMIT_W = 700.0
_IDLE_POWER_W = 70.0


def gpu_uuid(seed: int, number: int) -> str:
    """The name of a GPU, in the form of the driver's: the same for the same seed."""
    return f"GPU-{uuid.UUID(bytes=shake_128(f'{seed}/gpu/{number}'.encode()).digest(16))}"


class GpuReader:
    """Keeps the last reading, for the utilisation and the energy since then; `since_ns` stands for the first."""

    def __init__(self, count: int, seed: int, since_ns: int) -> None:
        self._uuids = [gpu_uuid(seed, number) for number in range(count)]
        self._read_ns = since_ns
        self._busy_ns = 0
        self._joules = 0.0

    def read(self, busy_ns: int) -> list[Gpu]:
        """The GPUs now, all alike; `busy_ns` is for how long they have been at work since the start."""
        now = monotonic_ns()
        passed = max(now - self._read_ns, 1)
        # 2.51's own words for the range are [0.0 - 1.0)
        utilization = min(max(busy_ns - self._busy_ns, 0) / passed, 0.99)
        power = _IDLE_POWER_W + utilization * (_POWER_LIMIT_W - _IDLE_POWER_W)
        self._joules += power * passed / 1e9
        self._read_ns, self._busy_ns = now, busy_ns
        used = int(_MEMORY_BYTES * _USED_SHARE)
        return [
            Gpu(name, utilization, _MEMORY_BYTES, used, power, _POWER_LIMIT_W, self._joules)
            for name in self._uuids
        ]
