"""How long a stand-in takes: the latencies of its requests, drawn from distributions by a seed.

The n-th request to a model gets the n-th draw, so the same seed and the same order of requests give the same times.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from triton_emulator.engine.call import Call

#: How many latencies are drawn; after them, they repeat. They are spread evenly over the distribution, so that their
#: median and their 99th percentile are those that were asked for.
_DRAWN = 1024
#: how far apart in them the tokens of two requests begin: odd, so that each place is one's beginning
_STRIDE = 613
#: the logarithm of the longest latency
_LONGEST = math.log(1e15)
_99TH = NormalDist().inv_cdf(0.99)


@dataclass(frozen=True, slots=True)
class Latency:
    """A lognormal distribution of milliseconds, by its median and its 99th percentile."""

    median: float
    p99: float

    def draw(self, seed: str) -> tuple[float, ...]:
        """Latencies of this distribution, in an order that the seed decides."""
        if self.median == self.p99:
            return (self.median,)
        middle = math.log(self.median)
        spread = (math.log(self.p99) - middle) / _99TH
        drawn = [math.exp(min(middle + spread * normal, _LONGEST)) for normal in _normals()]
        random.Random(seed).shuffle(drawn)
        return tuple(drawn)


@cache
def _normals() -> tuple[float, ...]:
    """The middles of equal parts of the normal distribution."""
    return tuple(NormalDist().inv_cdf((part + 0.5) / _DRAWN) for part in range(_DRAWN))


def drawn(latency: float | Latency, seed: str) -> tuple[float, ...]:
    """The milliseconds of one request after the other; a constant is one for all."""
    return latency.draw(seed) if isinstance(latency, Latency) else (float(latency),)


class Delays:
    """The latencies of requests that are answered at once, by how many of them are at work."""

    def __init__(self, by_load: Sequence[tuple[int, Latency]], seed: str) -> None:
        """`by_load` has the latency for up to so many requests at a time; the last is for more, too. At least one."""
        #: the one distribution for any load; None where a measurement has several
        self.latency = by_load[0][1] if len(by_load) == 1 else None
        self._by_load = [(most, latency.draw(f"{seed}/{most}")) for most, latency in sorted(by_load)]
        self._number = 0
        self._at_work = 0

    def next(self, call: Call) -> float:
        """The milliseconds of the next request."""
        self._at_work += 1
        call.on_end(self._left)
        at_work = self._at_work
        values = next((values for most, values in self._by_load if at_work <= most), self._by_load[-1][1])
        self._number += 1
        return values[(self._number - 1) % len(values)]

    def _left(self) -> None:
        self._at_work -= 1


#: what a request takes: milliseconds, the same for all, or one latency after the other
Delay = float | Delays


def delay_of(latency: float | Latency, seed: str) -> Delay:
    """What a request takes whose latency is given."""
    return Delays([(1, latency)], seed) if isinstance(latency, Latency) else float(latency)


def milliseconds(delay: Delay, call: Call) -> float:
    """How long a request takes."""
    return delay.next(call) if isinstance(delay, Delays) else delay


class TokenTimes:
    """The latencies of a language model: until the first token, and from each to the next."""

    def __init__(self, first: float | Latency, rest: float | Latency, seed: str) -> None:
        self._first = drawn(first, f"{seed}/first")
        self._rest = drawn(rest, f"{seed}/rest")
        #: milliseconds from each token to the next, where they are the same for all
        self.constant = self._rest[0] if len(self._rest) == 1 else None
        self._number = 0

    def next_request(self) -> int:
        """The number of the next request."""
        self._number += 1
        return self._number - 1

    def first(self, request: int) -> float:
        """Milliseconds until the first token of a request."""
        return self._first[request % len(self._first)]

    def token(self, request: int, number: int) -> float:
        """Milliseconds from the token before to the one of this number, which is 1 for the second."""
        return self._rest[(request * _STRIDE + number) % len(self._rest)]

    def whole(self, request: int, tokens: int) -> float:
        """Milliseconds until all tokens of a request."""
        rest = self._rest
        if len(rest) == 1:
            return self.first(request) + rest[0] * max(tokens - 1, 0)
        return self.first(request) + sum(self.token(request, number) for number in range(1, tokens))
