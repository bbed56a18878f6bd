"""The way from any thread to the event loop: responses, of which many are delivered by one wake-up, and functions."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from triton_emulator.engine.call import Deliver
from triton_emulator.protocol.messages import InferResponse

_LOG = logging.getLogger(__name__)
#: responses that are delivered in one turn of the loop
_AT_ONCE = 64


class Mailbox:
    """Responses posted from any thread are delivered on the loop in the order of posting.

    What is posted after the loop is closed is dropped.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._posted: deque[tuple[Deliver, InferResponse | None, bool]] = deque()
        self._awake = False

    def post(self, deliver: Deliver, response: InferResponse | None, final: bool) -> None:
        """Deliver soon, on the loop."""
        self._posted.append((deliver, response, final))
        if not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed
                self._posted.clear()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function soon, on the loop."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _drain(self) -> None:
        posted = self._posted
        # A model may post faster than its responses are written. Then other clients, and one that leaves, get a turn.
        for _ in range(min(len(posted), _AT_ONCE)):
            deliver, response, final = posted.popleft()
            try:
                deliver(response, final)
            except Exception:  # noqa: BLE001  (one receiver's fault must not keep the others waiting)
                _LOG.exception("a response could not be delivered")
        # cleared before the look: a post that comes after it wakes the loop itself
        self._awake = False
        if posted:
            self._awake = True
            self._loop.call_soon(self._drain)
