"""The thread that polls the model repository (`--model-control-mode=poll`)."""

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Poller:
    """Calls `poll` until it is stopped, with `seconds` between the end of a call and the start of the next."""

    def __init__(self, poll: Callable[[], object], seconds: float) -> None:
        self._poll = poll
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repository-poll", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Make no further call. Returns when no call is running, or `timeout` seconds have passed.

        `poll` itself must not call this.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._poll()
            except Exception:  # noqa: BLE001  (the next poll may succeed)
                _LOG.exception("failed to poll model repository")
