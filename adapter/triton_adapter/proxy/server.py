"""Serves the proxy: in the foreground for the command, in a thread for programs and tests."""

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

import uvicorn

from triton_adapter.proxy.app import Proxy
from triton_adapter.proxy.config.values import Config
from triton_adapter.proxy.protocol import Bounds, Protocol

# Seconds for which an idle connection is kept: longer than load balancers keep theirs.
KEEP_ALIVE = 75
# Seconds between two checks whether to stop.
TICK = 0.02
START_TIMEOUT = 60


def uvicorn_config(config: Config, app: Any, **options: Any) -> uvicorn.Config:
    """Return uvicorn's settings for a proxy."""
    return uvicorn.Config(
        app,
        http=partial(Protocol, bounds=Bounds(config.head_timeout, config.body_timeout, config.send_timeout)),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # its lines hold query strings, and those may hold keys
        server_header=False,
        proxy_headers=False,  # the client's address is not used
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
        **options,
    )


def serve(config: Config, host: str, port: int, ready: Callable[[str], None], **options: Any) -> None:
    """Serve until SIGINT or SIGTERM, then finish the running requests. OSError if the port cannot be used.

    `ready` is called with the address once requests are answered.
    """
    proxy = Proxy(config)
    try:
        listening = _listen(host, port)
    except OSError:
        proxy.store.close()
        raise
    url = _url(listening)
    if options.get("ssl_certfile"):
        url = url.replace("http:", "https:", 1)

    def begun() -> None:
        # What is loaded stays, so the garbage collector need not look at it while requests wait.
        gc.collect()
        gc.freeze()
        ready(url)

    server = _Server(uvicorn_config(config, proxy, **options), begun)

    def stop(signum: int, frame: object) -> None:
        # A second signal stops without waiting for running requests.
        server.force_exit = server.should_exit
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ProxyServer:
    """A proxy on a free port of this machine.

    with ProxyServer(read_file("config.yaml")) as proxy:
        OpenAI(base_url=proxy.http_url, api_key=...)
    """

    def __init__(self, config: Config, host: str = "127.0.0.1", port: int = 0) -> None:
        self.proxy = Proxy(config)
        self._ready = threading.Event()
        self._socket = _listen(host, port)
        self._url = _url(self._socket)
        self._server = _Server(uvicorn_config(config, self.proxy), self._ready.set)
        self._thread = threading.Thread(target=self._run, name="triton-proxy", daemon=True)

    def __repr__(self) -> str:
        if self._thread.is_alive():
            state = "RUNNING" if self._server.started else "STARTING"
        else:
            state = "NEW" if self._thread.ident is None else "STOPPED"
        return f"<ProxyServer {self._url} [{state}]>"

    @property
    def http_url(self) -> str:
        """The address, `http://127.0.0.1:port`."""
        return self._url

    @property
    def url(self) -> str:
        """The older name of `http_url`."""
        return self._url

    def start(self) -> Self:
        """Start, and return once requests are answered."""
        self._thread.start()
        self._ready.wait(START_TIMEOUT)
        if not self._server.started:
            raise RuntimeError("the proxy did not start")
        return self

    def stop(self) -> None:
        """Finish the running requests, then stop."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
        self._ready.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn without its pauses of 0.1 seconds, stopped by us and not by signals."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            await asyncio.sleep(TICK)
