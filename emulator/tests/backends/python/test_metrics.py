"""Metrics that models define, as Prometheus text. The expected text was printed by the real server."""

from collections.abc import Iterator

import pytest

from emulator.tests.backends.python.lab import Emulated, case

DEFINE = """def execute(requests):
    F = pb_utils.MetricFamily
    counter = F(name="calls", description="counts\\ncalls", kind=F.COUNTER)
    labelled, bare = counter.Metric(labels={"b": "1", "a": 'q"uo\\\\te\\nx'}), counter.Metric()
    labelled.increment(1234567890.125)
    gauge = F(name="level", description="how high", kind=F.GAUGE)
    level = gauge.Metric(labels={"x": "y"})
    level.set(2.5)
    unused = F(name="unused", description="never shown", kind=F.COUNTER)
    histogram = F(name="sizes", description="how large", kind=F.HISTOGRAM)
    sizes = histogram.Metric(labels={"x": "y"}, buckets=[0.1, 1, 10])
    for size in (0.5, 50, 1):
        sizes.observe(size)
    model.kept = [counter, labelled, bare, gauge, level, unused, histogram, sizes]
    return [say(1)]
"""
COUNTERS = """# HELP calls counts
calls
# TYPE calls counter
calls 0
calls{a="q\\"uo\\\\te\\nx",b="1"} 1234567890.125
"""
GAUGES = """# HELP level how high
# TYPE level gauge
level{x="y"} 2.5
"""
HISTOGRAMS = """# HELP sizes how large
# TYPE sizes histogram
sizes_count{x="y"} 3
sizes_sum{x="y"} 51.5
sizes_bucket{x="y",le="0.1"} 0
sizes_bucket{x="y",le="1"} 2
sizes_bucket{x="y",le="10"} 2
sizes_bucket{x="y",le="+Inf"} 3
"""


@pytest.fixture
def emulated() -> Iterator[Emulated]:
    backend = Emulated()
    yield backend
    backend.close()


def text(emulated: Emulated, kind: str) -> str:
    return "".join(f"{line}\n" for line in emulated.metrics.lines(kind))


@pytest.mark.parametrize(
    ("kind", "lines"), [("counter", COUNTERS), ("gauge", GAUGES), ("histogram", HISTOGRAMS)]
)
def test_families_with_series_are_shown_by_kind(emulated: Emulated, kind: str, lines: str) -> None:
    emulated.ask(case(DEFINE))
    assert text(emulated, kind) == lines


def test_models_of_one_server_share_a_family(emulated: Emulated) -> None:
    for name in ("lab", "lab_target"):
        emulated.ask(case(DEFINE, model=name))
    assert 'calls{a="q\\"uo\\\\te\\nx",b="1"} 2469135780.25\n' in text(emulated, "counter")


def test_a_series_goes_with_the_last_metric_that_stands_for_it(emulated: Emulated) -> None:
    emulated.ask(case(DEFINE))
    emulated.ask(case("def execute(requests):\n    model.kept.clear()\n    return [say(1)]"))
    assert [text(emulated, kind) for kind in ("counter", "gauge", "histogram")] == ["", "", ""]


def test_the_series_of_a_family_go_with_the_family(emulated: Emulated) -> None:
    code = """def execute(requests):
    model.kept = pb_utils.MetricFamily(name="g", description="", kind=pb_utils.MetricFamily.GAUGE).Metric()
    return [say(1)]
"""
    emulated.ask(case(code))
    assert text(emulated, "gauge") == ""
