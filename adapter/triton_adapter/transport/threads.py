"""The synchronous transport: httpx, driven by the caller's thread; requests side by side go to a thread pool."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

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

SIDE_BY_SIDE = 8
CONNECT_TIMEOUT = 10.0


class Source:
    """An open stream: iterate for its bytes, close to leave it (Triton then cancels the request)."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._response.iter_bytes()
        except httpx.HTTPError as error:
            raise translated(error, begun=True) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._response.close()


class ThreadTransport:
    """Drives steps with a pool of connections. Safe to share between threads."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx.Client(limits=limits, follow_redirects=False, trust_env=False)
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, steps: Steps) -> Any:
        """Drive steps to their result."""
        try:
            effect = next(steps)
            while True:
                try:
                    result = self._perform(effect)
                except AdapterError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(result)
        except StopIteration as done:
            return done.value

    def chunks(self, flow: Flow) -> Iterator[dict[str, Any]]:
        """Yield a streamed answer's chunks; the lanes are read one after the other."""
        for lane, pieces in zip(flow.lanes, flow.whole, strict=False):
            yield from flow.take(lane, pieces)
            yield from flow.end(lane)
        for lane, opening in zip(flow.lanes, flow.openings, strict=False):
            source = self.run(opening).source
            cut = False
            try:
                for data in source:
                    yield from flow.feed(lane, data)
                    if flow.error is not None:
                        raise flow.error
                    if cut := flow.satisfied(lane):
                        break
                yield from flow.end(lane, cut=cut)
            finally:
                source.close()
        yield from flow.close()

    def _perform(self, effect: Any) -> Any:
        if isinstance(effect, Wire):
            return self._send(effect)
        if isinstance(effect, Together):
            if self._pool is None:
                self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="triton-adapter")
            return list(self._pool.map(self.run, effect.steps))
        if isinstance(effect, Sleep):
            return time.sleep(effect.seconds)
        raise TypeError(effect)

    def _send(self, wire: Wire) -> Reply:
        limit = wire.silence if wire.stream else wire.timeout
        deadline = time.monotonic() + wire.timeout if wire.timeout else None
        timeout = httpx.Timeout(limit, connect=min(limit, CONNECT_TIMEOUT) if limit else CONNECT_TIMEOUT)
        try:
            request = self._client.build_request(
                wire.method, wire.url, content=wire.body, headers=dict(wire.headers), timeout=timeout
            )
            response = self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise translated(error, begun=False) from error
        if wire.stream and response.status_code == 200:
            return Reply(response.status_code, response.headers, b"", Source(response))
        body = bytearray()
        try:
            for data in response.iter_bytes():
                body += data
                if deadline is not None and time.monotonic() > deadline:
                    raise APITimeoutError("Triton's answer took longer than the time allowed")
        except httpx.HTTPError as error:
            raise translated(error, begun=True) from error
        finally:
            response.close()
        return Reply(response.status_code, response.headers, bytes(body))


def translated(error: Exception, *, begun: bool) -> AdapterError:
    """Return the error of ours for one of httpx's; `begun` says that part of the answer had come."""
    if isinstance(error, httpx.ConnectTimeout):
        return ServiceUnavailableError("Triton cannot be reached in the time allowed")
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError("Triton did not answer in the time allowed")
    if isinstance(error, httpx.ConnectError):
        return ServiceUnavailableError("Triton cannot be reached", retry_after=1)
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError)):
        return BadRequestError("api_base or a header cannot be sent", param="api_base")
    if begun:
        return APIConnectionError("Triton's answer broke off")
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
        return BadGatewayError("the upstream does not speak HTTP as Triton does")
    return APIConnectionError("the connection to Triton broke", retryable=True)
