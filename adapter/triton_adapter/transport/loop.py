"""The asynchronous transport: aiohttp on the running event loop. The proxy's hot path."""

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import aiohttp
from yarl import URL

from triton_adapter.calls import Together
from triton_adapter.errors import (
    AdapterError,
    APIConnectionError,
    APITimeoutError,
    BadGatewayError,
    BadRequestError,
    ServiceUnavailableError,
)
from triton_adapter.flow import Flow
from triton_adapter.target import Steps
from triton_adapter.triton.replies import Reply, Sleep, Wire

SIDE_BY_SIDE = 16
CONNECT_TIMEOUT = 10.0
QUEUED = 16


class Source:
    """An open stream: iterate for its bytes, close to leave it (Triton then cancels the request)."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise translated(error, begun=True) from error

    def close(self) -> None:
        """Close the connection, unless the stream was read to its end. Idempotent."""
        self._response.close()


class LoopTransport:
    """Drives steps on one event loop with a pool of connections."""

    def __init__(self) -> None:
        # The pool's size is the caller's affair: every limit here would be a queue nobody sees.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "User-Agent"),
            headers={"User-Agent": "triton-adapter"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def run(self, steps: Steps) -> Any:
        """Drive steps to their result. Cancelling the task closes the connection in use."""
        try:
            effect = next(steps)
            while True:
                try:
                    result = await (self.send(effect) if isinstance(effect, Wire) else self._perform(effect))
                except AdapterError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(result)
        except StopIteration as done:
            return done.value
        finally:
            steps.close()

    async def batches(self, flow: Flow) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield a streamed answer's chunks, as many at a time as have come."""
        for lane, pieces in zip(flow.lanes, flow.whole, strict=False):
            yield [*flow.take(lane, pieces), *flow.end(lane)]
        if len(flow.openings) == 1:
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
            return
        if flow.openings:
            async for chunks in self._merged(flow):
                yield chunks
        if last := flow.close():
            yield last

    async def _merged(self, flow: Flow) -> AsyncIterator[list[dict[str, Any]]]:
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(QUEUED)
        done: set[int] = set()
        tasks = [
            asyncio.create_task(self._pump(at, opening, queue)) for at, opening in enumerate(flow.openings)
        ]
        try:
            left = len(tasks)
            while left:
                at, item = await queue.get()
                if at in done:
                    continue
                lane = flow.lanes[at]
                if isinstance(item, AdapterError):
                    raise item
                if item is None:
                    left -= 1
                    yield flow.end(lane)
                    continue
                if chunks := flow.feed(lane, item):
                    yield chunks
                if flow.error is not None:
                    raise flow.error
                if flow.satisfied(lane):  # the rest of it is not wanted
                    left -= 1
                    done.add(at)
                    tasks[at].cancel()
                    yield flow.end(lane, cut=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, at: int, opening: Steps, queue: "asyncio.Queue[Any]") -> None:
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
        places = asyncio.Semaphore(SIDE_BY_SIDE)

        async def placed(one: Steps) -> Any:
            async with places:
                return await self.run(one)

        tasks = [asyncio.create_task(placed(one)) for one in steps]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, wire: Wire) -> Reply:
        """Perform one request. An AdapterError if no whole answer came."""
        response = None
        try:
            response = await self._session.request(
                wire.method,
                _url(wire.url),
                data=wire.body,
                headers=wire.headers,
                timeout=_timeout(None if wire.stream else wire.timeout, wire.silence),
                allow_redirects=False,
            )
            if wire.stream and response.status == 200:
                return Reply(200, response.headers, b"", Source(response))
            # The response gives its connection back by itself once it is read.
            return Reply(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            if response is not None:
                response.close()
            raise translated(error, begun=response is not None) from error
        except asyncio.CancelledError:
            if response is not None:
                response.close()
            raise


@lru_cache(maxsize=1024)
def _url(text: str) -> URL:
    # Encoded: Triton does not decode percent signs, so what is asked for is what must be sent.
    return URL(text, encoded=True)


@lru_cache(maxsize=64)
def _timeout(total: float | None, silence: float | None) -> aiohttp.ClientTimeout:
    limit = min(CONNECT_TIMEOUT, total or silence or CONNECT_TIMEOUT)
    return aiohttp.ClientTimeout(total=total, sock_connect=limit, sock_read=silence)


def translated(error: Exception, *, begun: bool) -> AdapterError:
    """Return the error of ours for one of aiohttp's; `begun` says that part of the answer had come."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ServiceUnavailableError("Triton cannot be reached in the time allowed")
    if isinstance(error, TimeoutError):
        return APITimeoutError("Triton did not answer in the time allowed")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ServiceUnavailableError("Triton cannot be reached", retry_after=1)
    if isinstance(error, (aiohttp.InvalidURL, ValueError)):
        return BadRequestError("api_base or a header cannot be sent", param="api_base")
    if begun:
        return APIConnectionError("Triton's answer broke off")
    if isinstance(error, aiohttp.ClientResponseError):
        return BadGatewayError("the upstream does not speak HTTP as Triton does")
    return APIConnectionError("the connection to Triton broke", retryable=True)
