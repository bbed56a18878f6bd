"""NVIDIA's two HTTP clients with one interface, so that one test runs with both."""

import asyncio
from collections.abc import Callable
from typing import Any

import tritonclient.http
import tritonclient.http.aio

from triton_contract.targets import Target

Tensors = list[tuple[str, Any, bool]]


class AsyncioClient:
    """`tritonclient.http.aio` with blocking calls, each on its own event loop."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self._make(url))

    async def _make(self, url: str) -> Any:
        return tritonclient.http.aio.InferenceServerClient(url)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.loop.run_until_complete(method(*args, **kwargs))

        return call

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


def connect(kind: str, server: Target) -> Any:
    url = f"{server.http.host}:{server.http.port}"
    if kind == "asyncio":
        return AsyncioClient(url)
    return tritonclient.http.InferenceServerClient(url, concurrency=8)


def tensor(name: str, datatype: str, array: Any, *, binary: bool = True) -> Any:
    """An input with the elements of a numpy array."""
    made = tritonclient.http.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def output(name: str, *, binary: bool = True, classes: int = 0) -> Any:
    return tritonclient.http.InferRequestedOutput(name, binary_data=binary, class_count=classes)
