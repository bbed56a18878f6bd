"""The asynchronous transport: steps driven on the running event loop, over a pool of connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from triton_adapter.errors import AdapterError
from triton_adapter.generation.flow import Flow
from triton_adapter.steps import HttpReply, HttpRequest, Sleep, Steps, Together
from triton_adapter.transport.pool import Pool

# Requests of one call that are under way at a time.
CONCURRENT = 16
# Streams of one answer that are read at a time: as many as OpenAI lets a prompt have choices.
STREAMS = 128
# Packets of these streams that wait to be read by the caller.
QUEUED = 16
# Bytes of a body above which a reply is read in a thread. It takes long: up to half a second for each MiB.
LARGE = 1 << 18


class LoopTransport:
    """Drives steps on one event loop with a pool of connections. `send` performs one HTTP request."""

    def __init__(self) -> None:
        self._pool = Pool()
        self.send = self._pool.send

    def __repr__(self) -> str:
        return f"<LoopTransport {self._pool!r}>"

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def run(self, steps: Steps) -> Any:
        """Drive steps to their result. Cancelling the task closes the connection in use."""
        try:
            effect = next(steps)
            while True:
                try:
                    result = await (
                        self.send(effect) if isinstance(effect, HttpRequest) else self._perform(effect)
                    )
                except AdapterError as error:
                    effect = steps.throw(error)
                else:
                    if not _is_large(result):
                        effect = steps.send(result)
                        continue
                    effect, ended = await asyncio.to_thread(_resumed, steps, result)
                    if ended:
                        return effect
        except StopIteration as done:
            return done.value
        finally:
            with suppress(ValueError):  # the task was cancelled, and a thread is still in the steps
                steps.close()

    def batches(self, flow: Flow) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield a streamed answer's chunks, as many at a time as have come."""
        if len(flow.openings) == 1:
            return self._single(flow)
        return self._merged(flow) if flow.openings else _complete(flow)

    async def _single(self, flow: Flow) -> AsyncIterator[list[dict[str, Any]]]:
        """Read the one stream of an answer with one choice."""
        lane = flow.lanes[0]
        source = (await self.run(flow.openings[0])).source
        try:
            cut = False
            while data := await source.read():
                if chunks := flow.feed(lane, data):
                    yield chunks
                if flow.error is not None:
                    raise flow.error
                if cut := flow.satisfied(lane):
                    break
            yield [*flow.end(lane, cut=cut), *flow.close()]
        finally:
            source.close()

    async def _merged(self, flow: Flow) -> AsyncIterator[list[dict[str, Any]]]:
        """Read the streams of several choices side by side, each by a task of its own."""
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(QUEUED)
        slots = asyncio.Semaphore(STREAMS)
        tasks = [
            asyncio.create_task(self._pump(at, opening, queue, slots))
            for at, opening in enumerate(flow.openings)
        ]
        reading = set(range(len(tasks)))
        try:
            while reading:
                at, item = await queue.get()
                if at not in reading:
                    continue
                lane = flow.lanes[at]
                if isinstance(item, AdapterError):
                    raise item
                if item is None:
                    reading.discard(at)
                    yield flow.end(lane)
                    continue
                if chunks := flow.feed(lane, item):
                    yield chunks
                if flow.error is not None:
                    raise flow.error
                if flow.satisfied(lane):  # the rest of the stream is not wanted
                    reading.discard(at)
                    tasks[at].cancel()
                    yield flow.end(lane, cut=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if last := flow.close():
            yield last

    async def _pump(
        self, at: int, opening: Steps, queue: asyncio.Queue[tuple[int, Any]], slots: asyncio.Semaphore
    ) -> None:
        """Put a stream's bytes into the queue, then None at its end or the error that ended it."""
        async with slots:
            try:
                source = (await self.run(opening)).source
                try:
                    while data := await source.read():
                        await queue.put((at, data))
                finally:
                    source.close()
            except AdapterError as error:
                await queue.put((at, error))
            else:
                await queue.put((at, None))

    async def _perform(self, effect: Any) -> Any:
        if isinstance(effect, Together):
            return await self._together(effect.steps)
        if isinstance(effect, Sleep):
            return await asyncio.sleep(effect.seconds)
        raise TypeError(effect)

    async def _together(self, steps: list[Steps]) -> list[Any]:
        slots = asyncio.Semaphore(CONCURRENT)

        async def limited(one: Steps) -> Any:
            async with slots:
                return await self.run(one)

        tasks = [asyncio.create_task(limited(one)) for one in steps]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _is_large(result: Any) -> bool:
    """Tell whether reading a reply, or the replies of steps side by side, would hold up the loop's other tasks."""
    if isinstance(result, HttpReply):
        return len(result.body) > LARGE
    return isinstance(result, list) and sum(len(reply.body) for reply in result) > LARGE


def _resumed(steps: Steps, result: Any) -> tuple[Any, bool]:
    """Send a result to steps. Return what they ask for next, or, with True, their own result."""
    try:
        return steps.send(result), False
    except StopIteration as done:  # a future cannot hold it
        return done.value, True


async def _complete(flow: Flow) -> AsyncIterator[list[dict[str, Any]]]:
    """Give an answer that is here already, and may be large, in the form of a stream."""
    for lane, pieces in zip(flow.lanes, flow.whole, strict=False):
        chunks = await asyncio.to_thread(flow.take, lane, pieces)
        yield [*chunks, *flow.end(lane)]
    if last := flow.close():
        yield last
