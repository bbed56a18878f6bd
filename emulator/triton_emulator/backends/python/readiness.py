"""A Python model's own `is_ready`, which readiness requests ask since 2.67."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

_LOG = logging.getLogger(__name__)

#: how long a request waits for the model's answer
_LIMIT_SECONDS = 5.0


class Readiness:
    """Asks one instance. It runs one `is_ready` at a time: who asks meanwhile gets that one's answer."""

    def __init__(self, name: str, ask: Callable[[], bool]) -> None:
        """`ask` may block, and may raise anything. It is called on a thread of its own."""
        self._name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None

    def answer(self) -> bool:
        """What the model says; False where it raises or takes longer than five seconds. Not for the event loop."""
        with self._lock:
            asked = self._asked
            if asked is None:
                asked = self._asked = Future()
                threading.Thread(target=self._run, args=(asked,), name="is_ready", daemon=True).start()
        with suppress(TimeoutError):
            return asked.result(_LIMIT_SECONDS)
        _LOG.debug("model instance '%s' is not ready: timed out waiting for its is_ready()", self._name)
        return False

    def _run(self, asked: "Future[bool]") -> None:
        ready = False
        try:
            ready = self._ask()
        except BaseException as error:  # noqa: BLE001  (sys.exit() in a model must not end the server)
            _LOG.debug("model instance '%s' is not ready: %s", self._name, error)
        with self._lock:
            self._asked = None
        asked.set_result(ready)
