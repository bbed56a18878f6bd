"""The metrics that the reference cannot show: those of GPUs."""

from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.frontends.metrics.gpus import GpuReader, gpu_uuid

FAMILIES = [
    "# HELP nv_energy_consumption GPU energy consumption in joules since the Triton Server started",
    "# TYPE nv_energy_consumption counter",
    "# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)",
    "# TYPE nv_gpu_utilization gauge",
    "# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes",
    "# TYPE nv_gpu_memory_total_bytes gauge",
    "# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes",
    "# TYPE nv_gpu_memory_used_bytes gauge",
    "# HELP nv_gpu_power_usage GPU power usage in watts",
    "# TYPE nv_gpu_power_usage gauge",
    "# HELP nv_gpu_power_limit GPU power management limit in watts",
    "# TYPE nv_gpu_power_limit gauge",
]


def gpu_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if "gpu" in line.lower() or "nv_energy" in line]


def test_simulated_gpus_are_shown_with_tritons_names_texts_and_label(tmp_path: Path) -> None:
    with Emulator(tmp_path, simulated_gpus=2) as triton:
        lines = gpu_lines(httpx.get(triton.metrics_url).text)
    assert [line for line in lines if line.startswith("#")] == FAMILIES
    for number in (0, 1):
        assert f'nv_gpu_memory_total_bytes{{gpu_uuid="{gpu_uuid(0, number)}"}} 85899345920' in lines


@pytest.mark.parametrize("options", [{}, {"simulated_gpus": 2, "allow_gpu_metrics": False}])
def test_there_are_none_unless_they_are_asked_for(tmp_path: Path, options: dict[str, int]) -> None:
    with Emulator(tmp_path, **options) as triton:
        assert gpu_lines(httpx.get(triton.metrics_url).text) == []


def test_a_gpu_is_at_work_while_what_it_stands_for_is() -> None:
    gpus = GpuReader(1, seed=3)
    [idle] = gpus.read(0)
    assert (idle.uuid, idle.utilization, idle.power) == (gpu_uuid(3, 0), 0.0, 70.0)
    [busy] = gpus.read(10**15)
    assert busy.utilization == 0.99
    assert idle.power < busy.power < busy.power_limit
    assert busy.energy > idle.energy
    [idle_again] = gpus.read(10**15)
    assert idle_again.utilization == 0.0
