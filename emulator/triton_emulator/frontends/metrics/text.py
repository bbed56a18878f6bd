"""Triton's metrics as Prometheus text: names, help texts and labels of 2.51, numbers from the statistics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from triton_emulator.engine.statistics import ModelStatistics

#: why a request failed; every model has a series for each from the start
FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One loaded version of a model, and how many requests it has not answered yet."""

    name: str
    version: int
    statistics: ModelStatistics
    pending: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The host's gauges: utilisation from 0 to 1, memory in bytes. `pinned_pool` is its size, none of it used."""

    cpu_utilization: float
    memory_total: int
    memory_used: int
    pinned_pool: int


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    help: str
    kind: str
    value: Callable[[ModelRow], int]


_FAMILIES = (
    _Family(
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        "counter",
        lambda row: row.statistics.inference_count,
    ),
    _Family(
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        "counter",
        lambda row: row.statistics.execution_count,
    ),
    _Family(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        "counter",
        lambda row: row.statistics.success.ns // 1000,
    ),
    _Family(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        "counter",
        lambda row: row.statistics.queue.ns // 1000,
    ),
    _Family(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        "counter",
        lambda row: row.statistics.compute_input.ns // 1000,
    ),
    _Family(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        "counter",
        lambda row: row.statistics.compute_infer.ns // 1000,
    ),
    _Family(
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        "counter",
        lambda row: row.statistics.compute_output.ns // 1000,
    ),
    _Family(
        "nv_inference_pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model.",
        "gauge",
        lambda row: row.pending,
    ),
)
_SUCCESS = _Family(
    "nv_inference_request_success",
    "Number of successful inference requests, all batch sizes",
    "counter",
    lambda row: row.statistics.success.count,
)


def render(rows: Iterable[ModelRow], machine: Machine, own: Callable[[str], list[str]]) -> bytes:
    """The body of `GET /metrics`; `own` gives the lines of the metrics of a kind that models define."""
    listed = list(rows)
    lines = _family(_SUCCESS, listed)
    lines += _head(
        "nv_inference_request_failure", "Number of failed inference requests, all batch sizes", "counter"
    )
    for row in listed:
        for reason in FAILURE_REASONS:
            count = row.statistics.fail.count if reason == "BACKEND" else 0
            labels = f'model="{_escaped(row.name)}",reason="{reason}",version="{row.version}"'
            lines.append(f"nv_inference_request_failure{{{labels}}} {count}")
    for family in _FAMILIES:
        if family.kind == "counter":
            lines += _family(family, listed)
    lines += own("counter")
    for family in _FAMILIES:
        if family.kind == "gauge":
            lines += _family(family, listed)
    lines += _gauge(
        "nv_pinned_memory_pool_total_bytes",
        "Pinned memory pool total memory size, in bytes",
        machine.pinned_pool,
    )
    lines += _gauge("nv_pinned_memory_pool_used_bytes", "Pinned memory pool used memory size, in bytes", 0)
    lines += _gauge("nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]", machine.cpu_utilization)
    lines += _gauge("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", machine.memory_total)
    lines += _gauge("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", machine.memory_used)
    lines += own("gauge") + own("histogram")
    return ("\n".join(lines) + "\n").encode()


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _family(family: _Family, rows: list[ModelRow]) -> list[str]:
    return _head(family.name, family.help, family.kind) + [
        f'{family.name}{{model="{_escaped(row.name)}",version="{row.version}"}} {family.value(row)}'
        for row in rows
    ]


def _gauge(name: str, text: str, value: float) -> list[str]:
    return [*_head(name, text, "gauge"), f"{name} {value}"]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
