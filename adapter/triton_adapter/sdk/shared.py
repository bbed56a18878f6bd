"""What the functions share: one blocking client per process, one asynchronous client per event loop."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

from triton_adapter.client import AsyncClient, Client

_lock = threading.Lock()
_shared: list[Client] = []
_per_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[AsyncClient, Any]]" = (
    weakref.WeakKeyDictionary()
)


def shared_client() -> Client:
    """Return the process's client; it is closed when the program ends."""
    with _lock:
        if not _shared:
            import atexit

            _shared.append(Client())
            atexit.register(_shared[0].close)
        return _shared[0]


async def shared_async_client() -> AsyncClient:
    """Return the running event loop's client; it is closed when the loop ends."""
    loop = asyncio.get_running_loop()
    found = _per_loop.get(loop)
    if found is None:
        client = AsyncClient()
        keeper = _keeper(client)
        await anext(keeper)
        found = _per_loop[loop] = (client, keeper)
    return found[0]


async def _keeper(client: AsyncClient) -> AsyncIterator[None]:
    # asyncio.run() closes the asynchronous generators that are still open: this one closes the client then.
    try:
        yield
    finally:
        await client.close()
