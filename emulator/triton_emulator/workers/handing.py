"""A connection on its way from the parent, which has accepted it, to a worker.

Each worker has a Unix socket for this. The parent sends a byte with each connection's descriptor. The worker sends a
byte back at the end of each.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

_BYTE = b"."
_MANY = 1 << 16
#: connections that are taken before the event loop turns to others
_AT_ONCE = 64


def hand(channel: socket.socket, connection: socket.socket) -> bool:
    """Send a connection. False where the channel is full, or its other end is gone."""
    try:
        return socket.send_fds(channel, [_BYTE], [connection.fileno()]) == len(_BYTE)
    except OSError:  # a channel that is full is a BlockingIOError
        return False


def count_ended(channel: socket.socket) -> int | None:
    """How many connections have ended since this was last asked; None where the worker has ended."""
    try:
        return len(channel.recv(_MANY)) or None
    except (BlockingIOError, InterruptedError):
        return 0
    except OSError:
        return None


class HandedConnections:
    """The worker's end: what comes is served, and what has ended is told."""

    def __init__(self, channel: socket.socket, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        """`serve` begins to serve a connection. It raises OSError for one that is gone already."""
        self._channel = channel
        self._serve = serve
        self._untold = 0
        self._tasks: set[asyncio.Task[None]] = set()
        channel.setblocking(False)
        asyncio.get_running_loop().add_reader(channel, self._take)

    def __repr__(self) -> str:
        return f"<HandedConnections, ends to be told: {self._untold}>"

    def ended(self) -> None:
        """Tell that a connection has ended."""
        self._untold += 1
        with suppress(OSError):  # a channel that is full: the next end tells of this one too
            self._untold -= self._channel.send(_BYTE * self._untold)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, descriptors = b"", []
            if not data:  # the parent has ended, which its line tells
                asyncio.get_running_loop().remove_reader(self._channel)
                return
            if not descriptors:  # none was free for it here: the connection is closed
                self.ended()
            for descriptor in descriptors:
                task = asyncio.ensure_future(self._begin(socket.socket(fileno=descriptor)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            await self._serve(connection)
        except OSError:  # the client is gone
            connection.close()
            self.ended()
