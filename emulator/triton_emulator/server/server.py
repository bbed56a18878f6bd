"""The server: it binds the ports, loads the models, serves the sessions, and drains at the end.

It runs on one event loop: in the foreground (`cli.foreground`) or in a thread of a Python program (`emulator`).
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from importlib.util import find_spec
from textwrap import indent
from typing import Any, Protocol

from triton_emulator.frontends.http.app import HttpApp
from triton_emulator.frontends.http.server import HttpServer
from triton_emulator.frontends.metrics.app import MetricsApp
from triton_emulator.frontends.threads import run_in_thread
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.repository import ModelFailure
from triton_emulator.server.forks import leave_ports_after_fork
from triton_emulator.server.options_table import answers, options_table, recordings_table, simulation
from triton_emulator.server.sockets import PortInUse, Sockets
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings

_LOG = logging.getLogger(__name__)
#: Seconds that models get for `finalize` at least, even if requests have used up the exit timeout.
UNLOAD_SECONDS = 0.5
#: Seconds that models of a closed session or a stopped `Emulator` get for `finalize` if they have nothing else to do.
FINALIZE_SECONDS = 30

#: Where a listener listens: (host, port).
Address = tuple[str, int]


class StartupError(Exception):
    """Not all models that the server was to serve could be loaded (`--exit-on-error`).

    `models` has each of them with its reason; the text shows them below `summary`, which is tritonserver's line.
    """

    def __init__(self, summary: str, models: Sequence[ModelFailure] = ()) -> None:
        super().__init__(summary, models)
        self.summary = summary
        self.models = tuple(models)

    def __str__(self) -> str:
        return "\n".join((self.summary, *(indent(str(model), "  ") for model in self.models)))


class State(Enum):
    """Where a server is in its life."""

    NEW = "not started"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Listener(Protocol):
    """Something that answers on a port."""

    async def start(self) -> None: ...

    def cut(self, session: str) -> None: ...

    async def close(self, grace: float) -> None: ...


class GrpcListener(Listener, Protocol):
    """A listener for gRPC, which chooses a free port itself."""

    port: int


class Server:
    """The listeners and the sessions of one process, on one event loop.

    `root` is the session without a path, `sessions` are the others by their ids. `http_address`, `grpc_address` and
    `metrics_address` are None until the listener listens, and for one that is turned off; they stay after `close`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.NEW
        #: the ports of all listeners, from when they are bound until the last connection is closed
        self.ports: set[int] = set()
        self.sessions: dict[str, SessionState] = {}
        self.root: SessionState | None = None
        self._listeners: list[Listener] = []
        self._http: HttpServer[HttpApp] | None = None
        #: listeners for one session alone, by its id
        self._own_grpc: dict[str, GrpcListener] = {}
        self._grace: float = settings.exit_timeout_secs
        #: when the exit timeout ends, by the clock of the loop, and whether all models are unloaded; None before
        self._deadline: float | None = None
        self._unloaded: bool | None = None
        self.grpc_address: Address | None = None
        self.http_address: Address | None = None
        self.metrics_address: Address | None = None
        #: where the control API is to listen (`control.listener`), from `start` on; None where it is off
        self.control_socket: socket.socket | None = None
        self.control_address: Address | None = None

    def __repr__(self) -> str:
        return f"<Server {self.summary}>"

    @property
    def summary(self) -> str:
        """The state and, while the server serves, where it listens and how many sessions are open."""
        state: str = self.state.value
        if self.state is not State.SERVING:
            return state
        listeners = {
            "HTTP": self.http_address,
            "gRPC": self.grpc_address,
            "metrics": self.metrics_address,
            "control": self.control_address,
        }
        where = [f"{name} {host_and_port(at)}" for name, at in listeners.items() if at is not None]
        return ", ".join((state, *where, f"sessions: {len(self.sessions)}"))

    async def start(self) -> None:
        """Bind, load the models, listen. Raises PortInUse, SettingsError, StartupError, TritonError."""
        self.state = State.STARTING
        serves_grpc = self.settings.allow_grpc and has_grpc()
        sockets = Sockets.bind(self.settings, grpc=serves_grpc)
        self.ports = sockets.ports()
        leave_ports_after_fork(self)
        try:
            root = await self.load()
            if serves_grpc:
                sockets.release_grpc()
                self.ports = sockets.ports()
                await self.listen_grpc(root)
        except BaseException:
            sockets.close()
            raise
        if sockets.http is not None:
            self.http_address = sockets.http.getsockname()[:2]
            await self.serve_http(root, sockets.http)
        if sockets.metrics is not None:
            self.metrics_address = sockets.metrics.getsockname()[:2]
            await self._listen(HttpServer(MetricsApp(root, self.sessions), sockets.metrics))
        self.control_socket = sockets.control
        self.state = State.SERVING

    async def attach(self, listener: Listener, address: Address) -> None:
        """Serve the control API, until the server closes."""
        await listener.start()
        self._listeners.append(listener)
        self.control_address = address

    async def load(self) -> SessionState:
        """Load the models of the session at the root, and print the tables of models, recordings and options.

        Raises SettingsError, StartupError and TritonError.
        """
        settings = self.settings
        self.root = root = SessionState(settings, asyncio.get_running_loop())
        error = await run_in_thread(root.start)
        if settings.loads_models:
            _LOG.info("%s", root.repository.status_table())
        if root.player is not None:
            _LOG.info("%s", recordings_table(root.player))
        _LOG.info("%s", options_table(settings))
        if settings.loads_models:
            _LOG.info("%s", simulation(settings))
        if said := answers(settings, root.player):
            _LOG.info("%s", said)
        _judge(error, root)
        return root

    async def _listen(self, listener: HttpServer[Any]) -> None:
        await listener.start()
        self._listeners.append(listener)

    async def serve_http(
        self, root: SessionState, sock: socket.socket | None, ended: Callable[[], None] | None = None
    ) -> HttpServer[HttpApp]:
        """Serve HTTP on a bound socket, or on what the listener is given (see `HttpServer`)."""
        app = HttpApp(root, self.sessions)
        self._http = http = HttpServer(app, sock, root.personality.http_max_chunks, ended)
        await self._listen(http)
        return http

    async def listen_grpc(self, root: SessionState) -> None:
        """Serve gRPC. Raises PortInUse."""
        address, port = self.settings.grpc_address, self.settings.grpc_port
        grpc = _grpc_listener(root, self.sessions, address, port)
        self._listeners.append(grpc)
        self.ports.add(grpc.port)
        await grpc.start()
        self.grpc_address = address, grpc.port

    async def open_grpc(self, session: str) -> Address:
        """Where a session alone is served over gRPC: on a free port, from the first call of this until it is closed.

        Raises RuntimeError for a session that is not open, if gRPC is turned off, or if grpcio is not installed.
        """
        state = self.sessions.get(session)
        if state is None or self.state is not State.SERVING:
            raise RuntimeError(f"session {session} is closed")
        if self.grpc_address is None:
            raise RuntimeError(no_grpc(self.settings))
        host, _ = self.grpc_address
        grpc = self._own_grpc.get(session)
        if grpc is None:
            self._own_grpc[session] = grpc = _grpc_listener(state, {session: state}, host, 0)
            self.ports.add(grpc.port)
            try:
                await grpc.start()
            except BaseException:
                del self._own_grpc[session]
                self.ports.discard(grpc.port)
                raise
        return host, grpc.port

    async def open_session(self, settings: Settings) -> str:
        """Open a session with models of its own, served under `/s/<id>`. Returns the id. Raises what `start` raises."""
        state = SessionState(settings, asyncio.get_running_loop())
        try:
            _judge(await run_in_thread(state.start), state)
        except BaseException:
            await run_in_thread(state.close, UNLOAD_SECONDS, FINALIZE_SECONDS)
            raise
        session = secrets.token_hex(8)
        self.sessions[session] = state
        return session

    async def close_session(self, session: str) -> None:
        """End a session's requests and unload its models. An id that is unknown, or closed already, is no error."""
        state = self.sessions.pop(session, None)
        if state is None:
            return
        for listener in self._listeners:
            listener.cut(session)
        if session in self._own_grpc:
            grpc = self._own_grpc.pop(session)
            await grpc.close(0)
            self.ports.discard(grpc.port)
        await run_in_thread(state.close, UNLOAD_SECONDS, FINALIZE_SECONDS)

    def hurry(self) -> None:
        """Make `close` wait for no request; may be called on any thread."""
        self._grace = 0

    async def close(self, *, finalize_timeout: float = 0, drain: bool = False) -> bool:
        """Finish the requests in flight and unload the models. Returns False if the exit timeout was too short.

        The timeout covers both together, as in 2.51. A model that has no request and is not loading gets
        `finalize_timeout` seconds more. `drain`: meanwhile serve HTTP as the version does, where connections would be
        closed at once.
        """
        if drain:
            await self.drain()
        states = [*self.sessions.values(), *([self.root] if self.root else [])]
        grace = max(self._stop() - asyncio.get_running_loop().time(), 0)
        listeners = [*self._listeners, *self._own_grpc.values()]
        self._own_grpc.clear()
        await asyncio.gather(*(listener.close(grace) for listener in listeners))
        self.sessions.clear()
        if self.control_socket is not None:
            self.control_socket.close()  # else it is open where it could not be served
        if self._unloaded is None:
            self._unloaded = await self._unload(states, finalize_timeout)
        self.state = State.STOPPED
        self.ports.clear()
        return self._unloaded

    async def drain(self) -> None:
        """Serve HTTP as the version does while requests are at work at the end; `close` is to follow."""
        self._stop()
        if self._http is None or self.root is None:
            return
        if self.root.personality.drains_connections:
            await self._http.drain(self._grace)
        else:
            self._http.app.stop()
            self._unloaded = await self._unload([*self.sessions.values(), self.root])

    def _stop(self) -> float:
        """Begin to stop, where that has not begun. Returns when the exit timeout ends."""
        self.state = State.STOPPING
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._grace
        return self._deadline

    async def _unload(self, states: Iterable[SessionState], finalize_timeout: float = 0) -> bool:
        left = max(self._stop() - asyncio.get_running_loop().time(), UNLOAD_SECONDS)
        ended = await asyncio.gather(
            *(run_in_thread(state.close, left, finalize_timeout) for state in states)
        )
        return all(ended)


def host_and_port(address: Address) -> str:
    """An address as URLs write it: an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def described(fault: Exception, separator: str = " - ") -> str:
    """An error as tritonserver prints it on the console: a TritonError with its code before its message."""
    if isinstance(fault, StartupError):
        return fault.summary  # the table of models is printed already
    return f"{fault.code.value}{separator}{fault.message}" if isinstance(fault, TritonError) else str(fault)


def _judge(error: Exception | None, state: SessionState) -> None:
    """Raise StartupError if models failed to load and `exit_on_error` is set; without it, log the error."""
    if error is None:
        return
    if state.settings.exit_on_error:
        raise StartupError(described(error), state.repository.failures())
    _LOG.error("%s", described(error, ": "))


def _grpc_listener(
    root: SessionState, sessions: Mapping[str, SessionState], address: str, port: int
) -> GrpcListener:
    from triton_emulator.frontends.grpc.server import CannotListen, GrpcServer

    try:
        return GrpcServer(root, sessions, address, port)
    except CannotListen as fault:
        raise PortInUse(
            f"failed to start GRPC service: {fault}; choose another port with --grpc-port"
        ) from None


_NO_GRPCIO = "gRPC is not served, as grpcio is not installed: pip install 'triton-emulator[grpc]'"


def no_grpc(settings: Settings) -> str:
    """Why a server that is started does not serve gRPC."""
    return _NO_GRPCIO if settings.allow_grpc else "gRPC is turned off (allow_grpc)"


def has_grpc() -> bool:
    """Whether grpcio is there to serve gRPC; a warning says so where it is not."""
    if find_spec("grpc") is not None:
        return True
    _LOG.warning("%s, or say --allow-grpc=false", _NO_GRPCIO)
    return False
