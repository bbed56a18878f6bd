"""Shared memory that clients register: system regions (POSIX shared memory objects); CUDA ones are refused.

Elements are read and written through the object's descriptor and not through a mapping: a client that shortens its
object then costs itself an error, where a mapping would cost this process a SIGBUS.
"""

import errno
import mmap
import os
import resource
from collections import Counter
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self

from triton_emulator.protocol.datatypes import Buffer
from triton_emulator.protocol.errors import Code, TritonError, internal, invalid_arg, not_found
from triton_emulator.protocol.messages import SharedMemoryRef

#: Where Linux keeps POSIX shared memory objects.
_DIRECTORY = "/dev/shm/"  # noqa: S108  (no temporary file of ours)
_SIZE_T = 1 << 64
_OFF_T_MAX = (1 << 63) - 1
#: Descriptors that stay free for connections, however many regions are registered.
_RESERVED_DESCRIPTORS = 64
CUDA_HANDLE_SIZE = 64


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

    def __init__(self) -> None:
        self._regions: dict[str, SystemRegion] = {}
        self._in_use: Counter[str] = Counter()
        self._lock = Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._regions

    # --- registering ---

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open the object `key` and check that the region lies in it. Raises TritonError in 2.51's order and words."""
        with self._lock:
            if name in self._regions:
                raise already_registered(name)
            # 2.51 closes an object once it has mapped it, yet takes its descriptor again for a second region of it.
            if any(region.key == key for region in self._regions.values()):
                raise internal(f"Invalid shared memory region: '{key}'")
            descriptor = _open(key)
            try:
                _check_bounds(name, offset, byte_size, os.fstat(descriptor).st_size)
            except TritonError:
                os.close(descriptor)
                raise
            self._regions[name] = SystemRegion(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str) -> None:
        """Release a region; an unknown one is no error. Raises INTERNAL while a request uses it."""
        with self._lock:
            if self._in_use[name]:
                raise internal(f"Cannot unregister shared memory region '{name}', it is currently in use.")
            self._drop(name)

    def unregister_all(self) -> None:
        """Release all regions that no request uses, then raise INTERNAL for the others."""
        with self._lock:
            busy = sorted(name for name in self._regions if self._in_use[name])
            for name in list(self._regions):
                if name not in busy:
                    self._drop(name)
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

    def read(self, ref: SharedMemoryRef) -> bytes:
        """A copy of the bytes that `ref` names. Raises as `check` does, INTERNAL where the object has shrunk."""
        with self._lock:
            region = self._find(ref)
            data = _read(region.descriptor, ref.byte_size, region.offset + ref.offset)
        if len(data) < ref.byte_size:
            raise _shrunk(region)
        return data

    def write(self, ref: SharedMemoryRef, data: Buffer) -> None:
        """Put `data`, no longer than `ref.byte_size`, at `ref`. Raises as `read` does."""
        with self._lock:
            region = self._find(ref)
            at = region.offset + ref.offset
            if os.fstat(region.descriptor).st_size < at + len(data):  # writing would make the object longer
                raise _shrunk(region)
            view = memoryview(data)
            while view:
                written = os.pwrite(region.descriptor, view, at)
                view, at = view[written:], at + written

    def _find(self, ref: SharedMemoryRef) -> SystemRegion:
        # 2.51 adds a region's own offset to this limit, and a second time to the address: it reads beyond its
        # mapping. That is not imitated: `ref` counts from the start of the region, and stays inside.
        region = self._regions.get(ref.region)
        if region is None:
            raise not_found(f"Unable to find shared memory region: '{ref.region}'")
        if ref.offset >= region.byte_size:
            raise invalid_arg(f"Invalid offset for shared memory region: '{ref.region}'")
        # An empty range at the very start is refused: 2.51 subtracts one from it.
        if ref.offset + ref.byte_size > region.byte_size or ref.offset + ref.byte_size == 0:
            raise invalid_arg(f"Invalid offset + byte size for shared memory region: '{ref.region}'")
        return region

    def _hold(self, name: str) -> None:
        with self._lock:
            self._in_use[name] += 1

    def _release(self, name: str) -> None:
        with self._lock:
            self._in_use[name] -= 1
            if self._in_use[name] <= 0:
                del self._in_use[name]


class Lease:
    """The regions that one request uses, until `release` (or the end of a `with`)."""

    __slots__ = ("_memory", "_names")

    def __init__(self, memory: SystemSharedMemory) -> None:
        self._memory = memory
        #: the held regions, one entry for each read; most requests read none
        self._names: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def read(self, ref: SharedMemoryRef) -> bytes:
        data = self._memory.read(ref)
        self._hold(ref.region)
        return data

    def check(self, ref: SharedMemoryRef) -> None:
        self._memory.check(ref)
        self._hold(ref.region)

    def write(self, ref: SharedMemoryRef, data: Buffer) -> None:
        self._memory.write(ref, data)

    def release(self) -> None:
        """Allow the regions to be unregistered again; a second call does nothing."""
        while self._names:
            self._memory._release(self._names.pop())  # noqa: SLF001  (the two classes are one thing)

    def _hold(self, name: str) -> None:
        self._memory._hold(name)  # noqa: SLF001
        if self._names is None:
            self._names = []
        self._names.append(name)


class CudaSharedMemory:
    """The answers of a server without a GPU: no CUDA region can ever be registered.

    Names are shared with the system regions, as both kinds are in one table of 2.51's.
    """

    def __init__(self, system: SystemSharedMemory) -> None:
        self._system = system

    def register(self, name: str, handle: bytes, device_id: int, byte_size: int) -> None:
        """Raises INVALID_ARG: the device cannot be opened. `handle` is a cudaIpcMemHandle_t."""
        if len(handle) != CUDA_HANDLE_SIZE:
            raise invalid_arg("'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t")
        if name in self._system:
            raise already_registered(name)
        raise invalid_arg("failed to register shared memory region: invalid args")

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
        raise not_found(f"Unable to find cuda shared memory region: '{name}'")


def already_registered(name: str) -> TritonError:
    return TritonError(Code.ALREADY_EXISTS, f"shared memory region '{name}' already in manager")


def _open(key: str) -> int:
    """A descriptor of the POSIX shared memory object `key`, found as glibc's shm_open finds it."""
    name = key.lstrip("/")
    if not name or "/" in name:
        raise _unable_to_open(key)
    try:
        descriptor = os.open(_DIRECTORY + name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        raise _unable_to_open(key) from None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and descriptor >= limit - _RESERVED_DESCRIPTORS:
        os.close(descriptor)
        raise _unable_to_open(key)
    return descriptor


def _unable_to_open(key: str) -> TritonError:
    return internal(f"Unable to open shared memory region: '{key}'")


def _check_bounds(name: str, offset: int, byte_size: int, object_size: int) -> None:
    """What 2.51's size check (it wraps at 64 bits) and then mmap make of a region."""
    if (offset + byte_size) % _SIZE_T > object_size:
        raise invalid_arg(f"failed to register shared memory region '{name}': invalid args")
    number = None
    if byte_size == 0 or offset % mmap.PAGESIZE:
        number = errno.EINVAL
    elif offset > _OFF_T_MAX:
        number = errno.EOVERFLOW
    elif byte_size > object_size:
        number = errno.ENOMEM
    if number is not None:
        reason = f"unable to process address space{os.strerror(number)}"
        raise invalid_arg(f"failed to register shared memory region '{name}': {reason}")


def _read(descriptor: int, size: int, at: int) -> bytes:
    data = os.pread(descriptor, size, at)
    while len(data) < size:  # one call reads 2 GiB at most
        more = os.pread(descriptor, size - len(data), at + len(data))
        if not more:
            break
        data += more
    return data


def _shrunk(region: SystemRegion) -> TritonError:
    return internal(
        f"shared memory region '{region.name}' can not be used: "
        f"'{region.key}' has become shorter than what was registered"
    )
