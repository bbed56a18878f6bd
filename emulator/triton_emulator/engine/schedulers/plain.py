"""The schedulers without batching: execute at once on the event loop, or queue to one thread per instance.

Also what every scheduler uses: the `Scheduler` protocol, `execute` and `refuse`.
"""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import Executor, ThreadedExecutor
from triton_emulator.engine.validation import incomplete_string, wrong_string_count
from triton_emulator.protocol.errors import Code, TritonError, internal
from triton_emulator.protocol.messages import InferResponse


class Scheduler(Protocol):
    """Takes calls for one model version and executes each of them once."""

    #: whether `submit` may be called on any thread; else on the event loop alone
    @property
    def any_thread(self) -> bool: ...

    def submit(self, call: Call) -> None:
        """Queue a validated call; its responses arrive through `call.respond`. Raises TritonError if it is refused."""

    @property
    def pending(self) -> int:
        """Number of calls that wait for an instance."""

    def stop(self) -> None:
        """Execute what is queued, then release the executor. Blocks until done: never call it on the event loop."""


def execute(executor: Executor, calls: Sequence[Call], instance: int) -> None:
    """Run a batch on an instance. Every call gets an answer, also when the backend fails."""
    now = calls[0].now()
    size = 0
    counted: Call | None = None
    running: list[Call] = []
    unchecked = not getattr(executor, "checks_strings", True)
    for call in calls:
        call.times.started(now)
        call.execution = 0
        size += call.batch_size
        if counted is None and not call.padding:
            counted = call
        if unchecked or (error := _broken_string(call)) is None:
            running.append(call)
        else:
            refuse(call, error, "BACKEND")
    if counted is not None:
        counted.execution = size if running else 0
    if not running:
        return
    try:
        executor.execute(running, instance)
    except Exception as fault:  # noqa: BLE001  (a fault in a backend must answer the requests, not end the thread)
        for call in running:
            refuse(call, internal(f"{type(fault).__name__}: {fault}"), "BACKEND")


def _broken_string(call: Call) -> TritonError | None:
    for tensor in call.request.inputs:
        if tensor.datatype == "BYTES" and (error := incomplete_string(tensor)) is not None:
            return error
    for tensor in call.request.controls:
        if tensor.datatype == "BYTES" and (error := wrong_string_count(tensor)) is not None:
            return error
    return None


def refuse(call: Call, error: TritonError, reason: str = "") -> None:
    """Answer a call with an error. It counts as a failure for `reason` (by default by the error's code)."""
    if call.finished:
        return
    call.failed = True
    call.failures = (reason or ("CANCELED" if error.code is Code.CANCELLED else "REJECTED"),)
    request = call.request
    call.respond(InferResponse(request.model_name, str(call.version), request.id, error=error), final=True)


class InlineScheduler:
    """Executes each call at once, on the event loop, for executors that never block."""

    any_thread = False
    pending = 0

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, call: Call) -> None:
        execute(self._executor, (call,), 0)

    def stop(self) -> None:
        self._executor.finalize()


class QueueScheduler:
    """One queue for the model. Each instance takes calls from it in order of arrival, on its own thread."""

    any_thread = True

    def __init__(self, executor: ThreadedExecutor) -> None:
        self._executor = executor
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        self._gathered: list[Call] = []
        self._idle = threading.Semaphore(0)
        for instance in range(executor.instances):
            executor.start_worker(instance, partial(self._work, instance))

    def submit(self, call: Call) -> None:
        if threading.get_ident() != call.thread:
            self._queue.put(call)
            return
        # An instance woken for each request competes with the event loop for the interpreter lock. Woken once for all
        # requests of a turn of the loop, it has the lock to itself.
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._gathered.append(call)

    def _hand_over(self) -> None:
        calls, self._gathered = self._gathered, []
        for call in calls:
            self._queue.put(call)

    @property
    def pending(self) -> int:
        return self._queue.qsize() + len(self._gathered)

    def _work(self, instance: int) -> None:
        take = self._queue.get
        while (call := take()) is not None:
            execute(self._executor, (call,), instance)
        self._idle.release()

    def stop(self) -> None:
        for _ in range(self._executor.instances):
            self._queue.put(None)
        for _ in range(self._executor.instances):
            self._idle.acquire()
        self._executor.finalize()
