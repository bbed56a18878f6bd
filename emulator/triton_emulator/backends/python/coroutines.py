"""The event loop of a model whose `execute` is a coroutine: one per instance, on a thread of its own."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from typing import Any

_Coroutine = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]


class CoroutineThread:
    """An event loop in a thread; it starts with the first coroutine and runs until `stop`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, coroutine: _Coroutine) -> "Future[Any]":
        """Run a coroutine on the loop; the future gets its result.

        2.51: a coroutine that raises SystemExit or KeyboardInterrupt ends the loop, and its request is never answered.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            name = f"{self._name} loop"
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name=name, daemon=True)
            self._thread.start()
        outcome: Future[Any] = Future()
        asyncio.run_coroutine_threadsafe(_settle(coroutine, outcome), self._loop)
        return outcome

    def stop(self) -> None:
        """End the loop and its thread; coroutines that still run are cancelled."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def end_as_child(self) -> None:
        """In a process that a coroutine has forked: end it as soon as the coroutine waits or returns."""
        if self._loop is not None:
            self._loop.stop()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        process = os.getpid()
        asyncio.set_event_loop(loop)
        loop.run_forever()
        if os.getpid() != process:  # closing the loop would take the parent's descriptors from its selector
            os._exit(0)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _settle(coroutine: _Coroutine, outcome: "Future[Any]") -> None:
    try:
        # A generator counts as a coroutine too, but only a task can run it.
        outcome.set_result(await (asyncio.Task(coroutine) if isinstance(coroutine, Generator) else coroutine))
    except BaseException as error:  # noqa: BLE001  (raised again where the future is read)
        outcome.set_exception(error)
