"""What the functions return: a streamed reply to iterate over, blocking or not, and typed objects."""

from typing import Any, Generic, Self, TypeVar

from triton_adapter.call import Call
from triton_adapter.client import AsyncChunks, Chunks
from triton_adapter.openai.objects import ChatCompletion, Completion, EmbeddingReply, Record

Chunk = TypeVar("Chunk", bound=Record)
Whole = TypeVar("Whole", ChatCompletion, Completion, EmbeddingReply)


class Stream(Generic[Chunk]):
    """A streamed reply: iterate for its chunks; `close()` or leaving `with` early cancels the request upstream.

    `dropped_params` names the parameters that were left out because of `drop_params`.
    """

    def __init__(self, chunks: Chunks, kind: type[Chunk], dropped: list[str]) -> None:
        self._chunks = chunks
        self._kind = kind
        self.dropped_params = dropped

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        return self._kind.build(next(self._chunks))

    def close(self) -> None:
        """Close the upstream connection. Idempotent."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(Generic[Chunk]):
    """A streamed reply for `async for`; `await close()` or leaving `async with` early cancels it upstream.

    `dropped_params` names the parameters that were left out because of `drop_params`.
    """

    def __init__(self, batches: AsyncChunks, kind: type[Chunk], dropped: list[str]) -> None:
        self._batches = batches
        self._ready: list[dict[str, Any]] = []
        self._kind = kind
        self.dropped_params = dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ready:
            self._ready = (await anext(self._batches))[::-1]
        return self._kind.build(self._ready.pop())

    async def close(self) -> None:
        """Close the upstream connection. Idempotent."""
        await self._batches.aclose()

    aclose = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def built(kind: type[Whole], reply: dict[str, Any], call: Call) -> Whole:
    """Return a whole reply as its typed object."""
    made = kind.build(reply)
    made._dropped = call.dropped  # noqa: SLF001 - the field is ours
    return made
