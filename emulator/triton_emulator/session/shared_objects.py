"""The POSIX shared memory objects of clients: which keys one may have, how it is opened, what of it a region may be."""

import errno
import mmap
import os
import resource

from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.personality import Personality

#: Where Linux keeps POSIX shared memory objects.
_DIRECTORY = "/dev/shm/"  # noqa: S108  (no temporary file of ours)
_SIZE_T = 1 << 64
_OFF_T_MAX = (1 << 63) - 1
#: the bytes that a process can map
_ADDRESSES = 1 << 47
#: Descriptors that stay free for connections, however many regions are registered.
_RESERVED_DESCRIPTORS = 64
#: How the keys of the Python backend's own objects begin.
_OWN_PREFIX = "triton_python_backend_shm_region_"


def check_key(name: str, key: str, rules: Personality) -> None:
    """Raises INVALID_ARG for a key that may be one of the server's own objects.

    `name` is the region's, for the text.
    """
    if not rules.refuses_own_shared_objects:
        return
    bare = key.lstrip("/") if rules.skips_slashes_of_shared_keys else key
    if not bare and rules.skips_slashes_of_shared_keys:
        raise invalid_arg(f"cannot register shared memory region '{name}' - invalid shm key '{key}'")
    if bare.startswith(_OWN_PREFIX):
        raise invalid_arg(
            f"cannot register shared memory region '{name}' with key '{key}' as the key contains the reserved prefix "
            f"'{_OWN_PREFIX}'"
        )


def open_object(key: str) -> int:
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


def check_bounds(name: str, offset: int, byte_size: int, object_size: int, rules: Personality) -> None:
    """What 2.51's size check (it wraps at 64 bits) and then mmap make of a region. Until 2.44 there is only mmap."""
    most = object_size if rules.region_sizes_checked else _ADDRESSES
    if (offset + byte_size) % _SIZE_T > object_size and rules.region_sizes_checked:
        raise invalid_arg(f"failed to register shared memory region '{name}': invalid args")
    number = None
    if byte_size == 0 or offset % mmap.PAGESIZE:
        number = errno.EINVAL
    elif offset > _OFF_T_MAX:
        number = errno.EOVERFLOW
    elif byte_size > most:
        number = errno.ENOMEM
    if number is not None:
        raise not_mapped(name, number)


def not_mapped(name: str, number: int) -> TritonError:
    """What 2.51 says where mmap fails with the error `number`."""
    reason = f"unable to process address space{os.strerror(number)}"
    return invalid_arg(f"failed to register shared memory region '{name}': {reason}")
