"""How the events of requests add up to statistics, reasons of failures, and summaries."""

from typing import Any

import pytest

from triton_emulator.engine.call import CacheUse
from triton_emulator.engine.statistics import CacheCounts, FailureCounts, ModelStatistics, RequestEvent
from triton_emulator.engine.summaries import QUANTILES, ModelSummaries, Summary, parse_quantiles

HIT = CacheUse(hit=True, lookup_ns=7)
MISS = CacheUse(hit=False, lookup_ns=3, inserted=2, insertion_ns=4)


def event(**changes: Any) -> RequestEvent:
    values: dict[str, Any] = {
        "batch_size": 1,
        "failed": False,
        "failures": (),
        "end_ms": 5,
        "total_ns": 10_000,
        "queue_ns": 1000,
        "input_ns": 2000,
        "infer_ns": 3000,
        "output_ns": 4000,
        "executions": 1,
        "execution_batch": 1,
    }
    return RequestEvent(**(values | changes))


def folded(*events: RequestEvent) -> dict[str, int]:
    statistics = ModelStatistics()
    for one in events:
        statistics.fold(one)
    return {
        "inferences": statistics.inference_count,
        "executions": statistics.execution_count,
        "success": statistics.success.count,
        "fail": statistics.fail.count,
        "queue": statistics.queue.count,
        "infer": statistics.compute.count,
        "hit": statistics.cache_hit.count,
        "miss": statistics.cache_miss.count,
    }


NOTHING = folded()


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        (
            [event(batch_size=3, execution_batch=3)],
            {"inferences": 3, "executions": 1, "success": 1, "queue": 1, "infer": 1},
        ),
        (
            [event(execution_batch=2), event(executions=0, execution_batch=0)],
            {"inferences": 2, "executions": 1, "success": 2, "queue": 2, "infer": 2},
        ),
        ([event(failed=True, failures=("BACKEND",))], {"executions": 1, "fail": 1}),
        ([event(failed=True, failures=("OTHER", "OTHER"), executions=0)], {"fail": 2}),
        (
            [event(failures=("CANCELED",))],
            {"inferences": 1, "executions": 1, "success": 1, "fail": 1, "queue": 1, "infer": 1},
        ),
        ([event(cache=HIT, executions=0)], {"success": 1, "queue": 1, "hit": 1}),
        (
            [event(cache=MISS)],
            {"inferences": 1, "executions": 1, "success": 1, "queue": 1, "infer": 1, "miss": 1},
        ),
        ([event(cache=MISS, failed=True, failures=("BACKEND",))], {"executions": 1, "fail": 1, "miss": 1}),
    ],
    ids=[
        "three rows are three inferences of one request",
        "two requests of one execution",
        "an exception is an execution all the same",
        "an ensemble fails twice",
        "an iterative sequence succeeds and is cancelled",
        "a hit is a success without an inference",
        "a miss and the inference",
        "a miss and an exception",
    ],
)
def test_events_add_up_to_these_statistics(events: list[RequestEvent], counted: dict[str, int]) -> None:
    assert folded(*events) == NOTHING | counted


def test_the_cache_counts_each_request_that_is_looked_up() -> None:
    counts = CacheCounts()
    for use in (HIT, MISS, CacheUse(hit=False, lookup_ns=10)):
        counts.fold(use)
    assert counts == CacheCounts(hits=1, misses=2, evictions=2, lookup_ns=20, insertion_ns=4)


def test_the_last_inference_is_the_last_execution_not_the_last_hit() -> None:
    statistics = ModelStatistics()
    statistics.fold(event(end_ms=5))
    statistics.fold(event(end_ms=9, cache=HIT, executions=0))
    assert statistics.last_inference_ms == 5


def test_failures_are_kept_by_reason_and_outlive_their_model() -> None:
    failures = FailureCounts()
    labels = {"version": "1", "model": "m"}
    failures.open(labels)
    failures.fold(labels, ("OTHER", "OTHER"))
    failures.open(labels)
    assert list(failures.items()) == [
        ({"model": "m", "version": "1"}, {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 2})
    ]


def test_a_model_that_caches_has_no_summary_of_requests() -> None:
    assert list(ModelSummaries(caches=False).by_name) == [
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "request",
    ]
    assert list(ModelSummaries(caches=True).by_name)[4:] == ["cache_hit", "cache_miss"]


def test_summaries_observe_microseconds() -> None:
    summaries = ModelSummaries(caches=True)
    summaries.fold(event(cache=CacheUse(hit=False, lookup_ns=4000, inserted=0, insertion_ns=5999)))
    summaries.fold(event(cache=CacheUse(hit=True, lookup_ns=2000), executions=0))
    shown = {name: (one.count, one.total) for name, one in summaries.by_name.items()}
    assert shown == {
        "queue": (2, 2),
        "compute_input": (1, 2),
        "compute_infer": (1, 3),
        "compute_output": (1, 4),
        "cache_hit": (1, 2),
        "cache_miss": (1, 9),
    }


def test_a_quantile_is_a_value_that_was_seen_and_none_at_first() -> None:
    summary = Summary()
    assert summary.seen().quantile(0.5) is None
    for value in (30, 10, 20, 40):
        summary.observe(value)
    assert [summary.seen().quantile(q) for q in (0.0, 0.5, 0.99)] == [10, 30, 40]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.5:0.05,0.75:0.01", (0.5, 0.75)),
        ("0.5:0.05,nonsense,x:1,0.9:y", (0.5,)),
        ("", QUANTILES),
        ("nonsense", QUANTILES),
    ],
)
def test_quantiles_are_read_from_the_pairs_that_are_some(text: str, found: tuple[float, ...]) -> None:
    assert parse_quantiles(text) == found
