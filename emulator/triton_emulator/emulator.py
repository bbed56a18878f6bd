"""The emulator inside a Python program: started in a thread, used through its URLs, stopped at the end of a `with`."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from triton_emulator.server import Server, new_loop
from triton_emulator.settings import Settings

T = TypeVar("T")

#: How the names begin of the options of listeners and process, which all sessions share.
_SHARED = (
    "allow_",
    "exit_timeout",
    "grpc_address",
    "grpc_http2",
    "grpc_infer_response",
    "grpc_keepalive",
    "grpc_max",
    "grpc_port",
    "grpc_root",
    "grpc_server",
    "grpc_use",
    "http_address",
    "http_port",
    "metrics_address",
    "metrics_interval",
    "metrics_port",
    "reuse_",
)


def _url(address: tuple[str, int] | None) -> str:
    if address is None:
        raise RuntimeError("the emulator is not started, or this listener is turned off")
    host, port = address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Session:
    """A session of its own inside a running emulator: its models, its statistics, its shared memory.

    `url` is what clients take as the server's address (`tritonclient` too, without the scheme). gRPC has no paths: its
    clients take the emulator's `grpc_url`, and name the session in their `grpc_headers`.
    """

    def __init__(self, emulator: "Emulator", identifier: str) -> None:
        self._emulator = emulator
        self.id = identifier

    def __repr__(self) -> str:
        return f"<Session {self.url}>"

    @property
    def url(self) -> str:
        return f"{self._emulator.url}/s/{self.id}"

    @property
    def metrics_url(self) -> str:
        """The address of the session's metrics."""
        return f"{self._emulator.metrics_url.removesuffix('/metrics')}/s/{self.id}/metrics"

    @property
    def grpc_headers(self) -> dict[str, str]:
        """The metadata that sends a gRPC call to this session: the `headers` of `tritonclient.grpc`'s calls."""
        return {"triton-session": self.id}

    def close(self) -> None:
        self._emulator.close_session(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Emulator:
    """A Triton on free ports of this machine.

        with Emulator("models") as triton:
            httpx.get(f"{triton.url}/v2/health/ready")

    `model_repository` is a folder, several, or None for the built-in models. `options` are the fields of `Settings`,
    which are tritonserver's flags with underscores; ports default to free ones.
    Raises what `Server.start` raises: PortInUse, SettingsError, StartupError, TritonError.
    """

    def __init__(self, *model_repository: str | Path, **options: Any) -> None:
        options.setdefault("http_port", 0)
        options.setdefault("grpc_port", 0)
        options.setdefault("metrics_port", 0)
        paths = tuple(str(path) for path in model_repository)
        self.settings = Settings(**{"model_repositories": paths, **options})
        self._server = Server(self.settings)
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Emulator {self.url if self._thread else 'not started'}>"

    @property
    def url(self) -> str:
        """The HTTP address, `http://127.0.0.1:port`."""
        return _url(self._server.http_address)

    @property
    def grpc_url(self) -> str:
        """The gRPC address as `tritonclient.grpc` takes it, `127.0.0.1:port`."""
        return _url(self._server.grpc_address).removeprefix("http://")

    @property
    def metrics_url(self) -> str:
        """The address of the metrics, `http://127.0.0.1:port/metrics`."""
        return _url(self._server.metrics_address) + "/metrics"

    def start(self) -> Self:
        """Start and return once every model is loaded and the server answers. One that was stopped starts afresh."""
        if self._thread is not None:
            raise RuntimeError("the emulator is started already")
        self._loop = new_loop()
        self._server = Server(self.settings)
        self._thread = threading.Thread(target=self._loop.run_forever, name="triton-emulator", daemon=True)
        self._thread.start()
        try:
            self._run(self._server.start())
        except BaseException as fault:
            if not isinstance(fault, Exception):  # Ctrl-C, for one
                self._server.hurry()
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Finish the requests in flight, unload the models, end the thread. Doing it twice is no error."""
        if self._thread is not None:
            try:
                self._run(self._server.close())
            finally:
                self._end()

    def session(self, *model_repository: str | Path, **options: Any) -> Session:
        """Open a session with models of its own; with no arguments, with a fresh copy of this emulator's.

        Raises ValueError for an option of what all sessions share, and what `start` raises for models.
        """
        for name in options:
            if name.startswith(_SHARED):
                raise ValueError(f"{name} is an option of the whole emulator, not of a session")
        paths = tuple(str(path) for path in model_repository) or self.settings.model_repositories
        settings = replace(self.settings, **{"model_repositories": paths, **options})
        return Session(self, self._run(self._server.open_session(settings)))

    def close_session(self, identifier: str) -> None:
        if self._thread is not None:  # else it was closed with the emulator
            self._run(self._server.close_session(identifier))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._thread is None:
            work.close()
            raise RuntimeError("the emulator is not started")
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not future.done():  # in turns: a Ctrl-C that comes just before a wait is not seen by it
            concurrent.futures.wait((future,), timeout=0.5)
        return future.result()

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        self._loop.call_soon_threadsafe(self._loop.stop)
        if thread is not None:
            thread.join()
        if left := asyncio.all_tasks(self._loop):  # a start that was broken off
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
