"""Shared memory that clients register: system regions (POSIX shared memory objects); CUDA ones are refused.

Elements are read and written through the object's descriptor and not through a mapping: a client that shortens its
object then costs itself an error, where a mapping would cost this process a SIGBUS.
"""

import errno
import logging
import mmap
import os
from collections import Counter
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self

from triton_emulator.cxx.numbers import UINT64_MAX
from triton_emulator.protocol.datatypes import Buffer
from triton_emulator.protocol.errors import (
    Code,
    TritonError,
    internal,
    invalid_arg,
    not_found,
    unavailable,
    unsupported,
)
from triton_emulator.protocol.messages import SharedMemoryRef
from triton_emulator.protocol.personality import Personality
from triton_emulator.session.shared_objects import check_bounds, check_key, not_mapped, open_object

_LOG = logging.getLogger(__name__)

CUDA_HANDLE_SIZE = 64
#: Bytes that are copied at a time.
_PIECE = 1 << 24
#: Bytes of shared memory that the requests in flight may have copied. The real server maps a region and copies nothing.
COPY_LIMIT = 1 << 31


@dataclass(frozen=True, slots=True)
class SystemRegion:
    """`byte_size` bytes of the object `key`, from `offset` on, under the name `name`."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int


class SystemSharedMemory:
    """The registered system regions by name. Safe to use from several threads."""

    def __init__(self, rules: Personality) -> None:
        self._rules = rules
        self._regions: dict[str, SystemRegion] = {}
        self._in_use: Counter[str] = Counter()
        #: regions that are unregistered when the requests that use them have ended
        self._leaving: set[str] = set()
        self._lock = Lock()
        #: bytes of inputs that requests in flight have copied
        self._copied = 0

    def __contains__(self, name: str) -> bool:
        return name in self._regions

    # --- registering ---

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open the object `key` and check that the region lies in it. Raises TritonError in Triton's words."""
        check_key(name, key, self._rules)
        with self._lock:
            if name in self._regions:
                raise already_registered(name)
            # Until 2.68 an object is closed once it is mapped, yet its descriptor is taken for a second region of it.
            if not self._rules.opens_shared_objects_again and any(
                region.key == key for region in self._regions.values()
            ):
                if self._rules.region_sizes_checked:
                    raise internal(f"Invalid shared memory region: '{key}'")
                raise not_mapped(name, errno.EINVAL if offset % mmap.PAGESIZE else errno.EBADF)
            descriptor = open_object(key)
            try:
                check_bounds(name, offset, byte_size, os.fstat(descriptor).st_size, self._rules)
            except TritonError:
                os.close(descriptor)
                raise
            self._regions[name] = SystemRegion(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str) -> None:
        """Release a region; an unknown one is no error.

        While a request uses it, it is released when that ends, or INTERNAL is raised: that depends on the version.
        """
        with self._lock:
            if not (self._in_use[name] and self._rules.regions_held):
                self._drop(name)
            elif self._rules.unregisters_in_use:
                self._drop_later(name)
            else:
                raise internal(f"Cannot unregister shared memory region '{name}', it is currently in use.")

    def unregister_all(self) -> None:
        """Release all regions. Of those that requests use, do as `unregister` does."""
        with self._lock:
            held = self._rules.regions_held
            busy = sorted(name for name in self._regions if held and self._in_use[name])
            for name in list(self._regions):
                if name not in busy:
                    self._drop(name)
            if self._rules.unregisters_in_use:
                for name in busy:
                    self._drop_later(name)
                return
        if busy:
            names = "".join(f"{name} ," for name in busy)
            raise internal(f"Failed to unregister the following system shared memory regions: {names}")

    def status(self, name: str | None = None) -> list[SystemRegion]:
        """The region of that name, or all of them in the order of their names. Raises NOT_FOUND."""
        with self._lock:
            if name is None:
                return [self._regions[name] for name in sorted(self._regions)]
            region = self._regions.get(name)
        if region is None:
            raise not_found(f"Unable to find system shared memory region: '{name}'")
        return [region]

    def clear(self) -> None:
        """Release all regions, in use or not."""
        with self._lock:
            for name in list(self._regions):
                self._drop(name)
            self._in_use.clear()
            self._leaving.clear()

    def _drop_later(self, name: str) -> None:
        if name in self._regions:
            _LOG.debug(
                "Shared memory region '%s' will be unregistered after in-flight requests complete.", name
            )
            self._leaving.add(name)

    def _drop(self, name: str) -> None:
        region = self._regions.pop(name, None)
        if region is not None:
            os.close(region.descriptor)

    # --- tensors ---

    def lease(self) -> "Lease":
        """For one request: reads and writes through it keep their regions from being unregistered."""
        return Lease(self)

    def check(self, ref: SharedMemoryRef) -> None:
        """Raises NOT_FOUND where there is no such region, INVALID_ARG where `ref` leaves it."""
        with self._lock:
            self._find(ref)

    def find(self, ref: SharedMemoryRef) -> SystemRegion:
        """The region that `ref` names. Raises as `check` does."""
        with self._lock:
            return self._find(ref)

    def read(self, region: SystemRegion, at: int, size: int) -> Buffer:
        """A copy of `size` bytes of the region's object, made in pieces, as others wait for the lock meanwhile.

        Raises NOT_FOUND where the region is gone, INTERNAL where its object has shrunk.
        """
        data = bytearray()
        while True:
            with self._lock:
                if self._regions.get(region.name) is not region:
                    raise not_found(f"Unable to find shared memory region: '{region.name}'")
                piece = os.pread(region.descriptor, min(size - len(data), _PIECE), at + len(data))
            if len(piece) == size:
                return piece
            data += piece
            if len(data) == size:
                return data
            if not piece and not self._rules.region_ends_checked:
                # a mapping has zeros behind the object's end, to the end of a page
                return data.ljust(size, b"\0")
            if not piece:
                raise _shrunk(region)

    def reserve(self, lease: "Lease", size: int) -> None:
        """Count bytes that are to be copied. Raises UNAVAILABLE where all in flight would be more than the limit.

        A request that has ended meanwhile, on another thread, gets no more: nobody would give them back.
        """
        with self._lock:
            if lease.ended:
                raise unavailable("the request has ended")
            total = self._copied + size
            if total > COPY_LIMIT:
                raise unavailable(
                    f"shared memory inputs of {total} bytes would be in flight; the emulator takes {COPY_LIMIT} bytes"
                )
            self._copied = total
            lease.copied += size

    def unreserve(self, lease: "Lease") -> None:
        """The bytes of a request that has ended are not needed any more."""
        with self._lock:
            lease.ended = True
            self._copied -= lease.copied
            lease.copied = 0

    def write(self, ref: SharedMemoryRef, data: Buffer) -> None:
        """Put `data`, no longer than `ref.byte_size`, at `ref`. Raises as `read` does."""
        with self._lock:
            region = self._find(ref)
            at = region.offset + ref.offset
            size = os.fstat(region.descriptor).st_size
            # writing would make the object longer
            if size < at + len(data) and self._rules.region_ends_checked:
                raise _shrunk(region)
            view = memoryview(data)[: max(size - at, 0)]
            while view:
                written = os.pwrite(region.descriptor, view, at)
                view, at = view[written:], at + written

    def _find(self, ref: SharedMemoryRef) -> SystemRegion:
        # 2.51 adds a region's own offset to this limit, and a second time to the address: it reads beyond its
        # mapping. That is not imitated: `ref` counts from the start of the region, and stays inside.
        region = self._regions.get(ref.region)
        if region is None:
            raise not_found(f"Unable to find shared memory region: '{ref.region}'")
        rules = self._rules
        if ref.offset >= region.byte_size and rules.region_offsets_checked:
            raise invalid_arg(f"Invalid offset for shared memory region: '{ref.region}'")
        end, last = ref.offset + ref.byte_size, region.byte_size
        if not rules.region_ends_checked:
            # Until 2.44 nothing is checked: what lies in the pages of the region's mapping can be read and written.
            # Behind them the real server reads and writes what is there, or crashes.
            last += -last % mmap.PAGESIZE
            if end == 0:
                return region
        if 0 < end <= last:
            return region
        if end == 0 and rules.reads_nothing_at_the_start:  # until 2.59 one is subtracted from it
            return region
        if end > UINT64_MAX and rules.tells_overflow_of_ranges:
            raise invalid_arg(
                f"Integer overflow detected: byte_size ({ref.byte_size}) + offset ({ref.offset}) exceeds maximum value "
                f"({UINT64_MAX}) for region '{ref.region}'"
            )
        raise invalid_arg(f"Invalid offset + byte size for shared memory region: '{ref.region}'")

    def _hold(self, name: str) -> None:
        with self._lock:
            self._in_use[name] += 1

    def _release(self, name: str) -> None:
        with self._lock:
            self._in_use[name] -= 1
            if self._in_use[name] <= 0:
                del self._in_use[name]
                if name in self._leaving:
                    self._leaving.discard(name)
                    self._drop(name)


class Source:
    """The bytes of one input in shared memory: what `ref` names in a region."""

    def __init__(self, lease: "Lease", memory: SystemSharedMemory, ref: SharedMemoryRef) -> None:
        self._lease = lease
        self._memory = memory
        self._region = memory.find(ref)
        self._at = self._region.offset + ref.offset
        self._size = ref.byte_size

    def __len__(self) -> int:
        return self._size

    def read(self, at: int, size: int) -> Buffer:
        """A copy of `size` bytes from `at` on. Raises as `SystemSharedMemory.read` does."""
        return self._memory.read(self._region, self._at + at, size)

    def whole(self) -> Buffer:
        """A copy of all bytes. Raises as `read` does, UNAVAILABLE where too many are in flight."""
        self._lease.reserve(self._size)
        return self.read(0, self._size)


class Lease:
    """The regions that one request uses, until `release` (or the end of a `with`)."""

    __slots__ = ("_memory", "_names", "copied", "ended", "input_bytes")

    def __init__(self, memory: SystemSharedMemory) -> None:
        self._memory = memory
        #: bytes of all inputs that are read through the lease
        self.input_bytes = 0
        #: those of them that are copied; changed under the memory's lock, as `ended` is
        self.copied = 0
        self.ended = False
        #: the held regions, one entry for each read; most requests read none
        self._names: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def source(self, ref: SharedMemoryRef) -> Source:
        """The bytes of an input, which are not read yet. Raises as `SystemSharedMemory.check` does."""
        source = Source(self, self._memory, ref)
        self.input_bytes += ref.byte_size
        self._hold(ref.region)
        return source

    def reserve(self, size: int) -> None:
        """Count bytes that are to be copied. Raises UNAVAILABLE where too many are in flight."""
        self._memory.reserve(self, size)

    def check(self, ref: SharedMemoryRef) -> None:
        self._memory.check(ref)
        self._hold(ref.region)

    def write(self, ref: SharedMemoryRef, data: Buffer) -> None:
        self._memory.write(ref, data)

    def release(self) -> None:
        """Allow the regions to be unregistered again; a second call does nothing."""
        while self._names:
            self._memory._release(self._names.pop())  # noqa: SLF001  (the two classes are one thing)
        if self.input_bytes:
            self._memory.unreserve(self)

    def _hold(self, name: str) -> None:
        self._memory._hold(name)  # noqa: SLF001
        if self._names is None:
            self._names = []
        self._names.append(name)


class CudaSharedMemory:
    """The answers of a server without a GPU: no CUDA region can ever be registered.

    Names are shared with the system regions, as both kinds are in one table of 2.51's.
    """

    def __init__(self, system: SystemSharedMemory, rules: Personality) -> None:
        self._system = system
        self._rules = rules

    def register(self, name: str, handle: bytes, device_id: int, byte_size: int) -> None:
        """Raises INVALID_ARG: the device cannot be opened. `handle` is a cudaIpcMemHandle_t."""
        if len(handle) != CUDA_HANDLE_SIZE:
            raise invalid_arg("'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t")
        if name in self._system:
            raise already_registered(name)
        raise invalid_arg(self._rules.cuda_not_opened.format(name=name))

    def unregister(self, name: str) -> None:
        """An unknown region is no error."""

    def unregister_all(self) -> None:
        """There are none."""

    def status(self, name: str | None = None) -> None:
        """Nothing to tell of all regions; raises NOT_FOUND for any one."""
        if name is None:
            return
        if name in self._system:
            raise not_found(
                f"The region named '{name}' is registered as system shared memory, not CUDA shared memory"
            )
        raise not_found(f"Unable to find {self._rules.cuda_noun} shared memory region: '{name}'")


def disabled() -> TritonError:
    """The refusal of a client that wants to register or unregister a region of a server that does not allow it."""
    return unsupported(
        "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
    )


def already_registered(name: str) -> TritonError:
    return TritonError(Code.ALREADY_EXISTS, f"shared memory region '{name}' already in manager")


def _shrunk(region: SystemRegion) -> TritonError:
    return internal(
        f"shared memory region '{region.name}' can not be used: "
        f"'{region.key}' has become shorter than what was registered"
    )
