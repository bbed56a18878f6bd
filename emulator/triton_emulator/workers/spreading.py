"""The parent accepts the connections of a port, and hands each to the worker that has the fewest open ones."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

_BACKLOG = 2048
#: connections that are accepted before the event loop turns to others
_AT_ONCE = 64
#: seconds until it is tried again to accept or to hand on what nothing could take: file descriptors had run out, or no
#: worker was there
_AGAIN_SECONDS = 0.05


class Taker(Protocol):
    """A worker that serves. `open_connections` is how many it has been given that have not ended."""

    open_connections: int

    def take(self, connection: socket.socket) -> bool:
        """Give it a connection, of which it makes its own copy. False where it cannot take any now."""
        ...


class Spreader:
    """Accepts on a bound socket from `start` to `close`."""

    def __init__(self, sock: socket.socket, takers: Callable[[], Sequence[Taker]]) -> None:
        """`takers` are the workers that serve at the moment."""
        self._socket = sock
        self._takers = takers
        #: how many connections have been accepted
        self._turn = 0
        #: what has been accepted and no worker has taken
        self._kept: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Spreader {self._socket.getsockname()[1] if self._socket.fileno() >= 0 else 'closed'}>"

    def start(self) -> None:
        """Listen from now on. Raises OSError where another program listens on the port."""
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._again is not None:
            self._again.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        if self._kept is not None:
            self._kept.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                if self._kept is None:
                    self._kept, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is free
                self._pause()
                return
            if not self._hand_on(self._kept):
                self._pause()
                return
            self._kept.close()
            self._kept = None

    def _hand_on(self, connection: socket.socket) -> bool:
        takers = self._takers()
        for at in in_turn([taker.open_connections for taker in takers], self._turn):
            if takers[at].take(connection):
                self._turn += 1
                return True
        return False

    def _pause(self) -> None:
        """Leave what comes to the backlog of the socket for a moment."""
        self._loop.remove_reader(self._socket)
        self._again = self._loop.call_later(_AGAIN_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._loop.add_reader(self._socket, self._accept)
        with suppress(OSError):
            self._accept()


def in_turn(connections: Sequence[int], turn: int) -> list[int]:
    """The order in which workers are asked to take a connection, by their numbers of open ones.

    The one with the fewest comes first. Equal ones take turns: `turn` is how many connections there have been.
    """
    count = len(connections)
    return sorted(range(count), key=lambda at: (connections[at], (at - turn) % count))
