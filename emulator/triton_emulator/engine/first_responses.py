"""How long a model's requests wait for their first response, as a histogram of Prometheus.

Versions since 2.52 have it, with `--metrics-config histogram_latencies=true`.
"""

from bisect import bisect_left
from time import monotonic_ns

from triton_emulator.engine.call import Deliver
from triton_emulator.protocol.messages import InferResponse

#: the upper bounds of the buckets, in milliseconds
BOUNDS = (100, 500, 2000, 5000)
_NS_PER_MS = 1_000_000


class FirstResponses:
    """The histogram of one model. `buckets` counts the values up to each bound; the last one has no bound."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0

    def observe(self, milliseconds: int) -> None:
        """Count one request."""
        self.buckets[bisect_left(BOUNDS, milliseconds)] += 1
        self.total += milliseconds

    def watching(self, deliver: Deliver) -> Deliver:
        """`deliver` for a request that arrives now, which counts it when its first response comes."""
        start = monotonic_ns()
        waits = True

        def watch(response: InferResponse | None, final: bool) -> None:
            nonlocal waits
            if waits and response is not None:
                waits = False
                self.observe((monotonic_ns() - start) // _NS_PER_MS)
            deliver(response, final)

        return watch
