"""Runs what a batcher forms: on the instances' own threads, or at once on the event loop."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic_ns
from typing import Protocol

from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import Executor, ThreadedExecutor
from triton_emulator.engine.schedulers.plain import Later, execute, refuse
from triton_emulator.engine.schedulers.sequence import SequenceBatcher
from triton_emulator.protocol.errors import TritonError

#: Counts an execution of a request that its model will see again; called on any thread.
Count = Callable[[Call], None]


class Batcher(Protocol):
    """Decides which requests run together on which instance, and when. It is told the time and never waits.

    Times are nanoseconds of a steady clock. `dropped` collects the requests that will not run, for the caller to take.
    """

    dropped: list[tuple[Call, TritonError]]

    @property
    def tick_ns(self) -> int:
        """When `tick` wants to be called, 0 for never."""

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises TritonError where it may not run at all."""

    def take(self, instance: int, now: int) -> list[Call]:
        """The next batch of an instance that is free, empty where there is none now."""

    def wake_ns(self, instance: int) -> int:
        """When `take` may have something although nothing has happened, 0 for never."""

    def done(self, instance: int, calls: list[Call], now: int) -> None:
        """A batch has run."""

    def tick(self, now: int) -> None:
        """Time has passed."""


class _Bell:
    """Wakes threads that wait for news. `lock` guards it; a condition variable does the same at ten times the price."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._sleepers = 0
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake all; to be called with the lock held."""
        for _ in range(self._sleepers):
            self._rings.put(None)
        self._sleepers = 0

    def enter(self) -> None:
        """Say that this thread is going to sleep; to be called with the lock held."""
        self._sleepers += 1

    def sleep(self, seconds: float | None) -> None:
        """Wait for the next ring, or for so long; to be called without the lock, after `enter`."""
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            with self._lock:
                if self._sleepers:
                    self._sleepers -= 1
                    return
            self._rings.get()  # it has rung meanwhile, for this thread too


class _Batches:
    """What both ways share: the batcher, what it drops, and its clock."""

    def __init__(self, executor: Executor, batcher: Batcher, later: Later) -> None:
        self._executor = executor
        self._batcher = batcher
        self._later = later
        self._lock = threading.Lock()
        self._bell = _Bell(self._lock)
        self._ticking = 0
        self._stopped = False
        #: how many calls wait for an instance
        self.pending = 0

    def _add(self, call: Call) -> None:
        """To be called with the lock held, as the other two."""
        self._batcher.add(call, monotonic_ns())
        self.pending += 1
        self._arm()

    def _dropped(self) -> Sequence[tuple[Call, TritonError]]:
        if not self._batcher.dropped:
            return ()
        dropped = self._batcher.dropped[:]
        self._batcher.dropped.clear()
        self.pending -= len(dropped)
        return dropped

    def _arm(self) -> None:
        """See to it that the batcher is told when the time has come that it waits for."""
        due = self._batcher.tick_ns
        if due and (self.pending or not self._stopped) and not 0 < self._ticking <= due:
            self._ticking = due
            self._later(max(0, due - monotonic_ns()) / 1e9 + 0.001, self._tick)

    def _tick(self) -> None:
        with self._lock:
            self._ticking = 0
            self._batcher.tick(monotonic_ns())
            dropped = self._dropped()
            self._arm()
            self._bell.ring()
        _refuse(dropped)


class ThreadedBatches(_Batches):
    """One batcher for the model; each instance takes its batches on its own thread."""

    any_thread = True

    def __init__(self, executor: ThreadedExecutor, batcher: Batcher, later: Later, count: Count) -> None:
        super().__init__(executor, batcher, later)
        self._count = count
        #: whether the loop will ring at the end of its turn
        self._ringing = False
        self._idle = threading.Semaphore(0)
        self._instances = executor.instances
        if isinstance(batcher, SequenceBatcher):
            executor.on_reschedule(self._again)
        for instance in range(self._instances):
            executor.start_worker(instance, partial(self._work, instance))

    def submit(self, call: Call) -> None:
        """Raises TritonError where the batcher does not take it."""
        at_once = threading.get_ident() != call.thread
        with self._lock:
            self._add(call)
            dropped = self._dropped()
            if at_once:
                self._bell.ring()
        if not (at_once or self._ringing):
            # once for all the requests of a turn of the loop, as in `QueueScheduler`: they make larger batches, too
            self._ringing = True
            asyncio.get_running_loop().call_soon(self._ring)
        _refuse(dropped)

    def _ring(self) -> None:
        self._ringing = False
        with self._lock:
            self._bell.ring()

    def _again(self, call: Call) -> None:
        """Queue a call once more that its model wants to see again."""
        batcher = self._batcher
        assert isinstance(batcher, SequenceBatcher)  # noqa: S101  (no other asks for it)
        call.failures = ()
        self._count(call)
        call.restart()
        with self._lock:
            batcher.again(call, monotonic_ns())
            self.pending += 1

    def _work(self, instance: int) -> None:
        batch: list[Call] = []
        while True:
            now = monotonic_ns()
            wake = 0
            with self._lock:
                if batch:
                    self._batcher.done(instance, batch, now)
                    self._bell.ring()
                batch = self._batcher.take(instance, now)
                dropped = self._dropped()
                self.pending -= sum(not call.padding for call in batch)
                self._arm()
                if not batch and not dropped:
                    if self._stopped and self.pending == 0:
                        break
                    wake = self._batcher.wake_ns(instance)
                    self._bell.enter()
            if batch:
                _refuse(dropped)
                execute(self._executor, batch, instance)
            elif dropped:
                _refuse(dropped)
            else:
                self._bell.sleep(max(0, wake - now) / 1e9 if wake else None)
        self._idle.release()

    def stop(self) -> None:
        """Finish what is queued, then release the executor."""
        with self._lock:
            self._stopped = True
            self._bell.ring()
        for _ in range(self._instances):
            self._idle.acquire()
        self._executor.finalize()


class InlineBatches(_Batches):
    """For executors that never block: a batch runs as soon as it is there, on the event loop."""

    any_thread = False

    def __init__(self, executor: Executor, batcher: Batcher, later: Later) -> None:
        super().__init__(executor, batcher, later)
        self._waking = 0

    def submit(self, call: Call) -> None:
        """Raises TritonError where the batcher does not take it."""
        self._add(call)
        self._run()

    def _tick(self) -> None:
        super()._tick()
        self._run()

    def _run(self) -> None:
        while batch := self._batcher.take(0, monotonic_ns()):
            self.pending -= sum(not call.padding for call in batch)
            execute(self._executor, batch, 0)
            self._batcher.done(0, batch, monotonic_ns())
        _refuse(self._dropped())
        self._arm()
        wake = self._batcher.wake_ns(0)
        if wake and not 0 < self._waking <= wake:
            self._waking = wake
            self._later(max(0, wake - monotonic_ns()) / 1e9, self._wake)

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
