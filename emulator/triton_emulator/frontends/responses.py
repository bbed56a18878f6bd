"""The responses of one call, awaited on the event loop in the order in which the model sent them."""

import asyncio
from collections import deque
from collections.abc import Callable

from triton_emulator.protocol.messages import InferResponse


class Responses:
    """Filled through `deliver`, emptied through `next`. Belongs to one event loop."""

    __slots__ = ("_abandoned", "_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[tuple[InferResponse | None, bool]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._abandoned: Callable[[], None] | None = None

    def deliver(self, response: InferResponse | None, final: bool) -> None:
        if self._abandoned is not None:
            if final:
                self._abandoned()
            return
        self._items.append((response, final))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> tuple[InferResponse | None, bool]:
        """The next response (None where only the final flag came) and whether it is the last."""
        if not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        return self._items.popleft()

    def abandon(self, ended: Callable[[], None]) -> None:
        """Nobody waits any more: drop what comes, and call `ended` once the last has come."""
        if any(final for _, final in self._items):
            ended()
        else:
            self._abandoned = ended
