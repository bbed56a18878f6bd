"""The two clients: `Client` blocks, `AsyncClient` awaits. Both keep connections and what they learnt about models.

The low-level methods take an OpenAI body as a dict and give dicts: the proxy is built on them.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from triton_adapter import calls, embeddings
from triton_adapter.calls import Call
from triton_adapter.flow import Flow
from triton_adapter.target import Target

Json = dict[str, Any]


class Client:
    """A pool of connections for blocking calls. Safe to share between threads; close it, or use it in `with`."""

    def __init__(self) -> None:
        from triton_adapter.transport.threads import ThreadTransport

        self._transport = ThreadTransport()

    def chat(self, target: Target, body: Mapping[str, Any], call: Call) -> "Json | Iterator[Json]":
        """Return a `chat.completion`, or an iterator of chunks if the body says `stream`."""
        return self._shown(self._transport.run(calls.chat(target, body, call)))

    def completion(self, target: Target, body: Mapping[str, Any], call: Call) -> "Json | Iterator[Json]":
        """Return a `text_completion`, or an iterator of chunks if the body says `stream`."""
        return self._shown(self._transport.run(calls.completion(target, body, call)))

    def embedding(self, target: Target, body: Mapping[str, Any], call: Call) -> Json:
        """Return a list of embeddings."""
        reply: Json = self._transport.run(embeddings.embedding(target, body, call))
        return reply

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def _shown(self, result: Any) -> Any:
        return self._transport.chunks(result) if isinstance(result, Flow) else result

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

    async def chat(
        self, target: Target, body: Mapping[str, Any], call: Call
    ) -> "Json | AsyncIterator[list[Json]]":
        """Return a `chat.completion`, or an iterator of lists of chunks if the body says `stream`.

        An AdapterError is raised here while nothing has been answered, from the iterator afterwards. Closing the
        iterator, or cancelling the task, closes the upstream connection.
        """
        return self._shown(await self._transport.run(calls.chat(target, body, call)))

    async def completion(
        self, target: Target, body: Mapping[str, Any], call: Call
    ) -> "Json | AsyncIterator[list[Json]]":
        """Return a `text_completion`, or an iterator of lists of chunks if the body says `stream`."""
        return self._shown(await self._transport.run(calls.completion(target, body, call)))

    async def embedding(self, target: Target, body: Mapping[str, Any], call: Call) -> Json:
        """Return a list of embeddings."""
        reply: Json = await self._transport.run(embeddings.embedding(target, body, call))
        return reply

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    def _shown(self, result: Any) -> Any:
        return self._transport.batches(result) if isinstance(result, Flow) else result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
