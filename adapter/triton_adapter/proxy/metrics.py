"""The proxy's metrics, in Prometheus' text format.

Labels are names from the config and our own codes; nothing that a client sends is a label.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from triton_adapter.errors import AdapterError

# Upper bounds of the histograms' buckets, in seconds.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
Labels = tuple[str, ...]


class Counter:
    """A number for each set of labels, which only grows. `labels` are names, separated by spaces."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: str = "") -> None:
        self.name, self.text, self.labels = name, text, tuple(labels.split())
        self.values: defaultdict[Labels, float] = defaultdict(float)

    def samples(self) -> Iterator[str]:
        for labels, value in list(self.values.items()):
            # `g` has six digits; from there on the number is written whole.
            written = f"{value:g}" if value < 1e6 else str(int(value))
            yield f"{self.name}{_labels(self.labels, labels)} {written}"


class Gauge(Counter):
    """A number for each set of labels, which may grow and shrink."""

    kind = "gauge"


class Histogram:
    """Counts of observations up to each bound, for each set of labels."""

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: tuple[float, ...], labels: str) -> None:
        self.name, self.text, self.bounds, self.labels = name, text, bounds, tuple(labels.split())
        self.values: dict[Labels, list[Any]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        series = self.values.get(labels)
        if series is None:
            series = self.values[labels] = [0.0, [0] * (len(self.bounds) + 1)]
        series[0] += value
        series[1][bisect_left(self.bounds, value)] += 1

    def samples(self) -> Iterator[str]:
        for labels, (total, counts) in list(self.values.items()):
            seen = 0
            for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
                seen += count
                yield f"{self.name}_bucket{_labels((*self.labels, 'le'), (*labels, bound))} {seen}"
            yield f"{self.name}_sum{_labels(self.labels, labels)} {total:.9g}"
            yield f"{self.name}_count{_labels(self.labels, labels)} {seen}"


def _labels(names: tuple[str, ...], values: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Metrics:
    """All metrics of one proxy."""

    def __init__(self) -> None:
        self.requests = Counter(
            "triton_proxy_requests_total",
            "Requests, by the status they were answered with; 499: the client left first.",
            "route model status",
        )
        self.duration = Histogram(
            "triton_proxy_request_duration_seconds",
            "From a request's first byte to its answer's last.",
            SECONDS,
            "route model",
        )
        self.tokens = Counter("triton_proxy_tokens_total", "Tokens read and written.", "model kind")
        self.first = Histogram(
            "triton_proxy_time_to_first_token_seconds",
            "From a streamed request's first byte to its answer's first text.",
            SECONDS,
            "model",
        )
        self.each = Histogram(
            "triton_proxy_time_per_output_token_seconds",
            "Time for each token after a streamed answer's first.",
            TOKEN_SECONDS,
            "model",
        )
        self.errors = Counter(
            "triton_proxy_upstream_errors_total",
            "Attempts that failed at a deployment.",
            "model deployment status code",
        )
        self.retries = Counter("triton_proxy_retries_total", "Attempts after the first.", "model")
        self.fallbacks = Counter("triton_proxy_fallbacks_total", "Turns to another model.", "model")
        self.in_flight = Gauge("triton_proxy_requests_in_flight", "Requests under way.")
        self.cooling = Gauge(
            "triton_proxy_deployment_cooling_down",
            "1 while a deployment is left out because it failed.",
            "model deployment",
        )
        self.in_flight.values[()] = 0

    def upstream_error(self, model: str, deployment: str, error: AdapterError) -> None:
        self.errors.values[model, deployment, str(error.status_code), error.code or ""] += 1

    def retry(self, model: str) -> None:
        self.retries.values[model,] += 1

    def fallback(self, model: str) -> None:
        self.fallbacks.values[model,] += 1

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        lines: list[str] = []
        for metric in vars(self).values():
            lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
            lines += metric.samples()
        return "\n".join([*lines, ""]).encode()
