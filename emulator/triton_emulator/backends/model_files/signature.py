"""What a model's file tells of its tensors, and how such a file is opened."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: how a file begins that Git LFS has not fetched
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

#: the most inputs and outputs of one model
MOST_TENSORS = 10_000


class Unreadable(Exception):
    """A file that does not tell the tensors of its model. The text says why, and does not name the file."""


@dataclass(frozen=True, slots=True)
class FileTensor:
    """An input or output as the file has it.

    `datatype` is a name of `config.pbtxt`, "TYPE_INVALID" for a type that the backend cannot use. `dims` include the
    batch dimension; -1 is a variable one.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, each in the order in which the backend adds them to a config.

    `batches` says whether the format declares that the first dimension is the batch. Only OpenVINO's does.
    """

    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    batches: bool = False


def open_model(path: Path) -> tuple[BinaryIO, int]:
    """Open a model's file for reading. Returns it and its size in bytes. Raises Unreadable."""
    try:
        # without O_NONBLOCK a FIFO in the file's place would block
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unreadable("there is no such file") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"it cannot be opened: {getattr(error, 'strerror', error)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not a file")
        if status.st_size == 0:
            raise Unreadable("it is empty")
        if os.pread(descriptor, len(_LFS_POINTER), 0) == _LFS_POINTER:
            raise Unreadable("it is a pointer of Git LFS, not the model: run `git lfs pull`")
        return os.fdopen(descriptor, "rb", buffering=0), status.st_size
    except BaseException:
        os.close(descriptor)
        raise
