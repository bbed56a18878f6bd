"""The responses of one call, awaited on the event loop in the order in which the model sent them."""

import asyncio
from collections import deque

from triton_emulator.protocol.messages import InferResponse


class Responses:
    """Filled through `deliver`, emptied through `next`. Belongs to one event loop."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[tuple[InferResponse | None, bool]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def deliver(self, response: InferResponse | None, final: bool) -> None:
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
