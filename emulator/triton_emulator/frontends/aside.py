"""What is kept off the event loop, which has other clients: loading models, large bodies."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from triton_emulator.protocol.messages import InferResponse

T = TypeVar("T")

#: bytes of a body, or of a tensor, that is read and written in a thread: JSON of that size takes a millisecond
LARGE = 1 << 16


async def aside(work: Callable[..., T], *arguments: Any) -> T:
    """What `work` returns or raises, from a daemon thread of its own.

    Unlike `asyncio.to_thread` it needs no place in a pool that slow loads may have filled, and neither the loop nor the
    process waits for one that never ends.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, fault: BaseException | None) -> None:
        if done.cancelled():
            return
        if fault is not None:
            done.set_exception(fault)
        else:
            done.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, fault = None, None
        try:
            value = work(*arguments)
        except BaseException as raised:  # noqa: BLE001  (raised again where it is awaited)
            fault = raised
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, value, fault)

    threading.Thread(target=run, name=getattr(work, "__name__", "aside"), daemon=True).start()
    return await done


def is_large(response: InferResponse | None) -> bool:
    """Whether a response is better made into bytes in a thread."""
    if response is not None:
        for tensor in response.outputs:
            # texts that have no wire form yet are not to be given one for this
            size = tensor.byte_size if tensor.has_data or tensor.datatype != "BYTES" else tensor.array.size
            if size > LARGE:
                return True
    return False
