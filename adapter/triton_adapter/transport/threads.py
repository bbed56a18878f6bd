"""The blocking transport: runs the asynchronous one on an event loop in its own thread, and waits for the results.

So blocking and asynchronous calls run the same code, and the streams of several choices are read side by side.
"""

import asyncio
import selectors
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from triton_adapter.errors import ServiceUnavailableError
from triton_adapter.generation.flow import Flow
from triton_adapter.steps import Steps
from triton_adapter.transport.loop import LoopTransport


class ThreadTransport:
    """Drives steps for callers that block. Threads may share it, and it works on both sides of a fork.

    The thread and its loop start with the first call, and again in a forked process, which does not inherit threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._loop: _LoopThread | None = None

    def __repr__(self) -> str:
        if self._closed:
            return "<ThreadTransport [CLOSED]>"
        loop = self._running()
        if loop is None:
            return "<ThreadTransport [NOT STARTED]>"
        return f"<ThreadTransport [RUNNING] {loop.transport!r}>"

    def run(self, steps: Steps) -> Any:
        """Drive steps to their result. An exception that interrupts the wait closes the connection in use."""
        loop = self._begun()
        return loop.wait(loop.transport.run(steps))

    def chunks(self, flow: Flow) -> Iterator[dict[str, Any]]:
        """Yield a streamed answer's chunks as they come."""
        loop = self._begun()
        batches = loop.transport.batches(flow)

        async def following() -> list[dict[str, Any]] | None:
            return await anext(batches, None)

        ended = False
        try:
            while (batch := loop.wait(following())) is not None:
                yield from batch
            ended = True
        finally:
            if not ended:
                with suppress(RuntimeError):  # the loop is closed
                    loop.submit(batches.aclose())  # type: ignore[attr-defined]  # a generator

    def close(self) -> None:
        """Close every connection. Calls that are under way raise an AdapterError or RuntimeError. Idempotent."""
        with self._lock:
            self._closed = True
            if self._loop is not None:
                self._loop.stop()

    def _running(self) -> "_LoopThread | None":
        loop = self._loop
        return loop if loop is not None and loop.is_running() else None

    def _begun(self) -> "_LoopThread":
        """The loop, which is started if it does not run. ServiceUnavailableError if there can be no event loop."""
        loop = self._running()
        if loop is not None:
            return loop
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            self._loop = self._running() or _LoopThread()
            return self._loop


class _LoopThread:
    """One event loop in a thread of its own, from its start to its end.

    Raises ServiceUnavailableError if no loop can be made.

    A loop that ends may leave work that it has never begun. So whoever waits for work is told of the end by `_awaited`.
    """

    def __init__(self) -> None:
        self.transport = LoopTransport()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        #: what callers wait for
        self._awaited: set[Future[Any]] = set()
        self._ended = False
        ready = threading.Event()
        # A daemon, so that a program can end without closing its client.
        self._thread = threading.Thread(target=self._main, args=(ready,), name="triton-adapter", daemon=True)
        self._thread.start()
        ready.wait()
        if self._loop is None:
            raise ServiceUnavailableError("no event loop could be made: too many open files?")

    def is_running(self) -> bool:
        """Whether it takes work. It does not after a fork, in the process that has been forked."""
        return self._thread.is_alive() and not self._ended

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return or raise what `work` does on the loop. RuntimeError if the loop ends before."""
        future = self.submit(work)
        self._awaited.add(future)
        if self._ended:  # looked at after the addition, which `_main` may have missed
            future.cancel()
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the client is closed") from None
        finally:
            future.cancel()
            self._awaited.discard(future)

    def submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Begin work on the loop. RuntimeError if the loop has ended."""
        if self._loop is not None and self.is_running():
            with suppress(RuntimeError):  # the loop is closed
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise RuntimeError("the client is closed")

    def stop(self) -> None:
        """Close the connections and end the thread. Idempotent."""
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _main(self, ready: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=_make_loop) as runner:
                runner.run(self._serve(ready))
        except OSError:
            ready.set()  # `__init__` finds no loop and raises
        finally:
            self._ended = True
            for future in list(self._awaited):
                future.cancel()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        ready.set()
        try:
            await self._stop.wait()
        finally:
            self._ended = True
            await self.transport.close()


def _make_loop() -> asyncio.AbstractEventLoop:
    # A forked process shares its parent's epoll object. Closing the copied loop there would remove the parent's sockets
    # from it, and the parent would hear nothing any more.
    selector = getattr(selectors, "PollSelector", selectors.DefaultSelector)
    return asyncio.SelectorEventLoop(selector())
