"""Why a run ends before all of its cases are asked."""

from __future__ import annotations

UNAVAILABLE = 3
"""The exit code of a run whose target could not be asked all cases."""


class Stop:
    """Asks a run to end: before its next case, and its servers at once. The first reason counts.

    A signal handler may ask, so nothing here waits for a lock.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.exit_code = 0

    def __repr__(self) -> str:
        return f"<Stop {self.reason!r}>"

    def ask(self, reason: str, exit_code: int = UNAVAILABLE) -> None:
        """End the run for this reason, a line for people."""
        if not self.reason:
            self.exit_code, self.reason = exit_code, reason
