"""A function's answers, remembered: a dictionary that works out what it does not hold.

Where this is used a look-up must cost no more than a dictionary's (a tensor's elements are looked up one by one), and
some answers must not be kept at all, both of which `functools.lru_cache` cannot do.
"""

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """`memo[key]` is `compute(key)`, kept if `keep(key)`; the memory is emptied when it holds `limit` answers."""

    def __init__(self, compute: Callable[[K], V], keep: Callable[[K], bool], limit: int = 65_536) -> None:
        super().__init__()
        self._compute = compute
        self._keep = keep
        self._limit = limit

    def __missing__(self, key: K) -> V:
        value = self._compute(key)
        if self._keep(key):
            if len(self) >= self._limit:
                self.clear()
            self[key] = value
        return value
