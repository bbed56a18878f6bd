"""The two clients: `Client` blocks, `AsyncClient` awaits. Both keep connections.

Their methods take an OpenAI body as a dictionary and return dictionaries; the proxy is built on them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from triton_adapter.call import Call, labelled
from triton_adapter.embeddings.embedding import embedding
from triton_adapter.errors import AdapterError
from triton_adapter.generation.completion import chat, completion
from triton_adapter.generation.flow import Flow
from triton_adapter.steps import HttpReply, HttpRequest
from triton_adapter.target import Target

if TYPE_CHECKING:
    from triton_adapter.transport.threads import ThreadTransport

Json = dict[str, Any]


class Chunks:
    """A streamed answer: iterate for its chunks. `close` cancels it, read or unread."""

    def __init__(self, flow: Flow, transport: "ThreadTransport") -> None:
        self._flow = flow
        self._chunks = transport.chunks(flow)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Json:
        try:
            return next(self._chunks)
        except AdapterError as error:
            raise labelled(error, self._flow.request_id, self._flow.target)  # noqa: B904 - the same error

    def close(self) -> None:
        """Close the upstream connections. Idempotent; another thread that waits for a chunk gets an AdapterError."""
        for source in self._flow.opened:
            source.leave()
        with suppress(ValueError):  # another thread is waiting in it
            self._chunks.close()  # type: ignore[attr-defined]  # a generator

    __del__ = close


class AsyncChunks:
    """A streamed answer: iterate for lists of chunks, as many as have come. `aclose` cancels it, read or unread."""

    def __init__(self, flow: Flow, batches: AsyncIterator[list[Json]]) -> None:
        self._flow = flow
        self._batches = batches

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Json]:
        try:
            return await anext(self._batches)
        except AdapterError as error:
            raise labelled(error, self._flow.request_id, self._flow.target)  # noqa: B904 - the same error

    def usage(self) -> Json:
        """Return the usage object of what has been answered so far."""
        return self._flow.answer.usage()

    async def aclose(self) -> None:
        """Close the upstream connections. Idempotent; another task that waits for chunks gets an AdapterError."""
        for source in self._flow.opened:
            source.close()
        with suppress(RuntimeError):  # another task is waiting in it
            await self._batches.aclose()  # type: ignore[attr-defined]  # a generator

    def __del__(self) -> None:
        for source in self._flow.opened:
            source.leave()


class Client:
    """A pool of connections for blocking calls. Safe to share between threads; close it, or use it in `with`."""

    def __init__(self) -> None:
        from triton_adapter.transport.threads import ThreadTransport

        self._transport = ThreadTransport()

    def chat(self, target: Target, body: Mapping[str, Any], call: Call) -> Json | Chunks:
        """Return a `chat.completion`, or an iterator of chunks if the body says `stream`."""
        return self._shown(self._transport.run(chat(target, body, call)))

    def completion(self, target: Target, body: Mapping[str, Any], call: Call) -> Json | Chunks:
        """Return a `text_completion`, or an iterator of chunks if the body says `stream`."""
        return self._shown(self._transport.run(completion(target, body, call)))

    def embedding(self, target: Target, body: Mapping[str, Any], call: Call) -> Json:
        """Return a list of embeddings."""
        reply: Json = self._transport.run(embedding(target, body, call))
        return reply

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def _shown(self, result: Any) -> Json | Chunks:
        return Chunks(result, self._transport) if isinstance(result, Flow) else result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """A pool of connections on the running event loop; close it, or use it in `async with`."""

    def __init__(self) -> None:
        from triton_adapter.transport.loop import LoopTransport

        self._transport = LoopTransport()

    async def chat(self, target: Target, body: Mapping[str, Any], call: Call) -> Json | AsyncChunks:
        """Return a `chat.completion`, or an iterator of lists of chunks if the body says `stream`.

        An AdapterError is raised here until the answer has begun, by the iterator afterwards. Closing the iterator, or
        cancelling the task, closes the upstream connection.
        """
        return self._shown(await self._transport.run(chat(target, body, call)))

    async def completion(self, target: Target, body: Mapping[str, Any], call: Call) -> Json | AsyncChunks:
        """Return a `text_completion`, or an iterator of lists of chunks if the body says `stream`."""
        return self._shown(await self._transport.run(completion(target, body, call)))

    async def embedding(self, target: Target, body: Mapping[str, Any], call: Call) -> Json:
        """Return a list of embeddings."""
        reply: Json = await self._transport.run(embedding(target, body, call))
        return reply

    async def fetch(self, wire: HttpRequest) -> HttpReply:
        """Send one request over the same connections (readiness, repository). No status is an error."""
        return await self._transport.send(wire)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    def _shown(self, result: Any) -> Json | AsyncChunks:
        return AsyncChunks(result, self._transport.batches(result)) if isinstance(result, Flow) else result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
