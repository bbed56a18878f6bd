"""Triton's metrics as Prometheus text, family by family in 2.51's order; a family without a sample is left out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from triton_emulator.cxx.prometheus import as_printed
from triton_emulator.engine.statistics import FailureCounts
from triton_emulator.engine.summaries import QUANTILES, Seen, parse_quantiles
from triton_emulator.frontends.metrics import families
from triton_emulator.frontends.metrics.families import (
    Cache,
    Gpu,
    GpuFamily,
    Machine,
    ModelFamily,
    ModelRow,
    SummaryFamily,
)
from triton_emulator.protocol.personality import Personality

#: The lines of the models' own families of a kind.
OwnFamilies = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """The settings of `--metrics-config` and of related flags."""

    counters: bool = True
    summaries: bool = False
    quantiles: tuple[float, ...] = QUANTILES
    processor: bool = True
    pinned: bool = True
    failure_reasons: bool = True

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], rules: Personality, *, processor: bool) -> "MetricsConfig":
        settings = dict(pairs)
        return cls(
            counters=settings.get("counter_latencies") != "false",
            summaries=settings.get("summary_latencies") == "true",
            quantiles=parse_quantiles(settings.get("summary_quantiles", "")),
            processor=processor,
            pinned=rules.pinned_memory_metrics,
            failure_reasons=rules.failure_reasons,
        )


def render(
    config: MetricsConfig,
    rows: Sequence[ModelRow],
    failures: FailureCounts,
    machine: Machine,
    cache: Cache | None,
    own: OwnFamilies,
    gpus: Sequence[Gpu] = (),
) -> bytes:
    """The body of `GET /metrics`."""
    lines = _of_models(families.SUCCESS, rows, config)
    lines += (
        _failures(failures, config) if config.failure_reasons else _of_models(families.FAILED, rows, config)
    )
    for model_family in (*families.COUNTS, *(families.LATENCIES if config.counters else ())):
        lines += _of_models(model_family, rows, config)
    lines += _of_gpus(families.ENERGY, gpus, "counter")
    lines += own("counter")
    lines += _head(families.PENDING.name, families.PENDING.help, "gauge", rows)
    lines += [f"{families.PENDING.name}{_labels(row.labels)} {families.PENDING.value(row)}" for row in rows]
    lines += _load_durations(rows)
    for gauge in families.PINNED if config.pinned else ():
        lines += _gauge(gauge.name, gauge.help, gauge.value(machine))
    for gpu_family in families.GPUS:
        lines += _of_gpus(gpu_family, gpus, "gauge")
    for gauge in families.PROCESSOR if config.processor else ():
        lines += _gauge(gauge.name, gauge.help, gauge.value(machine))
    if cache is not None:
        for cache_family in families.CACHE:
            lines += _gauge(cache_family.name, cache_family.help, cache_family.value(cache))
    lines += own("gauge") + _first_responses(rows) + own("histogram")
    if config.summaries:
        for summary_family in families.SUMMARIES:
            lines += _summaries(summary_family, rows, config)
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _head(name: str, text: str, kind: str, samples: Sequence[object]) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"] if samples else []


def _gauge(name: str, text: str, value: float) -> list[str]:
    return [*_head(name, text, "gauge", (value,)), f"{name} {value}"]


def _load_durations(rows: Sequence[ModelRow]) -> list[str]:
    name, text = families.LOAD_DURATION
    shown = [row for row in rows if row.load_seconds is not None]
    return _head(name, text, "gauge", shown) + [
        f"{name}{_labels(row.labels)} {row.load_seconds}" for row in shown
    ]


def _first_responses(rows: Sequence[ModelRow]) -> list[str]:
    name, text = families.FIRST_RESPONSE
    shown = [(row.labels, row.first_responses) for row in rows if row.first_responses is not None]
    lines = _head(name, text, "histogram", shown)
    for labels, found in shown:
        count = sum(found.buckets)
        lines += [f"{name}_count{_labels(labels)} {count}", f"{name}_sum{_labels(labels)} {found.total}"]
        for bound, upto in zip((*found.bounds, inf), accumulate(found.buckets), strict=True):
            lines.append(f'{name}_bucket{_labels(labels)[:-1]},le="{as_printed(bound)}"}} {upto}')
    return lines


def _of_gpus(family: GpuFamily, gpus: Sequence[Gpu], kind: str) -> list[str]:
    samples = [f"{family.name}{_labels({'gpu_uuid': gpu.uuid})} {family.value(gpu)}" for gpu in gpus]
    return _head(family.name, family.help, kind, gpus) + samples


def _of_models(family: ModelFamily, rows: Sequence[ModelRow], config: MetricsConfig) -> list[str]:
    shown = [row for row in rows if row.caches] if family.of_caching else rows
    lines = _head(family.name, family.help, "counter", shown)
    for row in shown:
        # 2.51: without latencies the counters are shown but not counted
        lines.append(f"{family.name}{_labels(row.labels)} {family.value(row) if config.counters else 0}")
    return lines


def _failures(failures: FailureCounts, config: MetricsConfig) -> list[str]:
    name, text = families.FAILURE
    listed = list(failures.items())
    lines = _head(name, text, "counter", listed)
    for labels, counts in listed:
        for reason, count in counts.items():
            lines.append(f"{name}{_labels({**labels, 'reason': reason})} {count if config.counters else 0}")
    return lines


def _summaries(family: SummaryFamily, rows: Sequence[ModelRow], config: MetricsConfig) -> list[str]:
    found: list[tuple[Mapping[str, str], Seen]] = [
        (row.labels, row.summaries[family.source])
        for row in rows
        if row.summaries is not None and family.source in row.summaries
    ]
    lines = _head(family.name, family.help, "summary", found)
    for labels, summary in found:
        lines.append(f"{family.name}_count{_labels(labels)} {summary.count}")
        lines.append(f"{family.name}_sum{_labels(labels)} {summary.total}")
        for quantile in config.quantiles:
            value = summary.quantile(quantile)
            text = _labels(labels)[:-1] + f',quantile="{quantile:g}"}}'
            lines.append(f"{family.name}{text} {'Nan' if value is None else value}")
    return lines


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{key}="{_escaped(labels[key])}"' for key in sorted(labels)) + "}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
