"""A model version's statistics, folded from one event per request.

Triton's counting: what validation or a full queue rejects counts nowhere; a response that carries a TritonError is a
success, a model that raises is a failure; `inference_count` counts batch rows, `execution_count` executions.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from triton_emulator.engine.call import CacheUse, Call
from triton_emulator.protocol import json_dialect as js

#: why a request failed, in the words of the metrics
FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")


def reported(failures: tuple[str, ...]) -> tuple[str, ...]:
    """Those failures that a backend or an ensemble reports when it has done with the request.

    Before 2.48 no others count: not the error that a scheduler answers with, nor the one that an ensemble sends.
    """
    others = failures.count("OTHER") - 1
    return tuple(reason for reason in failures if reason == "BACKEND") + ("OTHER",) * max(others, 0)


class RequestEvent(NamedTuple):
    """What happened to one request that reached a model. Durations are nanoseconds, `end_ms` is of the epoch.

    `failures` has a reason for each time that it counts as failed, one of FAILURE_REASONS; `failed` says whether it is
    no success. `executions` is 1 on the request that stands for its execution and 0 on those that were batched with it;
    `execution_batch` is that execution's size. `cache` is None where the response cache was not asked.
    """

    batch_size: int
    failed: bool
    failures: tuple[str, ...]
    end_ms: int
    total_ns: int
    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int
    executions: int
    execution_batch: int
    cache: CacheUse | None = None

    @classmethod
    def of(cls, call: Call) -> Self:
        """The event of a call that has just ended."""
        now = call.now()
        times = call.times
        input_ns, infer_ns, output_ns = times.compute_ns()
        return cls(
            call.batch_size,
            call.failed,
            call.failures or (("BACKEND",) if call.failed else ()),
            now // 1_000_000,
            now - times.queue_start,
            (times.compute_start or now) - times.queue_start,
            input_ns,
            infer_ns,
            output_ns,
            1 if call.execution else 0,
            call.execution,
            call.cache,
        )

    @property
    def cache_hit_ns(self) -> int | None:
        """How long it took to find the response in the cache, None where it was not found there."""
        return self.cache.lookup_ns if self.cache is not None and self.cache.hit else None

    @property
    def cache_miss_ns(self) -> int | None:
        """How long it took not to find the response in the cache and to store it, None where it was not stored."""
        if self.cache is None or self.cache.inserted is None:
            return None
        return self.cache.lookup_ns + self.cache.insertion_ns


@dataclass(slots=True)
class Duration:
    """How often, and for how many nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def join(self, other: "Duration") -> None:
        """Add what another one has counted."""
        self.count += other.count
        self.ns += other.ns

    def value(self) -> js.Value:
        return {"count": self.count, "ns": self.ns}


@dataclass(slots=True)
class Compute:
    """How many requests or executions were computed, and for how many nanoseconds in all: input, model, output."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    def add(self, event: RequestEvent) -> None:
        self.count += 1
        self.input_ns += event.input_ns
        self.infer_ns += event.infer_ns
        self.output_ns += event.output_ns

    def join(self, other: "Compute") -> None:
        """Add what another one has counted."""
        self.count += other.count
        self.input_ns += other.input_ns
        self.infer_ns += other.infer_ns
        self.output_ns += other.output_ns

    def values(self) -> dict[str, js.Value]:
        """The three entries that Triton makes of it."""
        return {
            "compute_input": {"count": self.count, "ns": self.input_ns},
            "compute_infer": {"count": self.count, "ns": self.infer_ns},
            "compute_output": {"count": self.count, "ns": self.output_ns},
        }


#: labels as a key of dictionaries
LabelKey = tuple[tuple[str, str], ...]


def label_key(labels: Mapping[str, str]) -> LabelKey:
    """The same for labels in any order."""
    return tuple(sorted(labels.items()))


class FailureCounts:
    """How often requests failed, by the labels of their model and by reason.

    2.51: a model of a repository has its counts from the moment at which it begins to load, and they outlive it. Those
    of a model that only stubs have, which Triton does not know, end with it: a test has any number of them.
    """

    def __init__(self) -> None:
        self._counts: dict[LabelKey, dict[str, int]] = {}
        #: the labels of models of repositories
        self._lasting: set[LabelKey] = set()

    def open(self, labels: Mapping[str, str], *, lasting: bool = True) -> None:
        """Show the counts of a model, which is one of a repository if they are `lasting`."""
        key = label_key(labels)
        if lasting:
            self._lasting.add(key)
        self._counts.setdefault(key, dict.fromkeys(FAILURE_REASONS, 0))

    def close(self, labels: Mapping[str, str]) -> None:
        """Forget the counts of a model, unless a repository has or had one with these labels."""
        key = label_key(labels)
        if key not in self._lasting:
            self._counts.pop(key, None)

    def fold(self, labels: Mapping[str, str], reasons: Iterable[str]) -> None:
        """Count the failures of one request. Those of a model whose counts are closed are not shown any more."""
        if (counts := self._counts.get(label_key(labels))) is not None:
            for reason in reasons:
                counts[reason] += 1

    @classmethod
    def total(cls, parts: Iterable["FailureCounts"]) -> Self:
        """The sum of several, with the models of all of them."""
        found = cls()
        for part in parts:
            for labels, counts in part.items():
                found.open(labels)
                mine = found._counts[label_key(labels)]
                for reason, count in counts.items():
                    mine[reason] += count
        return found

    def items(self) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
        """(labels, count by reason) of every model."""
        for labels, counts in list(self._counts.items()):
            yield dict(labels), counts


@dataclass(slots=True)
class CacheCounts:
    """What all models together did to the response cache; durations are nanoseconds."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    lookup_ns: int = 0
    insertion_ns: int = 0

    def fold(self, use: CacheUse) -> None:
        """Count one request that was looked up."""
        self.hits += use.hit
        self.misses += not use.hit
        self.evictions += use.inserted or 0
        self.lookup_ns += use.lookup_ns
        self.insertion_ns += use.insertion_ns


@dataclass(slots=True)
class ModelStatistics:
    """The running totals of one model version."""

    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute: Compute = field(default_factory=Compute)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    #: executions by batch size
    batches: dict[int, Compute] = field(default_factory=dict)

    def fold(self, event: RequestEvent) -> None:
        """Count one request."""
        if event.executions:
            self.last_inference_ms = max(self.last_inference_ms, event.end_ms)
            # 2.51: an execution counts whether or not the model raised
            self.execution_count += event.executions
            batch = self.batches.get(event.execution_batch)
            if batch is None:
                batch = self.batches[event.execution_batch] = Compute()
            batch.add(event)
        for _ in event.failures:
            self.fail.add(event.total_ns)
        if event.cache is not None and (miss_ns := event.cache_miss_ns) is not None:
            self.cache_miss.add(miss_ns)
        if event.failed:
            return
        self.success.add(event.total_ns)
        self.queue.add(event.queue_ns)
        if event.cache is not None and (hit_ns := event.cache_hit_ns) is not None:
            self.cache_hit.add(hit_ns)
            return
        self.inference_count += event.batch_size
        self.compute.add(event)

    def value(self, name: str, version: int, *, responses: bool) -> js.Value:
        """The entry of `model_stats` in Triton's key order. `responses`: whether it has statistics of responses."""
        return {
            "name": name,
            "version": str(version),
            "last_inference": self.last_inference_ms,
            "inference_count": self.inference_count,
            "execution_count": self.execution_count,
            "inference_stats": {
                "success": self.success.value(),
                "fail": self.fail.value(),
                "queue": self.queue.value(),
                **self.compute.values(),
                "cache_hit": self.cache_hit.value(),
                "cache_miss": self.cache_miss.value(),
            },
            **({"response_stats": {}} if responses else {}),
            "batch_stats": [
                {"batch_size": size, **batch.values()} for size, batch in sorted(self.batches.items())
            ],
            "memory_usage": [],
        }


#: the fields of ModelStatistics that count how often and for how long
_JOINED = ("success", "fail", "queue", "compute", "cache_hit", "cache_miss")


def total(parts: Iterable[ModelStatistics]) -> ModelStatistics:
    """The sum of several: of models with the same labels, or of one model in several processes."""
    found = ModelStatistics()
    for part in parts:
        found.last_inference_ms = max(found.last_inference_ms, part.last_inference_ms)
        found.inference_count += part.inference_count
        found.execution_count += part.execution_count
        for name in _JOINED:
            getattr(found, name).join(getattr(part, name))
        for size, batch in part.batches.items():
            found.batches.setdefault(size, Compute()).join(batch)
    return found
