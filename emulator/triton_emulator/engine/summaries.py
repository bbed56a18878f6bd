"""Latency summaries of a model (`--metrics-config summary_latencies=true`): counts, sums and recent quantiles."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

from triton_emulator.engine.statistics import RequestEvent

#: what 2.51 shows unless `summary_quantiles` says otherwise
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
#: a quantile looks at the values of the last so many seconds, as the library does that Triton uses
_WINDOW_S = 60.0
#: and here at most at so many of them
_MOST = 10_000


def parse_quantiles(text: str) -> tuple[float, ...]:
    """The quantiles of "0.5:0.05,0.9:0.01"; pairs that are none are left out, and nothing at all is the default."""
    found: list[float] = []
    for pair in text.split(","):
        quantile, _, error = pair.partition(":")
        try:
            float(error)
            found.append(float(quantile))
        except ValueError:
            continue
    return tuple(found) or QUANTILES


@dataclass(frozen=True, slots=True)
class Seen:
    """What a summary has seen: how many values, their sum, and the recent ones in ascending order. Microseconds."""

    count: int = 0
    total: int = 0
    recent: Sequence[int] = ()

    def quantile(self, quantile: float) -> int | None:
        """The value that this share of the recent ones does not exceed, None where there is none."""
        values = self.recent
        return values[min(int(quantile * len(values)), len(values) - 1)] if values else None


def seen_by_all(parts: Iterable[Seen]) -> Seen:
    """What several summaries have seen together."""
    listed = list(parts)
    recent = sorted(value for part in listed for value in part.recent)
    return Seen(sum(part.count for part in listed), sum(part.total for part in listed), recent)


@dataclass(slots=True)
class Summary:
    """Values in microseconds. `now` gives nanoseconds of a steady clock."""

    now: Callable[[], int] = monotonic_ns
    count: int = 0
    total: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_MOST))

    def observe(self, value: int) -> None:
        self.count += 1
        self.total += value
        self.recent.append((self.now() / 1e9, value))

    def seen(self) -> Seen:
        """What is to be shown now."""
        since = self.now() / 1e9 - _WINDOW_S
        while self.recent and self.recent[0][0] < since:
            self.recent.popleft()
        return Seen(self.count, self.total, sorted(value for _, value in self.recent))


#: by summary: what it observes of an event, None where it does not.
_COMPUTED: dict[str, Callable[[RequestEvent], int]] = {
    "compute_input": lambda event: event.input_ns,
    "compute_infer": lambda event: event.infer_ns,
    "compute_output": lambda event: event.output_ns,
}


class ModelSummaries:
    """The summaries of one model. One that caches has no summary of whole requests (2.51)."""

    def __init__(self, now: Callable[[], int] = monotonic_ns, *, caches: bool) -> None:
        """`now` gives nanoseconds of a steady clock."""
        names = ("queue", *_COMPUTED) + (("cache_hit", "cache_miss") if caches else ("request",))
        self.by_name = {name: Summary(now) for name in names}

    def fold(self, event: RequestEvent) -> None:
        """Count one request."""
        if (miss_ns := event.cache_miss_ns) is not None:
            self._observe("cache_miss", miss_ns)
        if event.failed:
            return
        self._observe("request", event.total_ns)
        self._observe("queue", event.queue_ns)
        if (hit_ns := event.cache_hit_ns) is not None:
            self._observe("cache_hit", hit_ns)
            return
        for name, value in _COMPUTED.items():
            self._observe(name, value(event))

    def seen(self) -> dict[str, Seen]:
        """What each summary is to show now, by its name."""
        return {name: summary.seen() for name, summary in self.by_name.items()}

    def _observe(self, name: str, ns: int) -> None:
        summary = self.by_name.get(name)
        if summary is not None:
            summary.observe(ns // 1000)
