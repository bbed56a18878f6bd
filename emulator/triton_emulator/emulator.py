"""The emulator inside a Python program: started in a thread, used through its URLs, stopped at the end of a `with`."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, Unpack

from triton_emulator.options import (
    EmulatorOptions,
    SessionOptions,
    check_emulator_options,
    check_session_options,
)
from triton_emulator.server import Address, Server, host_and_port, new_loop
from triton_emulator.settings import Settings

T = TypeVar("T")

#: What an emulator starts with where no option is given: the defaults of tritonserver, on free ports.
_DEFAULTS = Settings(http_port=0, grpc_port=0, metrics_port=0)


def _known(address: Address | None) -> str:
    if address is None:
        raise RuntimeError("the emulator is not started, or this listener is turned off")
    return host_and_port(address)


class Session:
    """Models, statistics, settings and shared memory of their own inside a running emulator.

    `Emulator.session` makes it. HTTP clients reach it at `http_url`, `tritonclient.http` too (without the `http://`).
    gRPC has no paths: a gRPC client calls the emulator's `grpc_url` and passes `grpc_headers` with each call. A session
    has no `grpc_url`, as a client that used it without the headers would silently reach the emulator's own models.
    """

    def __init__(self, emulator: "Emulator", identifier: str) -> None:
        self._emulator = emulator
        self.id = identifier

    def __repr__(self) -> str:
        server = self._emulator._server  # noqa: SLF001  (a session is a part of its emulator)
        if self.id not in server.sessions:
            return f"<Session {self.id} closed>"
        where = self.http_url if server.http_address else "with HTTP turned off"
        return f"<Session {self.id} open, {where}>"

    @property
    def http_url(self) -> str:
        """The HTTP address, `http://127.0.0.1:port/s/<id>`."""
        return f"{self._emulator.http_url}/s/{self.id}"

    @property
    def url(self) -> str:
        """The older name of `http_url`, kept for now."""
        return self.http_url

    @property
    def metrics_url(self) -> str:
        """The address of the session's metrics, `http://127.0.0.1:port/s/<id>/metrics`."""
        return f"{self._emulator.metrics_url.removesuffix('/metrics')}/s/{self.id}/metrics"

    @property
    def grpc_headers(self) -> dict[str, str]:
        """The metadata that sends a gRPC call to this session: the `headers` of `tritonclient.grpc`'s calls."""
        return {"triton-session": self.id}

    if not TYPE_CHECKING:  # a type checker already reports a name that is not there

        def __getattr__(self, name: str) -> NoReturn:
            text = f"'Session' object has no attribute {name!r}"
            if name == "grpc_url":
                text += ": call the emulator's grpc_url with this session's grpc_headers"
            raise AttributeError(text, name=name, obj=self)

    def close(self) -> None:
        """Unload the session's models. Closing twice, or after the emulator has stopped, is no error."""
        self._emulator.close_session(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Emulator:
    """A Triton on free ports of this machine.

        with Emulator("models") as triton:
            httpx.get(f"{triton.http_url}/v2/health/ready")

    `model_repository` is a folder, or several; without one, the built-in models are served. `options` are named as
    tritonserver's flags, with underscores; ports default to free ones. `EmulatorOptions` lists them with their types,
    `Settings` has their defaults. The guide to the pytest fixtures has a table of the options that have other names or
    types than their flags. Flags of tritonserver that set nothing here are no options.

    Raises TypeError for an unknown option. `start` raises PortInUse if a port is taken, SettingsError if an
    `emulator.yaml` cannot be used, StartupError if a model does not load, and TritonError or ValueError if an option's
    value cannot be used.
    """

    def __init__(self, *model_repository: str | Path, **options: Unpack[EmulatorOptions]) -> None:
        check_emulator_options(options)
        paths = tuple(str(path) for path in model_repository)
        self.settings = replace(_DEFAULTS, model_repositories=paths, **options)
        self._server = Server(self.settings)
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Emulator {self._server.summary}>"

    @property
    def http_url(self) -> str:
        """The HTTP address, `http://127.0.0.1:port`; after `stop` the one that the emulator had.

        Raises RuntimeError before the first start, and if HTTP is turned off.
        """
        return f"http://{_known(self._server.http_address)}"

    @property
    def url(self) -> str:
        """The older name of `http_url`, kept for now."""
        return self.http_url

    @property
    def grpc_url(self) -> str:
        """The gRPC address as `tritonclient.grpc` takes it, `127.0.0.1:port`.

        A call reaches the emulator's own models, or those of the session whose `grpc_headers` it carries. Raises
        RuntimeError as `http_url` does, and if gRPC cannot be served because grpcio is not installed.
        """
        return _known(self._server.grpc_address)

    @property
    def metrics_url(self) -> str:
        """The address of the metrics, `http://127.0.0.1:port/metrics`.

        Raises RuntimeError as `http_url` does.
        """
        return f"http://{_known(self._server.metrics_address)}/metrics"

    def start(self) -> Self:
        """Start, and return when every model is loaded and the server answers. It can be started again after `stop`."""
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
        """Finish the requests in flight, unload the models, end the thread. Stopping twice is no error."""
        if self._thread is not None:
            try:
                self._run(self._server.close())
            finally:
                self._end()

    def session(self, *model_repository: str | Path, **options: Unpack[SessionOptions]) -> Session:
        """Open a session with models of its own; without arguments, with a fresh copy of this emulator's.

        Raises TypeError for an unknown option, ValueError for one that all sessions share (a port, for example), and
        what `start` raises if the models do not load.
        """
        check_session_options(options)
        paths = tuple(str(path) for path in model_repository) or self.settings.model_repositories
        settings = replace(self.settings, model_repositories=paths, **options)
        return Session(self, self._run(self._server.open_session(settings)))

    def close_session(self, identifier: str) -> None:
        """Close a session by its id. One that is closed already is no error."""
        if self._thread is not None:  # else it was closed with the emulator
            self._run(self._server.close_session(identifier))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the emulator's event loop and wait for what it returns or raises."""
        if self._thread is None:
            work.close()
            raise RuntimeError("the emulator is not started")
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not future.done():  # a wait without a timeout would miss a Ctrl-C that comes just before it
            concurrent.futures.wait((future,), timeout=0.5)
        return future.result()

    def _end(self) -> None:
        """End the thread and close its event loop."""
        thread, self._thread = self._thread, None
        self._loop.call_soon_threadsafe(self._loop.stop)
        if thread is not None:
            thread.join()
        if left := asyncio.all_tasks(self._loop):  # of a start that was interrupted
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
