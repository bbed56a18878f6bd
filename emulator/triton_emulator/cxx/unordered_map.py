"""The order in which libstdc++ walks an unordered_map of strings: Triton's error texts follow it.

Triton keeps a request's inputs in such a map, so this order decides which one of several faulty inputs an error names.
Derived from the published behaviour of GCC's container: a new node goes to the front of the list when its bucket is
empty, else right before the first node of its bucket; the bucket count grows along a list of primes.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

_MASK = (1 << 64) - 1
_MULTIPLIER = 0xC6A4A7935BD1E995
_SEED = 0xC70F6907
#: bucket counts of the container as it grows, and so the sizes at which it rehashes
_PRIMES = (
    13,
    29,
    59,
    127,
    257,
    541,
    1109,
    2357,
    5087,
    10273,
    20753,
    42043,
    85229,
    172933,
    351061,
    712697,
    1447153,
)


def string_hash(data: bytes) -> int:
    """std::hash<std::string> of GCC on a 64-bit machine: MurmurHash2 (64A) with the seed 0xc70f6907."""
    value = _SEED ^ (len(data) * _MULTIPLIER & _MASK)
    whole = len(data) & ~7
    for at in range(0, whole, 8):
        block = int.from_bytes(data[at : at + 8], "little") * _MULTIPLIER & _MASK
        block = (block ^ (block >> 47)) * _MULTIPLIER & _MASK
        value = (value ^ block) * _MULTIPLIER & _MASK
    if len(data) > whole:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    value = (value ^ (value >> 47)) * _MULTIPLIER & _MASK
    return value ^ (value >> 47)


def walk(names: Iterable[str]) -> list[str]:
    """The names in the order in which an unordered_map walks them that was filled in the given order."""
    given = tuple(names)
    # A model's clients name the same inputs again and again: a look-up costs a twentieth of hashing them.
    return list(_remembered(given) if len(given) < 32 and sum(map(len, given)) < 1000 else _walk(given))


def _walk(names: tuple[str, ...]) -> list[str]:
    nodes = _Nodes(_PRIMES[0])
    for count, name in enumerate(names, start=1):
        if count > nodes.buckets:
            grown = _Nodes(next((prime for prime in _PRIMES if prime >= count), _MASK))
            for node in nodes.walk():
                grown.insert(node)
            nodes = grown
        nodes.insert((string_hash(name.encode("utf-8", "surrogateescape")), name))
    return [name for _, name in nodes.walk()]


class _Nodes:
    """The container's list, bucket by bucket: a bucket's nodes stand together, the latest first."""

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self._rows: dict[int, list[tuple[int, str]]] = {}

    def insert(self, node: tuple[int, str]) -> None:
        self._rows.setdefault(node[0] % self.buckets, []).append(node)

    def walk(self) -> Iterator[tuple[int, str]]:
        for row in reversed(self._rows.values()):
            yield from reversed(row)


_remembered = lru_cache(maxsize=1024)(_walk)
