"""Simulated GPUs, for dashboards and autoscalers that look at Triton's GPU metrics. No device is ever read.

A GPU's memory is constant. Its utilisation is the share of the time in which stand-ins executed requests, and its power
follows from the utilisation.
"""

import uuid
from collections.abc import Iterable, Sequence
from hashlib import shake_128
from time import monotonic_ns

from triton_emulator.frontends.metrics.families import Gpu
from triton_emulator.settings import Settings

_MEMORY_BYTES = 80 << 30
_USED_SHARE = 0.25
_POWER_LIMIT_W = 700.0
_IDLE_POWER_W = 70.0


def gpu_uuid(seed: int, number: int) -> str:
    """The UUID of a GPU in the driver's form. Equal seeds give equal UUIDs."""
    return f"GPU-{uuid.UUID(bytes=shake_128(f'{seed}/gpu/{number}'.encode()).digest(16))}"


def shown_gpus(settings: Settings, used: Iterable[int]) -> Sequence[int]:
    """The GPUs that the machine pretends to have: those of the setting, else those that the loaded models use."""
    if not settings.allow_gpu_metrics:
        return ()
    return sorted(used) if settings.simulated_gpus is None else range(settings.simulated_gpus)


class GpuReader:
    """Keeps the last reading to compute the utilisation and energy since then. `since_ns` is the time of the start."""

    def __init__(self, seed: int, since_ns: int) -> None:
        self._seed = seed
        self._read_ns = since_ns
        self._busy_ns = 0
        self._joules = 0.0

    def read(self, numbers: Iterable[int], busy_ns: int) -> list[Gpu]:
        """The readings of the GPUs of these numbers, which are equal. `busy_ns` is how long they have been busy since
        the start.
        """
        now = monotonic_ns()
        passed = max(now - self._read_ns, 1)
        # 2.51's help text gives the range as [0.0 - 1.0)
        utilization = min(max(busy_ns - self._busy_ns, 0) / passed, 0.99)
        power = _IDLE_POWER_W + utilization * (_POWER_LIMIT_W - _IDLE_POWER_W)
        self._joules += power * passed / 1e9
        self._read_ns, self._busy_ns = now, busy_ns
        used = int(_MEMORY_BYTES * _USED_SHARE)
        return [
            Gpu(
                gpu_uuid(self._seed, number),
                utilization,
                _MEMORY_BYTES,
                used,
                power,
                _POWER_LIMIT_W,
                self._joules,
            )
            for number in numbers
        ]
