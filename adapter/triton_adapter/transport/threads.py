"""The blocking transport: runs the asynchronous one on an event loop in its own thread, and waits for the results.

So blocking and asynchronous calls run the same code, and the streams of several choices are read side by side.
"""

import asyncio
import selectors
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
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
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._transport: LoopTransport
        self._stop: asyncio.Event
        # What callers wait for, and whether the loop is ending. A loop that ends may leave work that it never began.
        self._awaited: set[Future[Any]] = set()
        self._ended = False

    def __repr__(self) -> str:
        if self._closed:
            return "<ThreadTransport [CLOSED]>"
        if not self._running():
            return "<ThreadTransport [NOT STARTED]>"
        return f"<ThreadTransport [RUNNING] {self._transport!r}>"

    def run(self, steps: Steps) -> Any:
        """Drive steps to their result. An exception that interrupts the wait closes the connection in use."""
        self._begin()
        return self._wait(self._transport.run(steps))

    def chunks(self, flow: Flow) -> Iterator[dict[str, Any]]:
        """Yield a streamed answer's chunks as they come."""
        batches = self._transport.batches(flow)

        async def following() -> list[dict[str, Any]] | None:
            return await anext(batches, None)

        ended = False
        try:
            while (batch := self._wait(following())) is not None:
                yield from batch
            ended = True
        finally:
            if not ended:
                self._post(batches.aclose())  # type: ignore[attr-defined]  # a generator

    def close(self) -> None:
        """Close every connection. Calls that are under way raise an AdapterError or RuntimeError. Idempotent."""
        with self._lock:
            self._closed = True
            if self._thread is None or not self._thread.is_alive():
                return
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _begin(self) -> None:
        """Start the thread if it does not run. ServiceUnavailableError if there can be no event loop."""
        if self._running():
            return
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._running():
                return
            ready = threading.Event()
            self._transport = LoopTransport()
            self._awaited, self._ended = set(), False
            # A daemon, so that a program can end without closing its client.
            thread = threading.Thread(target=self._main, args=(ready,), name="triton-adapter", daemon=True)
            thread.start()
            ready.wait()
            if not hasattr(self, "_loop"):
                raise ServiceUnavailableError("no event loop could be made: too many open files?")
            self._thread = thread  # set last, because other threads read it without the lock

    def _main(self, ready: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=_make_loop) as runner:
                runner.run(self._serve(ready))
        except OSError:
            ready.set()  # `_begin` finds no loop and raises
        finally:
            self._ended = True
            for future in list(self._awaited):
                future.cancel()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        try:
            await self._stop.wait()
        finally:
            self._ended = True
            await self._transport.close()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        future = self._submit(work)
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

    def _submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        try:
            if not self._ended:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            pass
        work.close()
        raise RuntimeError("the client is closed")

    def _post(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()


def _make_loop() -> asyncio.AbstractEventLoop:
    # A forked process shares its parent's epoll object. Closing the copied loop there would remove the parent's sockets
    # from it, and the parent would hear nothing any more.
    selector = getattr(selectors, "PollSelector", selectors.DefaultSelector)
    return asyncio.SelectorEventLoop(selector())
