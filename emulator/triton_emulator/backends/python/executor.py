"""Executes the requests of a loaded Python model: each of its instances has a thread of its own."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from triton_emulator.backends.python.readiness import Readiness
from triton_emulator.engine.call import Call
from triton_emulator.repository.config.model_config import ModelConfig


class ModelInstance(Protocol):
    """One instance of a model: an `Instance` in this process, or a `StubInstance` in a process of its own."""

    name: str
    #: takes a call that the model wants to execute again; None if the scheduler cannot do that
    reschedule: Callable[[Call], None] | None
    #: whether the model has an `is_ready` that readiness requests ask
    tells_readiness: bool

    @property
    def ended(self) -> bool:
        """Whether its process, or what the model takes for it, has ended."""

    def initialize(self, args: dict[str, str]) -> None: ...
    def auto_complete(self, config_json: Callable[[], str]) -> dict[str, Any] | None: ...
    def is_ready(self) -> bool: ...
    def execute(self, calls: Sequence[Call]) -> None: ...
    def finalize(self) -> None: ...
    def close(self) -> None: ...


class InstanceThread:
    """The thread that runs all code of one instance: import, `initialize`, `execute` and `finalize`.

    The real backend uses one thread too, and models keep what belongs to a thread (an event loop, a database
    connection).
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job`, which must not raise, after those submitted before."""
        self._jobs.put(job)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` on this thread and wait for what it returns or raises."""
        done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def job() -> None:
            try:
                done.put((function(), None))
            except BaseException as error:  # noqa: BLE001 (raised again below)
                done.put((None, error))

        self._jobs.put(job)
        value, error = done.get()
        if error is not None:
            raise error
        return value

    def stop(self) -> None:
        """End the thread after the jobs submitted before, and wait for its end. Not to be called on the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        # The real backend runs a model on the main thread of its process, where asyncio.get_event_loop() finds a loop.
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        while (job := self._jobs.get()) is not None:
            job()
        loop.close()


class PythonExecutor:
    """The engine's Executor for one version of a Python model."""

    def __init__(
        self,
        config: ModelConfig,
        instances: Sequence[ModelInstance],
        threads: Sequence[InstanceThread],
        *,
        checks_strings: bool = True,
        renew: Callable[[int], ModelInstance] | None = None,
    ) -> None:
        """`checks_strings`: whether the elements of BYTES tensors are checked before the model gets them.

        `renew` makes the instance of that number anew, once its model has ended its process; None leaves it as it is.
        """
        self.config = config
        self.checks_strings = checks_strings
        self._instances = list(instances)
        self._threads = threads
        self._readiness = [
            Readiness(instance.name, instance.is_ready) if instance.tells_readiness else None
            for instance in instances
        ]
        self._again: Callable[[Call], None] | None = None
        self._execute: list[Callable[[Sequence[Call]], None]] = [instance.execute for instance in instances]
        if renew is not None:
            self._execute = [
                partial(self._execute_renewed, renew, number) for number in range(len(self._instances))
            ]

    @property
    def instances(self) -> int:
        return len(self._instances)

    @property
    def healthy(self) -> bool:
        """Whether the processes of all instances are there, and all say that they are ready.

        It runs the model's code and may block, if the model has an `is_ready`.
        """
        return all(
            not instance.ended and (readiness is None or readiness.answer())
            for instance, readiness in zip(self._instances, self._readiness, strict=True)
        )

    @property
    def asks_model(self) -> bool:
        """Whether `healthy` runs the model's code."""
        return any(self._readiness)

    def start_worker(self, instance: int, loop: Callable[[], None]) -> None:
        """Run the scheduler's worker loop for an instance on that instance's thread."""
        self._threads[instance].submit(loop)

    def on_reschedule(self, again: Callable[[Call], None]) -> None:
        """Set what is called, on the instance's thread, with each request that the model wants to execute again."""
        self._again = again
        for instance in self._instances:
            instance.reschedule = again

    def _execute_renewed(
        self, renew: Callable[[int], ModelInstance], number: int, calls: Sequence[Call]
    ) -> None:
        if self._instances[number].ended:
            renewed = self._instances[number] = renew(number)
            renewed.reschedule = self._again
        self._instances[number].execute(calls)

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        """Run the calls on an instance, on the current thread."""
        self._execute[instance](calls)

    def finalize(self) -> None:
        """Finalise every instance on its own thread and end the threads. The worker loops must have returned."""
        for instance, thread in zip(self._instances, self._threads, strict=True):
            thread.call(instance.finalize)
            thread.stop()
