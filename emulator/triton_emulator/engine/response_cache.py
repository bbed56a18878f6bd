"""The response cache of `--cache-config=local,size=N`: the latest used responses of all models, up to N bytes."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable

from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor

Key = tuple[object, ...]

# How 2.51 lays out a response in its pool: the sizes of the fields, and what its allocator adds and rounds up to.
_COUNT, _LENGTH, _SIZE = 4, 4, 8
_ALLOCATION_HEADER, _ALLOCATION_UNIT, _SMALLEST_ALLOCATION = 8, 16, 48
#: bytes that the allocator uses for itself
_POOL_OVERHEAD = 128
#: a smaller pool has no room for the allocator's own data; a larger one cannot be allocated
_LEAST, _TOO_MUCH = 256, 1 << 47
#: where 2.51 looks for the libraries of other caches
_FOLDER = "/opt/tritonserver/caches"


def key_of(model: str, version: int, request: InferRequest) -> Key:
    """The key of a request: two requests with equal input bytes get the same answer.

    2.51: neither shapes nor requested outputs are part of the key.
    """
    inputs = sorted((tensor.name, bytes(tensor.data)) for tensor in request.inputs)
    return (model, version, *inputs)


def stored_size(outputs: list[Tensor]) -> int:
    """Bytes that a response takes in the pool."""
    size = _COUNT
    for tensor in outputs:
        size += _SIZE + _LENGTH + len(tensor.name.encode()) + _LENGTH + len(tensor.datatype)
        size += _COUNT + 8 * len(tensor.shape) + _SIZE + tensor.byte_size
    unit = _ALLOCATION_UNIT
    return max(_SMALLEST_ALLOCATION, -(-(size + _ALLOCATION_HEADER) // unit) * unit)


class ResponseCache:
    """Responses by key, the least recently used first. May be used on any thread."""

    @classmethod
    def of(cls, settings: Iterable[tuple[str, str, str]]) -> "ResponseCache | None":
        """Make the cache that (cache, setting, value) triples ask for; None if there are none.

        Raises TritonError if 2.51 would not start with them.
        """
        asked = list(settings)
        if not asked:
            return None
        name = asked[0][0]
        if name != "local":
            raise invalid_arg(f"unable to find 'libtritoncache_{name}.so' for cache. Searched: {_FOLDER}")
        size = next((value for _, setting, value in asked if setting == "size"), None)
        if size is None:
            raise invalid_arg("Failed to initialize LocalCache: config didn't contain a valid 'size' field.")
        digits = re.match(r"\s*([+-]?\d+)", size)
        if digits is None:
            raise internal("Failed to initialize LocalCache: stoull")
        count = int(digits[1])
        if not 0 <= count < _TOO_MUCH:
            raise internal("Failed to initialize LocalCache: failed to allocate buffer")
        if count < _LEAST:
            raise internal(
                "Failed to initialize LocalCache: Could not initialize buffer in basic_managed_external_buffer "
                "constructor"
            )
        return cls(count)

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = _POOL_OVERHEAD
        self._entries: OrderedDict[Key, tuple[list[Tensor], int]] = OrderedDict()
        self._lock = threading.Lock()

    def look_up(self, key: Key) -> list[Tensor] | None:
        """Return the outputs stored under `key`, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def insert(self, key: Key, outputs: list[Tensor]) -> int | None:
        """Store a response; return how many others were evicted, or None if the key was stored already.

        A response that is larger than the pool is not stored. 2.51 does not store a response with an empty output
        either, but counts it as stored.
        """
        evicted = 0
        with self._lock:
            if key in self._entries:
                return None
            size = stored_size(outputs)
            if all(tensor.byte_size for tensor in outputs) and size + _POOL_OVERHEAD <= self._size:
                while self._used + size > self._size:
                    _, (_, freed) = self._entries.popitem(last=False)
                    self._used -= freed
                    evicted += 1
                self._entries[key] = (outputs, size)
                self._used += size
        return evicted

    def __len__(self) -> int:
        """Number of stored responses."""
        return len(self._entries)

    @property
    def utilization(self) -> float:
        """The used share of the pool, from 0 to 1."""
        return self._used / self._size
