"""How requests reach a model's instances: at once on the event loop, or through a queue to a thread per instance."""

import threading
from functools import partial
from queue import SimpleQueue
from time import time_ns
from typing import Protocol

from triton_emulator.engine.model import Call, Executor, ThreadedExecutor
from triton_emulator.engine.validation import incomplete_string
from triton_emulator.protocol.errors import TritonError, internal
from triton_emulator.protocol.messages import InferResponse


class Scheduler(Protocol):
    """Takes calls for one model version and sees to it that each is executed once."""

    def submit(self, call: Call) -> None:
        """Queue a validated call; its responses come through `call.respond`."""

    @property
    def pending(self) -> int:
        """How many calls wait for an instance."""

    def stop(self) -> None:
        """Finish what is queued, then release the executor; returns when that is done. Never on the event loop."""


def scheduler_for(executor: Executor) -> Scheduler:
    return QueueScheduler(executor) if isinstance(executor, ThreadedExecutor) else InlineScheduler(executor)


def _execute(executor: Executor, call: Call, instance: int) -> None:
    call.compute_start_ns = time_ns()
    call.execution = call.batch_size
    for tensor in call.request.inputs:
        if tensor.datatype == "BYTES" and (error := incomplete_string(tensor)) is not None:
            _refuse(call, error)
            return
    try:
        executor.execute([call], instance)
    except Exception as fault:  # noqa: BLE001  (a backend's own fault must answer the request, not end the thread)
        _refuse(call, internal(f"{type(fault).__name__}: {fault}"))


def _refuse(call: Call, error: TritonError) -> None:
    call.failed = True
    request = call.request
    call.respond(InferResponse(request.model_name, str(call.version), request.id, error=error), final=True)


class InlineScheduler:
    """Executes on the spot, for executors that never block."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, call: Call) -> None:
        _execute(self._executor, call, 0)

    @property
    def pending(self) -> int:
        return 0

    def stop(self) -> None:
        self._executor.finalize()


class QueueScheduler:
    """One queue for the model; each instance takes from it in order of arrival, on its own thread."""

    def __init__(self, executor: ThreadedExecutor) -> None:
        self._executor = executor
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        for instance in range(executor.instances):
            executor.start_worker(instance, partial(self._work, instance))

    def submit(self, call: Call) -> None:
        self._queue.put(call)

    @property
    def pending(self) -> int:
        return self._queue.qsize()

    def _work(self, instance: int) -> None:
        take = self._queue.get
        while (call := take()) is not None:
            _execute(self._executor, call, instance)
        self._idle.release()

    def stop(self) -> None:
        for _ in range(self._executor.instances):
            self._queue.put(None)
        for _ in range(self._executor.instances):
            self._idle.acquire()
        self._executor.finalize()
