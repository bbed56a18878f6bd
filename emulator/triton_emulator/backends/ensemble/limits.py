"""Limits how many requests of one step of an ensemble are in flight (`max_inflight_requests`, since 2.63).

Triton makes a thread wait: the one that has brought a step its inputs, which sends the responses of the step before. So
all that this thread would do next waits too. Here a `Lane` stands for the thread. Two things are not so here: the model
of the step before goes on meanwhile, and a step that has waited for 300 seconds goes on waiting.
"""

from collections import deque
from collections.abc import Callable

Work = Callable[[], object]


class StepLimit:
    """The places of one step."""

    __slots__ = ("_free", "_passing", "_waiting")

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[Work] = deque()
        self._passing = False

    def take(self, resume: Work) -> bool:
        """Take a place; False where there is none. Then `resume` is called when it has one."""
        if self._free <= 0:
            self._waiting.append(resume)
            return False
        self._free -= 1
        return True

    def take_anyway(self) -> None:
        """Take a place, even if there is none."""
        self._free -= 1

    def release(self) -> None:
        """Give a place back. Those that have waited longest get the free places."""
        self._free += 1
        if self._passing:  # a step that ends at once: the loop below goes on with its place
            return
        self._passing = True
        while self._waiting and self._free > 0:
            self._free -= 1
            self._waiting.popleft()()
        self._passing = False


class Lane:
    """What one source brings, one after the other. While a part `waits`, what comes after it is kept."""

    __slots__ = ("_later", "waits")

    def __init__(self) -> None:
        self.waits = False
        self._later: deque[Work] = deque()

    def do(self, work: Work) -> None:
        """Do this now, or after what waits."""
        if self.waits:
            self._later.append(work)
        else:
            work()

    def go_on(self) -> None:
        """What waited is done: do what came meanwhile, until a part of it waits."""
        self.waits = False
        while self._later and not self.waits:
            self._later.popleft()()
