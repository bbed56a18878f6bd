"""The POSIX shared memory objects of a case; they exist while it plays."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from triton_contract.cases.case import SharedMemory
from triton_contract.cases.encoding import tensor_bytes

# Where Linux keeps them. The servers under test see the same objects.
DIRECTORY = Path("/dev/shm")  # noqa: S108


@contextmanager
def present(objects: Iterable[SharedMemory]) -> Iterator[None]:
    """Create the objects, replacing old ones of the same keys, and remove them at the end.

    The keys of a case are the same in every run, so of all runs on this machine one at a time has objects.
    """
    objects = tuple(objects)
    if not objects:
        yield
        return
    folder = os.open(DIRECTORY, os.O_RDONLY)
    paths = []
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for each in objects:
            path = DIRECTORY / each.key
            path.unlink(missing_ok=True)
            data = tensor_bytes(each.data) if each.data is not None else b""
            path.write_bytes(data.ljust(each.size, b"\0"))
            paths.append(path)
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
        os.close(folder)


def contents(key: str) -> bytes:
    return (DIRECTORY / key).read_bytes()
