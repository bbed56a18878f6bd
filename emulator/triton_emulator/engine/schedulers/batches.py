"""Runs the batches that a batcher forms: on the instances' threads, or at once on the event loop.

How it works. A batcher (dynamic or sequence) is a plain object: it is told the time, it never waits and it takes no
lock. `ThreadedBatches` holds one lock around it. `submit` adds a call and wakes the instances; each instance's thread
reports its last batch as done, takes the next one, and sleeps when there is none. The batcher says when it wants to be
asked again although nothing has arrived: `wake_ns` for one instance (a batch may wait for more requests), `tick_ns`
for the whole model (a request or a sequence may become too old). A request that the batcher drops is refused outside
the lock. `InlineBatches` does the same on the event loop, for executors that never block.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from triton_emulator.clock import Clock
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import Executor, ThreadedExecutor
from triton_emulator.engine.schedulers.plain import execute, refuse
from triton_emulator.engine.schedulers.sequence import SequenceBatcher
from triton_emulator.protocol.errors import TritonError

#: Counts one execution of a request that its model will execute again. Called on any thread.
Count = Callable[[Call], None]


class Batcher(Protocol):
    """Decides which requests run together on which instance, and when. The caller passes the time; it never waits.

    Times are nanoseconds of a monotonic clock. `dropped` collects requests that will not run; the caller empties it.
    """

    dropped: list[tuple[Call, TritonError]]

    @property
    def tick_ns(self) -> int:
        """When `tick` has to be called; 0 means never."""

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises TritonError if it must not run at all."""

    def take(self, instance: int, now: int) -> list[Call]:
        """Return the next batch for an idle instance, or an empty list."""

    def wake_ns(self, instance: int) -> int:
        """When `take` may return a batch although no request has arrived; 0 means never."""

    def done(self, instance: int, calls: list[Call], now: int) -> None:
        """Note that a batch has been executed."""

    def tick(self, now: int) -> None:
        """Drop what has become too old by `now`."""


class _WakeUps:
    """Wakes sleeping threads. The caller's `lock` guards it. A condition variable would cost ten times as much."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._sleepers = 0
        self._signals: SimpleQueue[None] = SimpleQueue()

    def wake_all(self) -> None:
        """Wake every sleeping thread. Call with the lock held."""
        for _ in range(self._sleepers):
            self._signals.put(None)
        self._sleepers = 0

    def enter(self) -> None:
        """Announce that this thread will sleep. Call with the lock held."""
        self._sleepers += 1

    def sleep(self, seconds: float | None) -> None:
        """Wait for the next `wake_all`, at most `seconds`. Call after `enter`, without the lock."""
        try:
            self._signals.get(timeout=seconds)
        except Empty:
            with self._lock:
                if self._sleepers:
                    self._sleepers -= 1
                    return
            self._signals.get()  # woken between the timeout and the lock: take this thread's signal


class _Batches:
    """What both ways of running share: the batcher, the requests that it drops, and its timer."""

    def __init__(self, executor: Executor, batcher: Batcher, clock: Clock) -> None:
        self._executor = executor
        self._batcher = batcher
        self._clock = clock
        self._now = clock.monotonic_ns
        self._lock = threading.Lock()
        self._wake_ups = _WakeUps(self._lock)
        self._ticking = 0
        self._stopped = False
        #: number of calls that wait for an instance
        self.pending = 0

    def _add(self, call: Call) -> None:
        """Give the batcher a call. Call this, `_dropped` and `_arm` with the lock held."""
        self._batcher.add(call, self._now())
        self.pending += 1

    def _dropped(self) -> Sequence[tuple[Call, TritonError]]:
        if not self._batcher.dropped:
            return ()
        dropped = self._batcher.dropped[:]
        self._batcher.dropped.clear()
        self.pending -= len(dropped)
        return dropped

    def _arm(self) -> None:
        """Set a timer for the batcher's next `tick`, unless an earlier one is set."""
        due = self._batcher.tick_ns
        if due and (self.pending or not self._stopped) and not 0 < self._ticking <= due:
            self._ticking = due
            self._clock.later(max(0, due - self._now()) / 1e9 + 0.001, self._tick, passes=False)

    def _tick(self) -> None:
        with self._lock:
            self._ticking = 0
            self._batcher.tick(self._now())
            dropped = self._dropped()
            self._arm()
            self._wake_ups.wake_all()
        _refuse(dropped)


class ThreadedBatches(_Batches):
    """One batcher for the model. Each instance takes its batches on its own thread."""

    any_thread = True

    def __init__(self, executor: ThreadedExecutor, batcher: Batcher, clock: Clock, count: Count) -> None:
        super().__init__(executor, batcher, clock)
        self._count = count
        #: whether the event loop will wake the instances at the end of its turn
        self._waking_soon = False
        self._idle = threading.Semaphore(0)
        self._instances = executor.instances
        if isinstance(batcher, SequenceBatcher):
            executor.on_reschedule(self._again)
        for instance in range(self._instances):
            executor.start_worker(instance, partial(self._work, instance))

    def submit(self, call: Call) -> None:
        """Queue a validated call. Raises TritonError if the batcher refuses it."""
        at_once = threading.get_ident() != call.thread
        with self._lock:
            self._add(call)
            self._arm()
            dropped = self._dropped()
            if at_once:
                self._wake_ups.wake_all()
        if not (at_once or self._waking_soon):
            # once for all requests of one turn of the loop, as in `QueueScheduler`; this forms larger batches, too
            self._waking_soon = True
            asyncio.get_running_loop().call_soon(self._wake_instances)
        _refuse(dropped)

    def _wake_instances(self) -> None:
        self._waking_soon = False
        with self._lock:
            self._wake_ups.wake_all()

    def _again(self, call: Call) -> None:
        """Queue a call again, because its model asked to execute it once more."""
        batcher = self._batcher
        assert isinstance(batcher, SequenceBatcher)  # noqa: S101  (only sequence batching reschedules)
        call.failures = ()
        self._count(call)
        call.restart()
        with self._lock:
            batcher.again(call, self._now())
            self.pending += 1

    def _work(self, instance: int) -> None:
        batch: list[Call] = []
        while True:
            now = self._now()
            wake = 0
            with self._lock:
                if batch:
                    self._batcher.done(instance, batch, now)
                    self._wake_ups.wake_all()
                batch = self._batcher.take(instance, now)
                dropped = self._dropped()
                self.pending -= sum(not call.padding for call in batch)
                self._arm()
                if not batch and not dropped:
                    if self._stopped and self.pending == 0:
                        break
                    wake = self._batcher.wake_ns(instance)
                    self._wake_ups.enter()
            if batch:
                _refuse(dropped)
                execute(self._executor, batch, instance)
            elif dropped:
                _refuse(dropped)
            else:
                patience = self._clock.patience
                self._wake_ups.sleep(
                    patience(max(0, wake - now) / 1e9, self._wake_instances) if wake else None
                )
        self._idle.release()

    def stop(self) -> None:
        """Execute what is queued, then release the executor. Blocks."""
        with self._lock:
            self._stopped = True
            self._wake_ups.wake_all()
        for _ in range(self._instances):
            self._idle.acquire()
        self._executor.finalize()


class InlineBatches(_Batches):
    """For executors that never block: a batch runs on the event loop as soon as it is formed."""

    any_thread = False

    def __init__(self, executor: Executor, batcher: Batcher, clock: Clock) -> None:
        super().__init__(executor, batcher, clock)
        self._waking = 0

    def submit(self, call: Call) -> None:
        """Queue a validated call. Raises TritonError if the batcher refuses it."""
        self._add(call)
        self._run()

    def _tick(self) -> None:
        super()._tick()
        self._run()

    def _run(self) -> None:
        while batch := self._batcher.take(0, self._now()):
            self.pending -= sum(not call.padding for call in batch)
            execute(self._executor, batch, 0)
            self._batcher.done(0, batch, self._now())
        _refuse(self._dropped())
        self._arm()
        wake = self._batcher.wake_ns(0)
        if wake and not 0 < self._waking <= wake:
            self._waking = wake
            self._clock.later(max(0, wake - self._now()) / 1e9, self._wake)

    def _wake(self) -> None:
        self._waking = 0
        self._run()

    def stop(self) -> None:
        """Release the executor."""
        self._stopped = True
        self._executor.finalize()


def _refuse(dropped: Sequence[tuple[Call, TritonError]]) -> None:
    for call, error in dropped:
        refuse(call, error)
