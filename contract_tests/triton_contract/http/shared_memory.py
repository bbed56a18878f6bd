"""POSIX shared memory objects that a case brings along; they are there while it plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .body import tensor_bytes
from .case import SharedMemory

# Where Linux keeps them; the servers under test see the same ones.
DIRECTORY = Path("/dev/shm")  # noqa: S108


@contextmanager
def present(objects: Iterable[SharedMemory]) -> Iterator[None]:
    """Make the objects anew, and take them away at the end."""
    paths = []
    try:
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


def contents(key: str) -> bytes:
    return (DIRECTORY / key).read_bytes()
