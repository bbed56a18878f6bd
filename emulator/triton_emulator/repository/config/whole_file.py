"""Reads files of a model repository that may be anything: a pipe or a device may have no end."""

import errno
from pathlib import Path
from stat import S_ISDIR, S_ISREG


def read_whole(path: Path) -> bytes:
    """The bytes of a file. Raises OSError where it cannot be read or is a pipe, a socket or a device.

    2.51 waits for the end of such a file.
    """
    mode = path.stat().st_mode
    if not S_ISREG(mode) and not S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path.read_bytes()
