"""The metrics of GPUs. The reference has no GPU to compare with."""

from pathlib import Path
from time import monotonic_ns

import httpx
import pytest

from triton_emulator import Emulator, EmulatorOptions, Session
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
def test_there_are_no_gpu_metrics_by_default(tmp_path: Path, options: EmulatorOptions) -> None:
    with Emulator(tmp_path, **options) as triton:
        assert gpu_lines(httpx.get(triton.metrics_url).text) == []


def test_a_gpu_is_busy_while_its_stand_ins_are() -> None:
    gpus = GpuReader(seed=3, since_ns=monotonic_ns())
    [idle] = gpus.read([0], 0)
    assert (idle.uuid, idle.utilization, idle.power) == (gpu_uuid(3, 0), 0.0, 70.0)
    [busy] = gpus.read([0], 10**15)
    assert busy.utilization == 0.99
    assert idle.power < busy.power < busy.power_limit
    assert busy.energy > idle.energy
    [idle_again] = gpus.read([0], 10**15)
    assert idle_again.utilization == 0.0


def test_the_gpus_of_one_session_show_no_work_of_another(tmp_path: Path) -> None:
    def utilization(session: Session) -> float:
        lines = gpu_lines(httpx.get(session.metrics_url).text)
        return float(next(line for line in lines if line.startswith("nv_gpu_utilization{")).split()[-1])

    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(
        """
        backend: "onnxruntime"
        input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 1000 ] }
        """
    )
    asked = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}]}
    with Emulator(tmp_path, simulated_gpus=1) as triton, triton.session() as busy, triton.session() as idle:
        assert httpx.post(f"{busy.url}/v2/models/m/infer", json=asked).is_success
        assert utilization(busy) > 0
        assert [utilization(idle), utilization(busy)] == [0.0, 0.0]
