"""Notices a client that leaves before it has its answer."""

import asyncio
from collections.abc import Callable

from triton_adapter.proxy.http import Receive

# Seconds until the watch begins: most answers are complete sooner, and watching costs a task.
PATIENCE = 0.05


class Watch:
    """When the client leaves, calls `left` and cancels the task that made the watch."""

    __slots__ = ("_left", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, left: Callable[[], None], receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        self._left = left
        self._receive = receive
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = loop.call_later(PATIENCE, self._begin)

    def end(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()
        if self._task is not None:
            self._task.cancel()
