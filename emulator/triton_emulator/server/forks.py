"""Takes the server's sockets from forked processes, which inherit them.

A model may fork, by `multiprocessing` for one. As long as a child had a copy of a listening socket, its port would stay
taken after the server's end, and clients would not see that a connection is closed. Nothing here costs a process that
does not fork.
"""

import os
import socket
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

#: a folder with the numbers of the process's open descriptors as names
_DESCRIPTORS = Path("/dev/fd")


class HasPorts(Protocol):
    """Something that has bound ports."""

    ports: set[int]


#: The interpreter has one list of functions to call after a fork, so all servers of a process share this.
_SERVERS: "weakref.WeakSet[HasPorts]" = weakref.WeakSet()


def leave_ports_after_fork(server: HasPorts) -> None:
    """Let each process that is forked from now on give up the sockets on the server's `ports`."""
    _SERVERS.add(server)
    _install()


@cache
def _install() -> None:
    os.register_at_fork(after_in_child=_leave_ports)


def _leave_ports() -> None:
    ports = {port for server in _SERVERS for port in server.ports}
    if not ports:
        return
    with suppress(OSError):  # no descriptor is left, or the folder is not there
        void = os.open(os.devnull, os.O_RDWR)
        for descriptor in [int(entry.name) for entry in _DESCRIPTORS.iterdir()]:
            if _local_port(descriptor) in ports:
                # The number stays taken: an object that owns it may close it later, when it would be another file's.
                os.dup2(void, descriptor, inheritable=False)
        os.close(void)


def _local_port(descriptor: int) -> int | None:
    """The port that a descriptor is bound to; None for a descriptor without a port."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return int(sock.getsockname()[1]) if sock.family in (socket.AF_INET, socket.AF_INET6) else None
    except OSError:
        return None
    finally:
        sock.detach()
