"""The clock of a session: what time it is there, and everything in it that waits for a time.

A `Clock` is real time, a `ScaledClock` real time that goes faster or slower, a `VirtualClock` a number that moves only
when it is told to. `clock_of` makes the one that a setting asks for.

What waits on a clock is one of two kinds. A *latency* is what the emulator adds by itself: a stand-in's times, and how
long a batch waits for more requests. A *pause* is what a test or a client's rule has ordered: a fault's delay, the
timeout of a queue, the idle time of a sequence. Real and scaled clocks do not tell them apart. A virtual clock lets
latencies pass at once, and moves forward by them; a pause ends when the clock has come to its end, by the latencies of
other requests or by `advance`.

`time_ns`, `monotonic_ns`, `later` and `patience` may be called on any thread, `call_later`, `after` and `sleep` on the
event loop alone. The other methods are for tests, on any other thread than the event loop's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from heapq import heappop, heappush
from itertools import count
from math import ceil, isfinite
from typing import Any, Protocol

_LOG = logging.getLogger(__name__)
_NS = 1_000_000_000
_NS_PER_MS = 1_000_000
#: how many functions of a wheel are called in one turn of the event loop: a server that has more to send than it can is
#: to answer other requests all the same. libuv accepts one connection a turn.
_MOST_IN_TURN = 128
#: A hundred years: a longer wait is as long.
_LONGEST = 100 * 365 * 86400
#: The turns that the event loop gets at one virtual moment before the next: an answer over HTTP passes through some
#: coroutines until its bytes leave, and its entry of the journal is to have the moment's time.
_TURNS = 8


#: How often, in seconds, a test's thread that waits for the event loop looks whether it has ended.
_LOOK_S = 0.5
_FAILED = "what waited for the clock failed"


class Timer(Protocol):
    """A function that will be called."""

    def cancel(self) -> None:
        """Do not call it."""


class _Turn:
    """A function in a wheel."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        self.function = None


class Wheel:
    """Many timers of one event loop: those of the same millisecond share one of the loop's own, which costs more.

    A function is called in the millisecond after its time, and never before it. One whose time has passed already is
    called in the next turn of the loop: a stream whose tokens are due faster than one a millisecond does not fall
    behind, nor one that was held up. Many that are due at once take several turns. To be used on the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: by the millisecond of the monotonic clock in which they are due
        self._due: dict[int, list[_Turn]] = {}
        #: a heap of these milliseconds
        self._milliseconds: list[int] = []
        #: the millisecond for which the loop's timer is set; 0 for none
        self._armed = 0
        self._timer: asyncio.TimerHandle | None = None
        #: those that are due, in their order: the next turns of the loop call them
        self._late: deque[_Turn] = deque()

    def call_at(self, due_ns: int, function: Callable[[], object]) -> _Turn:
        """Call a function at a nanosecond of the monotonic clock."""
        at = -(-due_ns // _NS_PER_MS)
        turn = _Turn(function)
        turns = self._due.get(at)
        if turns is None:
            self._due[at] = [turn]
            heappush(self._milliseconds, at)
            if not (0 < self._armed <= at or self._late):
                self._arm(at)
        else:
            turns.append(turn)
        return turn

    def _arm(self, at: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = at
        # By the loop's own time, which is the monotonic one: uvloop keeps it in whole milliseconds for a turn, and a
        # delay from the time that it is now would end too early, again and again.
        self._timer = self._loop.call_at(at / 1000, self._turn)

    def _turn(self) -> None:
        self._armed, self._timer = 0, None
        milliseconds, late = self._milliseconds, self._late
        if not late:
            reached = time.monotonic_ns() // _NS_PER_MS
            while milliseconds and milliseconds[0] <= reached:
                late.extend(self._due.pop(heappop(milliseconds)))
        # Those that these functions add get another turn of the loop, though they may be due: other work gets its own.
        for _ in range(min(len(late), _MOST_IN_TURN)):
            turn = late.popleft()
            function, turn.function = turn.function, None
            try:
                if function is not None:
                    function()
            except Exception:  # noqa: BLE001  (as an event loop does it)
                _LOG.exception(_FAILED)
        if late:
            self._loop.call_soon(self._turn)
        elif milliseconds and not 0 < self._armed <= milliseconds[0]:
            self._arm(milliseconds[0])


class Clock:
    """Real time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, setting: str | float = "real") -> None:
        self._wheel = Wheel(loop)
        #: what the clock was made by: "real", "virtual", or a number
        self.setting = setting
        self._loop = loop
        #: nanoseconds of the epoch
        self.time_ns: Callable[[], int] = time.time_ns
        #: nanoseconds of a steady clock, never 0
        self.monotonic_ns: Callable[[], int] = time.monotonic_ns
        self._began = time.monotonic_ns()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.setting!r}, {self.seconds:.6f} s>"

    @property
    def seconds(self) -> float:
        """Seconds of this clock since the session began."""
        return (self.monotonic_ns() - self._began) / _NS

    # --- of the emulator ---

    def call_later(self, seconds: float, function: Callable[[], object], *, passes: bool = True) -> Timer:
        """Call a function on the event loop after a latency (`passes`), or else a pause."""
        if seconds <= 0:
            return self._loop.call_soon(function)
        return self.call_at(self._after_ns(seconds), function, passes=passes)

    def _after_ns(self, seconds: float) -> int:
        """What `monotonic_ns` is after so many seconds."""
        return self.monotonic_ns() + round(min(seconds, _LONGEST) * _NS)

    def call_at(self, due_ns: int, function: Callable[[], object], *, passes: bool = True) -> Timer:
        """Call a function on the event loop when `monotonic_ns` has come to `due_ns`."""
        return self._wheel.call_at(due_ns, function)

    def later(self, seconds: float, function: Callable[[], object], *, passes: bool = True) -> None:
        """As `call_later`, from any thread. Nothing is called after the loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: self.call_later(seconds, function, passes=passes))

    def patience(self, seconds: float, wake: Callable[[], object]) -> float | None:
        """How many real seconds a thread may sleep that is to look again after a latency of `seconds`.

        None is until `wake`, which the clock calls.
        """
        return seconds

    def after(self, seconds: float) -> asyncio.Future[None]:
        """Done after a pause. To cancel it ends the pause."""
        done: asyncio.Future[None] = self._loop.create_future()

        def end() -> None:
            if not done.done():
                done.set_result(None)

        timer = self.call_later(seconds, end, passes=False)
        done.add_done_callback(lambda _: timer.cancel())
        return done

    async def sleep(self, seconds: float) -> None:
        """A pause."""
        await self.after(seconds)

    # --- of a test ---

    def real_seconds(self, seconds: float) -> float | None:
        """Real seconds for seconds of this clock; None where it is virtual."""
        return seconds

    @property
    def waiting(self) -> int:
        """How many latencies and pauses wait for the clock. Raises RuntimeError unless it is virtual."""
        raise self._refusal()

    def wait_for(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many latencies and pauses wait for the clock; to be called before `advance`.

        Raises TimeoutError after `timeout` real seconds, and RuntimeError unless the clock is virtual.
        """
        raise self._refusal()

    def advance(self, seconds: float) -> None:
        """Move the clock, and let what is due end, in the order of the ends and each at its own time.

        What begins to wait meanwhile is ended too if it is due. Returns when that is done. Raises ValueError for a
        negative number, RuntimeError unless the clock is virtual.
        """
        raise self._refusal()

    def held(self) -> AbstractContextManager[None]:
        """Let no latency pass by itself in this `with`: they wait for `advance`, as pauses do.

        Raises RuntimeError unless the clock is virtual.
        """
        raise self._refusal()

    def _refusal(self) -> RuntimeError:
        return RuntimeError(
            f"the clock is {self.setting!r}; only a virtual one is moved by hand: write clock='virtual'"
        )


class ScaledClock(Clock):
    """Real time in which one second takes `scale` real seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scale: float) -> None:
        super().__init__(loop, scale)
        self._scale = scale
        self._epoch = time.time_ns()
        self.time_ns = self._scaled_time_ns
        self.monotonic_ns = self._scaled_monotonic_ns

    def _scaled_monotonic_ns(self) -> int:
        return self._began + round((time.monotonic_ns() - self._began) / self._scale)

    def _scaled_time_ns(self) -> int:
        return self._epoch + round((time.monotonic_ns() - self._began) / self._scale)

    def call_at(self, due_ns: int, function: Callable[[], object], *, passes: bool = True) -> Timer:
        real_ns = min((due_ns - self._began) * self._scale, _LONGEST * _NS)
        return self._wheel.call_at(self._began + ceil(real_ns), function)

    def patience(self, seconds: float, wake: Callable[[], object]) -> float | None:
        return seconds * self._scale

    def real_seconds(self, seconds: float) -> float | None:
        return seconds * self._scale


class _Wait:
    """Something that waits for a virtual moment."""

    __slots__ = ("_clock", "due", "function", "passes")

    def __init__(
        self, clock: VirtualClock, due: int, function: Callable[[], object], *, passes: bool
    ) -> None:
        self._clock = clock
        #: nanoseconds since the session began
        self.due = due
        self.function: Callable[[], object] | None = function
        self.passes = passes

    def cancel(self) -> None:
        if self.function is not None:
            self.function = None
            self._clock.ended(self)


class VirtualClock(Clock):
    """Time that stands still, but for the latencies that pass and for `advance`. To be made on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, "virtual")
        self._epoch = time.time_ns()
        #: nanoseconds since the session began
        self._now = 0
        self.time_ns = self.monotonic_ns = self._time_ns
        self._began = self._epoch
        #: heaps of (end, number, wait) of all that waits, and of latencies alone; what has ended is left in them
        self._waits: list[tuple[int, int, _Wait]] = []
        self._latencies: list[tuple[int, int, _Wait]] = []
        self._numbers = count()
        self._waiting = 0
        #: while it is above 0, no latency passes by itself
        self._holds = 0
        #: whether the next latency will pass after some turns of the loop
        self._passing = False
        self._advancing = asyncio.Lock()
        self._changed = threading.Condition()
        self._thread = threading.get_ident()

    def _time_ns(self) -> int:
        return self._epoch + self._now

    # --- of the emulator ---

    def call_later(self, seconds: float, function: Callable[[], object], *, passes: bool = True) -> Timer:
        return self.call_at(self._after_ns(seconds), function, passes=passes)

    def call_at(self, due_ns: int, function: Callable[[], object], *, passes: bool = True) -> Timer:
        wait = _Wait(self, max(self._now, due_ns - self._epoch), function, passes=passes)
        entry = (wait.due, next(self._numbers), wait)
        heappush(self._waits, entry)
        if passes:
            heappush(self._latencies, entry)
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
        self._go_on()
        return wait

    def patience(self, seconds: float, wake: Callable[[], object]) -> float | None:
        self.later(seconds, wake)
        return None

    def ended(self, wait: _Wait) -> None:
        """A wait is over, or is cancelled."""
        with self._changed:
            self._waiting -= 1

    @staticmethod
    def _next(heap: list[tuple[int, int, _Wait]]) -> int | None:
        """The end of the first that still waits."""
        while heap and heap[0][2].function is None:
            heappop(heap)
        return heap[0][0] if heap else None

    def _go_on(self) -> None:
        """Let the next latency pass soon, unless it is to wait for `advance`."""
        if not (self._passing or self._holds) and self._next(self._latencies) is not None:
            self._passing = True
            self._loop.call_soon(self._pass, _TURNS)

    def _pass(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._pass, turns - 1)
            return
        self._passing = False
        due = self._next(self._latencies)
        if due is not None and not self._holds:
            first = self._next(self._waits)
            self._move_to(due if first is None else min(due, first))
            self._go_on()

    def _move_to(self, due: int) -> None:
        """Move to a moment, and end what waits for it or for an earlier one."""
        self._now = max(self._now, due)
        # what begins to wait now gets a turn of its own, as a stream without pauses does
        newer = next(self._numbers)
        while self._waits and self._waits[0][0] <= due and self._waits[0][1] < newer:
            _, _, wait = heappop(self._waits)
            function, wait.function = wait.function, None
            if function is None:
                continue
            self.ended(wait)
            try:
                function()
            except Exception:  # noqa: BLE001  (as an event loop does it)
                _LOG.exception(_FAILED)

    async def _advance(self, ns: int) -> None:
        async with self._advancing:
            self._holds += 1
            try:
                await _turns()
                end = self._now + ns
                while (due := self._next(self._waits)) is not None and due <= end:
                    self._move_to(due)
                    await _turns()
                self._now = max(self._now, end)
            finally:
                self._holds -= 1
                self._go_on()

    async def _hold(self, by: int) -> None:
        self._holds += by
        self._go_on()

    # --- of a test ---

    def real_seconds(self, seconds: float) -> float | None:
        return None

    @property
    def waiting(self) -> int:
        return self._waiting

    def wait_for(self, count: int = 1, timeout: float = 10.0) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting >= count, timeout):
                raise TimeoutError(f"{self._waiting} of {count} wait for the clock after {timeout} s")

    def advance(self, seconds: float) -> None:
        if not seconds >= 0 or not isfinite(seconds):
            raise ValueError(f"seconds is a number, 0 or more, not {seconds!r}")
        self._run(self._advance(round(min(seconds, _LONGEST) * _NS)))

    @contextmanager
    def held(self) -> Iterator[None]:
        self._run(self._hold(1))
        try:
            yield
        finally:
            self._run(self._hold(-1))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the event loop, and wait until it is done."""
        stopped = "the emulator has stopped, and its clock with it"
        if threading.get_ident() == self._thread or self._loop.is_closed():
            work.close()
            raise RuntimeError(
                stopped if self._loop.is_closed() else "the emulator's own thread cannot wait for its clock"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not future.done():  # a loop that ends now may never begin with it
            if self._loop.is_closed():
                work.close()
                raise RuntimeError(stopped)
            concurrent.futures.wait((future,), timeout=_LOOK_S)
        try:
            future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError(stopped) from None


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def clock_of(setting: str | float, loop: asyncio.AbstractEventLoop) -> Clock:
    """The clock that a setting asks for: "real", "virtual", or how many real seconds one second takes."""
    if setting == "virtual":
        return VirtualClock(loop)
    return Clock(loop) if setting == "real" else ScaledClock(loop, float(setting))


def check_clock(value: object) -> str | float:
    """The setting that a value is. Raises ValueError for what is none."""
    if value in ("real", "virtual"):
        return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value > 0:
        return float(value)
    raise ValueError(f"clock is 'real', 'virtual' or a number above 0, such as 0.01, not {value!r}")
