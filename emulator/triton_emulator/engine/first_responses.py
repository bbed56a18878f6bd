"""How long a model's requests wait for their first response, as a histogram of Prometheus.

Versions since 2.52 have it, with `--metrics-config histogram_latencies=true`. A model's config may set its buckets.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic_ns

from triton_emulator.engine.call import Deliver
from triton_emulator.protocol.errors import internal
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.schema import Proto

_LOG = logging.getLogger(__name__)

FAMILY = "nv_inference_first_response_histogram_ms"
#: the upper bounds of the buckets of a model that sets none, in milliseconds
BOUNDS = (100.0, 500.0, 2000.0, 5000.0)
_NS_PER_MS = 1_000_000


def bounds_of(config: Proto) -> Sequence[float]:
    """The bounds that a model's `model_metrics` gives the family, the last ones if it gives several."""
    bounds: Sequence[float] = BOUNDS
    if "model_metrics" not in config.DESCRIPTOR.fields_by_name:  # older versions do not have it
        return bounds
    for control in config.model_metrics.metric_control:
        family = to_text(control.metric_identifier.family)
        if family == FAMILY:
            bounds = tuple(control.histogram_options.buckets)
        else:
            _LOG.warning(
                "Metric family '%s' in 'metric_identifier' is not a customizable metric in Triton core.",
                family,
            )
    return bounds


@dataclass(frozen=True, slots=True)
class Histogram:
    """What a histogram shows: the bounds of its buckets, how many values are in each, and their sum. Milliseconds."""

    bounds: Sequence[float]
    buckets: Sequence[int]
    total: int


def joined(parts: Iterable[Histogram]) -> Histogram:
    """The sum of several with the same bounds; at least one."""
    listed = list(parts)
    counts = zip(*(part.buckets for part in listed), strict=True)
    return Histogram(listed[0].bounds, tuple(map(sum, counts)), sum(part.total for part in listed))


class FirstResponses:
    """The histogram of one model. `buckets` counts the values up to each bound; the last one has no bound.

    Raises INTERNAL for bounds that do not ascend.
    """

    def __init__(self, bounds: Sequence[float] = BOUNDS, now: Callable[[], int] = monotonic_ns) -> None:
        """`now` gives nanoseconds of a steady clock."""
        if any(left >= right for left, right in pairwise(bounds)):
            raise internal("Bucket Boundaries must be strictly sorted")  # core r24.11: the server ends
        self.bounds = bounds
        self._now = now
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, milliseconds: int) -> None:
        """Count one request."""
        self.buckets[bisect_left(self.bounds, milliseconds)] += 1
        self.total += milliseconds

    def seen(self) -> Histogram:
        """What is to be shown now."""
        return Histogram(self.bounds, tuple(self.buckets), self.total)

    def watching(self, deliver: Deliver) -> Deliver:
        """`deliver` for a request that arrives now, which counts it when its first response comes."""
        start = self._now()
        waits = True

        def watch(response: InferResponse | None, final: bool) -> None:
            nonlocal waits
            if waits and response is not None:
                waits = False
                self.observe((self._now() - start) // _NS_PER_MS)
            deliver(response, final)

        return watch
