"""How requests reach a model's instances: at once on the event loop, or through a queue to a thread per instance.

What batches and sequences need besides is in `schedulers`.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import time_ns
from typing import Protocol

from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import Executor, ThreadedExecutor
from triton_emulator.engine.validation import incomplete_string, wrong_string_count
from triton_emulator.protocol.errors import Code, TritonError, internal
from triton_emulator.protocol.messages import InferResponse

#: Calls a function on the event loop after so many seconds; may be called on any thread.
Later = Callable[[float, Callable[[], None]], None]


class Scheduler(Protocol):
    """Takes calls for one model version and sees to it that each is executed once."""

    #: whether `submit` may be called on any thread; else on the event loop alone
    @property
    def any_thread(self) -> bool: ...

    def submit(self, call: Call) -> None:
        """Queue a validated call; its responses come through `call.respond`. Raises TritonError where it is refused."""

    @property
    def pending(self) -> int:
        """How many calls wait for an instance."""

    def stop(self) -> None:
        """Finish what is queued, then release the executor; returns when that is done. Never on the event loop."""


def execute(executor: Executor, calls: Sequence[Call], instance: int) -> None:
    """Run a batch on an instance; whatever happens, every call is answered or will be."""
    now = time_ns()
    size = 0
    counted: Call | None = None
    running: list[Call] = []
    for call in calls:
        call.times.started(now)
        call.execution = 0
        size += call.batch_size
        if counted is None and not call.padding:
            counted = call
        if (error := _broken_string(call)) is None:
            running.append(call)
        else:
            refuse(call, error, "BACKEND")
    if counted is not None:
        counted.execution = size if running else 0
    if not running:
        return
    try:
        executor.execute(running, instance)
    except Exception as fault:  # noqa: BLE001  (a backend's own fault must answer the request, not end the thread)
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
    """Answer a call with an error; it counts as a failure for `reason`."""
    if call.finished:
        return
    call.failed = True
    call.failures = (reason or ("CANCELED" if error.code is Code.CANCELLED else "REJECTED"),)
    request = call.request
    call.respond(InferResponse(request.model_name, str(call.version), request.id, error=error), final=True)


class InlineScheduler:
    """Executes on the spot, for executors that never block."""

    any_thread = False
    pending = 0

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, call: Call) -> None:
        execute(self._executor, (call,), 0)

    def stop(self) -> None:
        self._executor.finalize()


class QueueScheduler:
    """One queue for the model; each instance takes from it in order of arrival, on its own thread."""

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
        # An instance that is woken for each request fights the loop for the interpreter; one that is woken for all the
        # requests of a turn of the loop has it to itself.
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
