"""Triton's own metric families: their names and help texts in 2.51, and where each takes its numbers from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from triton_emulator.engine.first_responses import FAMILY, Histogram
from triton_emulator.engine.statistics import CacheCounts, ModelStatistics
from triton_emulator.engine.summaries import Seen


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What is shown of some labels: a loaded version of a model, or several with the same labels.

    `pending` is how many of its requests wait for an instance.
    """

    labels: Mapping[str, str]
    statistics: ModelStatistics
    pending: int
    caches: bool
    summaries: Mapping[str, Seen] | None
    #: None where the version does not show it
    load_seconds: float | None = None
    first_responses: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The host's gauges: utilisation from 0 to 1, memory in bytes. `pinned_pool` is its size, none of it used."""

    cpu_utilization: float
    memory_total: int
    memory_used: int
    pinned_pool: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: utilisation from 0 to 1, memory in bytes, power in watts, energy in joules since the start."""

    uuid: str
    utilization: float
    memory_total: int
    memory_used: int
    power: float
    power_limit: float
    energy: float


@dataclass(frozen=True, slots=True)
class Cache:
    """The response cache: its utilisation from 0 to 1, its number of responses, and the counts of its events."""

    utilization: float
    entries: int
    counts: CacheCounts


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """A family with a sample for every model, or for every model that caches."""

    name: str
    help: str
    value: Callable[[ModelRow], int]
    of_caching: bool = False


@dataclass(frozen=True, slots=True)
class MachineFamily:
    """A gauge of the host."""

    name: str
    help: str
    value: Callable[[Machine], float]


@dataclass(frozen=True, slots=True)
class GpuFamily:
    """A family with a sample for every GPU."""

    name: str
    help: str
    value: Callable[[Gpu], float]


@dataclass(frozen=True, slots=True)
class CacheFamily:
    """A gauge of the response cache."""

    name: str
    help: str
    value: Callable[[Cache], float]


@dataclass(frozen=True, slots=True)
class SummaryFamily:
    """`source` names one of `engine.summaries.ModelSummaries`."""

    name: str
    help: str
    source: str


FAILURE = ("nv_inference_request_failure", "Number of failed inference requests, all batch sizes")
#: the same without reasons
FAILED = ModelFamily(*FAILURE, lambda row: row.statistics.fail.count)
SUCCESS = ModelFamily(
    "nv_inference_request_success",
    "Number of successful inference requests, all batch sizes",
    lambda row: row.statistics.success.count,
)
COUNTS = (
    ModelFamily(
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda row: row.statistics.inference_count,
    ),
    ModelFamily(
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda row: row.statistics.execution_count,
    ),
)
#: left out by `--metrics-config counter_latencies=false`
LATENCIES = (
    ModelFamily(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda row: row.statistics.success.ns // 1000,
    ),
    ModelFamily(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda row: row.statistics.queue.ns // 1000,
    ),
    ModelFamily(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda row: row.statistics.compute.input_ns // 1000,
    ),
    ModelFamily(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda row: row.statistics.compute.infer_ns // 1000,
    ),
    ModelFamily(
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        lambda row: row.statistics.compute.output_ns // 1000,
    ),
    ModelFamily(
        "nv_cache_num_hits_per_model",
        "Number of cache hits per model",
        lambda row: row.statistics.cache_hit.count,
        of_caching=True,
    ),
    ModelFamily(
        "nv_cache_hit_duration_per_model",
        "Total cache hit duration per model, in microseconds",
        lambda row: row.statistics.cache_hit.ns // 1000,
        of_caching=True,
    ),
    ModelFamily(
        "nv_cache_num_misses_per_model",
        "Number of cache misses per model",
        lambda row: row.statistics.cache_miss.count,
        of_caching=True,
    ),
    ModelFamily(
        "nv_cache_miss_duration_per_model",
        "Total cache miss (insert+lookup) duration per model, in microseconds",
        lambda row: row.statistics.cache_miss.ns // 1000,
        of_caching=True,
    ),
)
PENDING = ModelFamily(
    "nv_inference_pending_request_count",
    "Instantaneous number of pending requests awaiting execution per-model.",
    lambda row: row.pending,
)
#: since 2.52
LOAD_DURATION = ("nv_model_load_duration_secs", "Model load time in seconds")
#: since 2.52, only with `--metrics-config histogram_latencies=true`
FIRST_RESPONSE = (FAMILY, "Duration from request to first response in milliseconds")
PINNED = (
    MachineFamily(
        "nv_pinned_memory_pool_total_bytes",
        "Pinned memory pool total memory size, in bytes",
        lambda machine: machine.pinned_pool,
    ),
    MachineFamily(
        "nv_pinned_memory_pool_used_bytes",
        "Pinned memory pool used memory size, in bytes",
        lambda _: 0,
    ),
)
#: names and help texts as they stand in 2.51's library: the reference has no GPU to show them
GPUS = (
    GpuFamily("nv_gpu_utilization", "GPU utilization rate [0.0 - 1.0)", lambda gpu: gpu.utilization),
    GpuFamily("nv_gpu_memory_total_bytes", "GPU total memory, in bytes", lambda gpu: gpu.memory_total),
    GpuFamily("nv_gpu_memory_used_bytes", "GPU used memory, in bytes", lambda gpu: gpu.memory_used),
    GpuFamily("nv_gpu_power_usage", "GPU power usage in watts", lambda gpu: gpu.power),
    GpuFamily("nv_gpu_power_limit", "GPU power management limit in watts", lambda gpu: gpu.power_limit),
)
ENERGY = GpuFamily(
    "nv_energy_consumption",
    "GPU energy consumption in joules since the Triton Server started",
    lambda gpu: gpu.energy,
)
#: left out by `--allow-cpu-metrics=false`
PROCESSOR = (
    MachineFamily(
        "nv_cpu_utilization",
        "CPU utilization rate [0.0 - 1.0]",
        lambda machine: machine.cpu_utilization,
    ),
    MachineFamily(
        "nv_cpu_memory_total_bytes",
        "CPU total memory (RAM), in bytes",
        lambda machine: machine.memory_total,
    ),
    MachineFamily(
        "nv_cpu_memory_used_bytes",
        "CPU used memory (RAM), in bytes",
        lambda machine: machine.memory_used,
    ),
)
#: only with `--cache-config`
CACHE = (
    CacheFamily("nv_cache_util", "Cache utilization [0.0 - 1.0]", lambda cache: cache.utilization),
    CacheFamily(
        "nv_cache_num_entries",
        "Number of responses stored in response cache",
        lambda cache: cache.entries,
    ),
    CacheFamily(
        "nv_cache_num_hits", "Number of cache hits in response cache", lambda cache: cache.counts.hits
    ),
    CacheFamily(
        "nv_cache_num_misses", "Number of cache misses in response cache", lambda cache: cache.counts.misses
    ),
    CacheFamily(
        "nv_cache_num_lookups",
        "Number of cache lookups in response cache",
        lambda cache: cache.counts.hits + cache.counts.misses,
    ),
    CacheFamily(
        "nv_cache_num_evictions",
        "Number of cache evictions in response cache",
        lambda cache: cache.counts.evictions,
    ),
    CacheFamily(
        "nv_cache_lookup_duration",
        "Total cache lookup duration (hit and miss), in microseconds",
        lambda cache: cache.counts.lookup_ns // 1000,
    ),
    CacheFamily(
        "nv_cache_insertion_duration",
        "Total cache insertion duration, in microseconds",
        lambda cache: cache.counts.insertion_ns // 1000,
    ),
)
#: only with `--metrics-config summary_latencies=true`; the help texts that say "cumulative" are 2.51's
SUMMARIES = (
    SummaryFamily(
        "nv_inference_request_summary_us",
        "Summary of inference request duration in microseconds (includes cached requests)",
        "request",
    ),
    SummaryFamily(
        "nv_inference_queue_summary_us",
        "Summary of inference queuing duration in microseconds (includes cached requests)",
        "queue",
    ),
    SummaryFamily(
        "nv_inference_compute_input_summary_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        "compute_input",
    ),
    SummaryFamily(
        "nv_inference_compute_infer_summary_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        "compute_infer",
    ),
    SummaryFamily(
        "nv_inference_compute_output_summary_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        "compute_output",
    ),
    SummaryFamily(
        "nv_cache_hit_summary_per_model",
        "Summary of cache hit counts/durations per model, in microseconds.",
        "cache_hit",
    ),
    SummaryFamily(
        "nv_cache_miss_summary_per_model",
        "Summary of cache miss counts/durations per model, in microseconds.",
        "cache_miss",
    ),
)
