"""Runs slow work (loading models, large bodies) in a thread, so that other requests are not delayed."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.tensor import RemoteTensor

T = TypeVar("T")

#: bytes of a body, or of a tensor, that is read and written in a thread: JSON of that size takes a millisecond
LARGE = 1 << 16


async def run_in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Return or raise what `work` does, run in a daemon thread of its own.

    Unlike `asyncio.to_thread` it does not wait for a pool that slow loads may have filled, and neither the loop nor the
    process waits for work that never ends.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    outcome: list[tuple[Any, BaseException | None]] = []

    def settle(value: T | None, fault: BaseException | None) -> None:
        thread.join()  # the thread is at its end; after this the process no longer counts it
        if not done.cancelled():
            outcome.append((value, fault))
            done.set_result(None)

    def run() -> None:
        value, fault = None, None
        try:
            value = work(*arguments)
        except BaseException as raised:  # noqa: BLE001  (raised again where it is awaited)
            fault = raised
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, value, fault)
        # A fault refers to this frame and to the one that raises it below. If these referred to the fault as well, the
        # work's arguments, maybe a large body, would stay in memory until the next garbage collection.
        del fault

    thread = threading.Thread(target=run, name=getattr(work, "__name__", "run_in_thread"), daemon=True)
    thread.start()
    await done
    value, fault = outcome.pop()
    if fault is not None:
        try:
            raise fault
        finally:
            del fault
    answer: T = value
    return answer


async def run_by_size(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Return or raise what `work` does. Run it in a thread if `size` is larger than LARGE, otherwise directly.

    Code that every request runs compares with LARGE itself, because awaiting another coroutine costs 0.2 microseconds.
    """
    return await run_in_thread(work, *arguments) if size > LARGE else work(*arguments)


def is_large(response: InferResponse) -> bool:
    """Whether a response should be encoded in a thread."""
    for tensor in response.outputs:
        # strings are not encoded only to get their size
        size = tensor.byte_size if tensor.datatype != "BYTES" or tensor.has_data else tensor.array.size
        if size > LARGE:
            return True
    return False


def is_heavy(request: InferRequest) -> bool:
    """Whether a request should be prepared in a thread: it has many bytes in shared memory, or many strings."""
    return any(
        (tensor.datatype == "BYTES" or isinstance(tensor, RemoteTensor)) and tensor.byte_size > LARGE
        for tensor in request.inputs
        if tensor.has_data
    )
