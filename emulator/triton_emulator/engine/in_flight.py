"""Counts a version's unanswered requests, so that it is unloaded only after the last one."""

import threading


class InFlight:
    """A count of requests that can be closed; may be used on any thread."""

    def __init__(self) -> None:
        # The lock is used directly: to enter the condition costs a request half a microsecond more.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def enter(self) -> bool:
        """Count one more; False, and nothing is counted, where it is closed and the last request has ended.

        Until then others may still come: a step of an ensemble whose request holds the version already.
        """
        with self._lock:
            if self._closed and not self._count:
                return False
            self._count += 1
            return True

    def leave(self) -> None:
        """One of the counted requests has ended."""
        with self._lock:
            self._count -= 1
            if self._closed and not self._count:
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until all counted requests have ended; `enter` refuses all that come later."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._count)
