"""How many requests a model version still has to answer: it is let go of behind the last one."""

import threading


class InFlight:
    """A count of requests that can be closed; may be used on any thread."""

    def __init__(self) -> None:
        # Entered itself: a condition's own `with` costs a request half a microsecond.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._count = 0
        self._closed = False

    def enter(self) -> bool:
        """Count one more; False, and nothing is counted, where the last has left for good.

        While one is there others may still come: a step of an ensemble whose request holds the version already.
        """
        with self._lock:
            if self._closed and not self._count:
                return False
            self._count += 1
            return True

    def leave(self) -> None:
        """One of those that entered has ended."""
        with self._lock:
            self._count -= 1
            if self._closed and not self._count:
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until all have left; from then on none may enter."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._count)
