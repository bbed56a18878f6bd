"""Work that may take for ever, such as loading a model, beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


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
