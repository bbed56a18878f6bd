"""A stream that this session's own models answer, with the methods of a call of grpc.aio to a server."""

import asyncio
from typing import Any

import grpc

from triton_emulator.frontends.grpc.access import Gate
from triton_emulator.frontends.grpc.faults import Ended
from triton_emulator.frontends.grpc.stream import Stream, model_stream_infer
from triton_emulator.protocol.errors import GRPC_STATUS, TritonError
from triton_emulator.session.state import SessionState


class LocalContext:
    """What the service asks of the context of a call, without a connection."""

    def __init__(self, metadata: Any) -> None:
        self._metadata = metadata
        self.requests: asyncio.Queue[Any] = asyncio.Queue(64)
        self.responses: asyncio.Queue[Any] = asyncio.Queue(64)

    def invocation_metadata(self) -> Any:
        return self._metadata

    def peer(self) -> str:
        """Nobody."""
        return ""

    def time_remaining(self) -> float | None:
        """There is no deadline."""
        return None

    def disable_next_message_compression(self) -> None:
        """Nothing is compressed."""

    async def read(self) -> Any:
        return await self.requests.get()

    async def write(self, data: bytes) -> None:
        await self.responses.put(data)


class LocalCall:
    """One stream. It leaves nothing in the journal."""

    def __init__(self, gate: Gate, session: SessionState, metadata: Any) -> None:
        self._context = LocalContext(metadata)
        self._streams: set[Stream] = set()
        self._task = asyncio.create_task(self._serve(gate, session))

    async def _serve(self, gate: Gate, session: SessionState) -> None:
        try:
            error = await model_stream_infer(gate, session, self._context, self._streams, watched=False)
        except asyncio.CancelledError:
            raise  # nobody reads any more, so there may be no room for an end
        except BaseException:
            await self._context.responses.put(grpc.aio.EOF)
            raise
        await self._context.responses.put(grpc.aio.EOF)
        if error is not None:
            raise error

    async def write(self, data: bytes) -> None:
        await self._context.requests.put(data)

    async def done_writing(self) -> None:
        await self._context.requests.put(grpc.aio.EOF)

    async def read(self) -> Any:
        """The next response, EOF at the end. Raises Ended where the stream ends with an error."""
        data = await self._context.responses.get()
        if data is grpc.aio.EOF:
            try:
                await self._task
            except TritonError as error:
                raise Ended(GRPC_STATUS[error.code], error.message) from None
        return data

    async def wait_for_connection(self) -> None:
        """There is none."""

    async def initial_metadata(self) -> Any:
        return ()

    async def trailing_metadata(self) -> Any:
        return ()

    def done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self._task.cancel()
