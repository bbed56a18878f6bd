"""The response cache that `--cache-config=local,size=N` gives to all models: the answers used last, up to N bytes."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable

from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor

Key = tuple[object, ...]

# How 2.51 lays a response out in its pool: sizes of the fields, and what its allocator adds and rounds up to.
_COUNT, _LENGTH, _SIZE = 4, 4, 8
_ALLOCATION_HEADER, _ALLOCATION_UNIT, _SMALLEST_ALLOCATION = 8, 16, 48
#: what the allocator takes for itself
_POOL_OVERHEAD = 128
#: a pool that is smaller has no room for its own book-keeping, and a larger one cannot be had
_LEAST, _TOO_MUCH = 256, 1 << 47
#: where 2.51 looks for other caches than the local one, which need a library of their own
_FOLDER = "/opt/tritonserver/caches"


def key_of(model: str, version: int, request: InferRequest) -> Key:
    """What two requests must have in common to get one answer: the bytes of their inputs.

    2.51: neither the shapes nor the requested outputs count.
    """
    inputs = sorted((tensor.name, bytes(tensor.data)) for tensor in request.inputs)
    return (model, version, *inputs)


def stored_size(outputs: list[Tensor]) -> int:
    """How many bytes of the pool a response takes."""
    size = _COUNT
    for tensor in outputs:
        size += _SIZE + _LENGTH + len(tensor.name.encode()) + _LENGTH + len(tensor.datatype)
        size += _COUNT + 8 * len(tensor.shape) + _SIZE + tensor.byte_size
    unit = _ALLOCATION_UNIT
    return max(_SMALLEST_ALLOCATION, -(-(size + _ALLOCATION_HEADER) // unit) * unit)


class ResponseCache:
    """Responses by key, the longest unused first; may be used on any thread."""

    @classmethod
    def of(cls, settings: Iterable[tuple[str, str, str]]) -> "ResponseCache | None":
        """The cache that (cache, setting, value) triples ask for, None where there are none.

        Raises TritonError where 2.51 would not start with them.
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
        """The outputs of the response that is stored under `key`."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def insert(self, key: Key, outputs: list[Tensor]) -> int | None:
        """Store a response, unless it cannot be stored; returns how many made way for it, None where there was one.

        2.51 stores no response that has an output without a single byte, and counts it as stored.
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
        """How many responses are stored."""
        return len(self._entries)

    @property
    def utilization(self) -> float:
        """How much of the pool is taken, from 0 to 1."""
        return self._used / self._size
