"""The thread that looks at the model repository again and again (`--model-control-mode=poll`)."""

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Poller:
    """Calls `poll` every `seconds`, from one call's end to the next one's start, until it is stopped."""

    def __init__(self, poll: Callable[[], object], seconds: float) -> None:
        self._poll = poll
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repository-poll", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """No call will come; returns when none is running either, or `timeout` seconds have passed.

        Not to be called by `poll` itself.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._poll()
            except Exception:  # noqa: BLE001  (the next look may succeed)
                _LOG.exception("failed to poll model repository")
