"""The way from any thread to the event loop: responses, of which many are delivered by one wake-up, and functions."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from triton_emulator.engine.call import Deliver
from triton_emulator.protocol.messages import InferResponse

_LOG = logging.getLogger(__name__)


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
        # cleared first: a post that comes while this runs either is taken below or wakes the loop once more
        self._awake = False
        posted = self._posted
        while posted:
            deliver, response, final = posted.popleft()
            try:
                deliver(response, final)
            except Exception:  # noqa: BLE001  (one receiver's fault must not keep the others waiting)
                _LOG.exception("a response could not be delivered")
