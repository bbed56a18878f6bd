"""The emulator inside a Python program: started in a thread, used through its URLs, stopped at the end of a `with`."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from triton_emulator import control
from triton_emulator.harness.shadow import ShadowReport
from triton_emulator.harness.watched import Watched
from triton_emulator.options import (
    EmulatorOptions,
    SessionOptions,
    check_emulator_options,
    check_session_options,
    check_together,
    repository_path,
)
from triton_emulator.server import FINALIZE_SECONDS, Address, Server, State, host_and_port, new_loop, no_grpc
from triton_emulator.session.state import SessionState
from triton_emulator.settings import JOURNAL_REQUESTS, Settings

T = TypeVar("T")

#: What an emulator starts with where no option is given: the defaults of tritonserver, on free ports. A test that ends
#: does not wait for requests that it has left open.
_DEFAULTS = Settings(
    http_port=0, grpc_port=0, metrics_port=0, exit_timeout_secs=0, journal_requests=JOURNAL_REQUESTS
)


def _known(address: Address | None) -> str:
    if address is None:
        raise RuntimeError("the emulator is not started, or this listener is turned off")
    return host_and_port(address)


class Session(Watched):
    """Models, statistics, settings and shared memory of their own inside a running emulator.

    `Emulator.session` makes it. HTTP clients reach it at `http_url`, `tritonclient.http` too (without the `http://`),
    gRPC clients at `grpc_url`. It ends at the end of a `with`, or of an `async with`, or by `close`.
    """

    def __init__(self, emulator: "Emulator", identifier: str) -> None:
        self._emulator = emulator
        self.id = identifier
        self._state = emulator._server.sessions[identifier]  # noqa: SLF001  (a session is a part of its emulator)

    def __repr__(self) -> str:
        server = self._emulator._server  # noqa: SLF001  (a session is a part of its emulator)
        if self.id not in server.sessions:
            return f"<Session {self.id} closed>"
        where = self.http_url if server.http_address else "with HTTP turned off"
        return f"<Session {self.id} open, {where}>"

    @property
    def _watched_state(self) -> SessionState:
        return self._state

    @property
    def http_url(self) -> str:
        """The HTTP address, `http://127.0.0.1:port/s/<id>`."""
        return f"{self._emulator.http_url}/s/{self.id}"

    @property
    def url(self) -> str:
        """The older name of `http_url`, kept for now."""
        return self.http_url

    @property
    def grpc_url(self) -> str:
        """The gRPC address of this session alone, as `tritonclient.grpc` takes it, `127.0.0.1:port`.

        gRPC has no paths, so the session gets a port of its own when this is first asked. Raises RuntimeError if the
        session is closed, gRPC is turned off, or grpcio is not installed.
        """
        return host_and_port(self._emulator._open_grpc(self.id))  # noqa: SLF001  (a session is a part of its emulator)

    @property
    def metrics_url(self) -> str:
        """The address of the session's metrics, `http://127.0.0.1:port/s/<id>/metrics`."""
        return f"{self._emulator.metrics_url.removesuffix('/metrics')}/s/{self.id}/metrics"

    @property
    def grpc_headers(self) -> dict[str, str]:
        """The metadata that sends a call to the emulator's `grpc_url` to this session.

        It is what the calls of `tritonclient.grpc` take as `headers`. One channel can so reach many sessions.
        """
        return {"triton-session": self.id}

    @property
    def shadow_report(self) -> ShadowReport:
        """As `Emulator.shadow_report`, for the requests of this session. Raises RuntimeError after `close`."""
        return _report_of(self._emulator._server.sessions.get(self.id), self._emulator)  # noqa: SLF001

    def close(self) -> None:
        """End the session's requests and unload its models.

        Requests in flight are cut off, as by a server that is gone. Closing twice, or after the emulator has stopped,
        is no error.
        """
        self._emulator.close_session(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _to_its_end(asyncio.to_thread(self.close))


class Emulator(Watched):
    """A Triton on free ports of this machine.

        with Emulator("models") as triton:
            httpx.get(f"{triton.http_url}/v2/health/ready")

    `async with` starts and stops it without blocking the caller's event loop. A `with` works in a coroutine too, and
    blocks the loop meanwhile. The emulator runs on an event loop and in a thread of its own.

    `model_repository` is a folder, or several; without one, the built-in models are served. `options` are named as
    tritonserver's flags, with underscores; ports default to free ones. `EmulatorOptions` lists them with their types,
    `Settings` has their defaults. The guide to the pytest fixtures has a table of the options that have other names or
    types than their flags. Flags of tritonserver that set nothing here are no options.

    Raises TypeError for an unknown option and for a value of another type, ValueError for a word or a number that an
    option does not have, and for options that contradict each other. `start` raises PortInUse if a port is taken,
    SettingsError if an `emulator.yaml` cannot be used, StartupError if a model does not load, and TritonError if an
    option's value cannot be used, CassetteError for a cassette that cannot be recorded into or replayed.
    """

    #: what `session` returns
    _session_type: type[Session] = Session

    def __init__(
        self, *model_repository: str | Path, control: bool = False, **options: Unpack[EmulatorOptions]
    ) -> None:
        """`control` serves the control API on a free port, as `control_port=0` does."""
        if control:
            options.setdefault("control_port", 0)
        check_emulator_options(options)
        paths = tuple(map(repository_path, model_repository))
        self.settings = replace(_DEFAULTS, model_repositories=paths, **options)
        check_together(self.settings, options)
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
        server = self._server
        if server.grpc_address is None and server.state is State.SERVING:
            raise RuntimeError(no_grpc(self.settings))
        return _known(server.grpc_address)

    @property
    def metrics_url(self) -> str:
        """The address of the metrics, `http://127.0.0.1:port/metrics`.

        Raises RuntimeError as `http_url` does.
        """
        return f"http://{_known(self._server.metrics_address)}/metrics"

    @property
    def control_url(self) -> str:
        """The address of the control API, `http://127.0.0.1:port`.

        Raises RuntimeError as `http_url` does, and if the emulator has no control API.
        """
        server = self._server
        if server.control_address is None and server.state is State.SERVING:
            raise RuntimeError("the control API is off: write Emulator(control=True)")
        return f"http://{_known(server.control_address)}"

    @property
    def _watched_state(self) -> SessionState:
        root = self._server.root
        if root is None:
            raise RuntimeError("the emulator is not started")
        return root

    @property
    def shadow_report(self) -> ShadowReport:
        """Where this emulator's models answer otherwise than the server in front of which it stands (`shadow`).

        It waits for the comparisons of all requests that have come. After `stop` it is that of the end. Raises
        RuntimeError without the option `shadow`.
        """
        return _report_of(self._server.root, self)

    def start(self) -> Self:
        """Start, and return when every model is loaded and the server answers. It can be started again after `stop`."""
        if self._thread is not None:
            raise RuntimeError("the emulator is started already")
        self._loop = new_loop()
        self._server = Server(self.settings)
        self._thread = threading.Thread(
            target=_drive, args=(self._loop,), name="triton-emulator", daemon=True
        )
        self._thread.start()
        try:
            self._run(self._serve())
        except BaseException as fault:
            if not isinstance(fault, Exception):  # Ctrl-C, for one
                self._server.hurry()
            self.stop()
            raise
        return self

    async def _serve(self) -> None:
        control.require(self.settings)
        await self._server.start()
        await control.serve(self._server)

    def stop(self) -> None:
        """End the requests in flight, unload the models, end the thread. Stopping twice is no error.

        Requests get `exit_timeout_secs` to finish (default: 0), and are cut off then.
        """
        if self._thread is not None:
            try:
                self._run(self._server.close(finalize_timeout=FINALIZE_SECONDS))
            finally:
                self._end()

    def session(self, *model_repository: str | Path, **options: Unpack[SessionOptions]) -> Session:
        """Open a session with models of its own; without arguments, with a fresh copy of this emulator's.

        Raises as `Emulator` does, ValueError for an option that all sessions share (a port, for example), and what
        `start` raises if the models do not load.
        """
        check_session_options(options)
        paths = tuple(map(repository_path, model_repository))
        settings = replace(self.settings, **options)
        if paths or settings.shadow or not settings.loads_models:
            settings = replace(settings, model_repositories=paths)
        check_together(settings, options)
        return self._session_type(self, self._run(self._server.open_session(settings)))

    def close_session(self, identifier: str) -> None:
        """Close a session by its id. One that is closed already is no error."""
        if self._thread is not None:  # else it was closed with the emulator
            self._run(self._server.close_session(identifier))

    def _open_grpc(self, session: str) -> Address:
        return self._run(self._server.open_grpc(session))

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread can't be interrupted, so the emulator is stopped when it has started.
            await _to_its_end(self._stop_after(starting))
            raise

    async def _stop_after(self, starting: "asyncio.Future[Self]") -> None:
        await asyncio.wait((starting,))
        await asyncio.to_thread(self.stop)

    async def __aexit__(self, *_: object) -> None:
        await _to_its_end(asyncio.to_thread(self.stop))

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
        if threading.current_thread() is self._thread:  # in a function of a test, such as a plan's `where`
            work.close()
            raise RuntimeError("the emulator's own thread cannot wait for the emulator")
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not future.done():  # a wait without a timeout would miss a Ctrl-C that comes just before it
            if self._loop.is_closed():  # another thread has stopped the emulator before this began
                work.close()
                raise RuntimeError("the emulator has stopped")
            concurrent.futures.wait((future,), timeout=0.5)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the emulator has stopped") from None

    def _end(self) -> None:
        """End the thread, which closes its event loop."""
        thread, self._thread = self._thread, None
        self._loop.call_soon_threadsafe(self._loop.stop)
        if thread is not None:
            thread.join()


def _report_of(state: SessionState | None, emulator: Emulator) -> ShadowReport:
    if state is None or state.shadow is None:
        raise RuntimeError("nothing is compared: give a model repository as the option `shadow`")
    if emulator._thread is not None:  # noqa: SLF001  (a function of this module)
        emulator._run(state.shadow.drain())  # noqa: SLF001
    return state.shadow.report()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that must be done, however often this is cancelled; a cancellation is raised when it is done."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as fault:
            cancelled = fault
    if cancelled is not None:
        raise cancelled
    task.result()


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    while left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))


def _drive(loop: asyncio.AbstractEventLoop) -> None:
    """Run an event loop until it is stopped, and close it.

    It is closed on this thread, as the one that stops the emulator may run an event loop itself.
    """
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        _cancel_tasks(loop)  # of a start that was interrupted
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        _cancel_tasks(loop)  # what other threads have asked for meanwhile
    finally:
        asyncio.set_event_loop(None)
        loop.close()
