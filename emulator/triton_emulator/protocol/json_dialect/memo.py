"""A cache of a function's results: a dictionary that computes the values that it does not hold.

A look-up costs no more than a dictionary's, because the elements of a tensor are looked up one by one, and some results
are not kept. `functools.lru_cache` has neither property.
"""

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """`memo[key]` is `compute(key)`, kept if `keep(key)`; it is emptied when it holds `limit` results."""

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
