"""The server: it binds the ports, loads the models, serves the sessions, and drains at the end.

It runs on one event loop: in the foreground (`cli.foreground`) or in a thread of a Python program (`emulator`).
"""

import asyncio
import logging
import secrets
from enum import Enum
from importlib.util import find_spec
from typing import Protocol

from triton_emulator.frontends.http.app import HttpApp
from triton_emulator.frontends.http.server import HttpServer
from triton_emulator.frontends.metrics.app import MetricsApp
from triton_emulator.frontends.threads import run_in_thread
from triton_emulator.protocol.errors import TritonError
from triton_emulator.server.options_table import options_table
from triton_emulator.server.sockets import PortInUse, Sockets
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings

_LOG = logging.getLogger(__name__)
#: Seconds that models get for `finalize` at least, even if requests have used up the exit timeout.
_UNLOAD_SECONDS = 0.5

#: Where a listener listens: (host, port).
Address = tuple[str, int]


class StartupError(Exception):
    """Not all models that the server was to serve could be loaded (`--exit-on-error`)."""


class State(Enum):
    """Where a server is in its life."""

    NEW = "not started"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Listener(Protocol):
    """Something that answers on a port."""

    async def close(self, grace: float) -> None: ...


class Server:
    """The listeners and the sessions of one process, on one event loop.

    `root` is the session without a path, `sessions` are the others by their ids. `http_address`, `grpc_address` and
    `metrics_address` are None until the listener listens, and for one that is turned off; they stay after `close`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.NEW
        self.sessions: dict[str, SessionState] = {}
        self.root: SessionState | None = None
        self._listeners: list[Listener] = []
        self._grace: float = settings.exit_timeout_secs
        self.grpc_address: Address | None = None
        self.http_address: Address | None = None
        self.metrics_address: Address | None = None

    def __repr__(self) -> str:
        return f"<Server {self.summary}>"

    @property
    def summary(self) -> str:
        """The state and, while the server serves, where it listens and how many sessions are open."""
        state: str = self.state.value
        if self.state is not State.SERVING:
            return state
        listeners = {"HTTP": self.http_address, "gRPC": self.grpc_address, "metrics": self.metrics_address}
        where = [f"{name} {host_and_port(at)}" for name, at in listeners.items() if at is not None]
        return ", ".join((state, *where, f"sessions: {len(self.sessions)}"))

    async def start(self) -> None:
        """Bind, load the models, listen. Raises PortInUse, SettingsError, StartupError, TritonError."""
        self.state = State.STARTING
        serves_grpc = self.settings.allow_grpc and _has_grpc()
        sockets = Sockets.bind(self.settings, grpc=serves_grpc)
        try:
            root = await self._load()
            if serves_grpc:
                sockets.release_grpc()
                await self._listen_grpc(root)
        except BaseException:
            sockets.close()
            raise
        if sockets.http is not None:
            self.http_address = sockets.http.getsockname()[:2]
            await self._listen(HttpServer(HttpApp(root, self.sessions), sockets.http))
        if sockets.metrics is not None:
            self.metrics_address = sockets.metrics.getsockname()[:2]
            await self._listen(HttpServer(MetricsApp(root, self.sessions), sockets.metrics))
        self.state = State.SERVING

    async def _load(self) -> SessionState:
        """Load the models of the session at the root and print the tables of models and options."""
        settings = self.settings
        self.root = root = SessionState(settings, asyncio.get_running_loop())
        error = await run_in_thread(root.start)
        _LOG.info("%s", root.repository.status_table())
        _LOG.info("%s", options_table(settings))
        _judge(error, settings)
        return root

    async def _listen(self, listener: HttpServer) -> None:
        await listener.start()
        self._listeners.append(listener)

    async def _listen_grpc(self, root: SessionState) -> None:
        from triton_emulator.frontends.grpc.server import CannotListen, GrpcServer

        address, port = self.settings.grpc_address, self.settings.grpc_port
        try:
            grpc = GrpcServer(root, self.sessions, address, port)
        except CannotListen as fault:
            raise PortInUse(
                f"failed to start GRPC service: {fault}; choose another port with --grpc-port"
            ) from None
        await grpc.start()
        self._listeners.append(grpc)
        self.grpc_address = address, grpc.port

    async def open_session(self, settings: Settings) -> str:
        """Open a session with models of its own, served under `/s/<id>`. Returns the id. Raises what `start` raises."""
        state = SessionState(settings, asyncio.get_running_loop())
        try:
            _judge(await run_in_thread(state.start), settings)
        except BaseException:
            await run_in_thread(state.close, self.settings.exit_timeout_secs)
            raise
        session = secrets.token_hex(8)
        self.sessions[session] = state
        return session

    async def close_session(self, session: str) -> None:
        """Unload a session's models. An id that is unknown, or closed already, is no error."""
        state = self.sessions.pop(session, None)
        if state is not None:
            await run_in_thread(state.close, self.settings.exit_timeout_secs)

    def hurry(self) -> None:
        """Make `close` wait for no request; may be called on any thread."""
        self._grace = 0

    async def close(self) -> bool:
        """Finish the requests in flight and unload the models. Returns False if the exit timeout was too short.

        The timeout covers both together, as in 2.51.
        """
        self.state = State.STOPPING
        loop = asyncio.get_running_loop()
        grace = self._grace
        deadline = loop.time() + grace
        await asyncio.gather(*(listener.close(grace) for listener in self._listeners))
        states = [*self.sessions.values(), *([self.root] if self.root else [])]
        self.sessions.clear()
        left = max(deadline - loop.time(), _UNLOAD_SECONDS)
        ended = await asyncio.gather(*(run_in_thread(state.close, left) for state in states))
        self.state = State.STOPPED
        return all(ended)


def host_and_port(address: Address) -> str:
    """An address as URLs write it: an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def described(fault: Exception, separator: str = " - ") -> str:
    """An error as tritonserver prints it on the console: a TritonError with its code before its message."""
    return f"{fault.code.value}{separator}{fault.message}" if isinstance(fault, TritonError) else str(fault)


def _judge(error: Exception | None, settings: Settings) -> None:
    """Raise StartupError if models failed to load and `exit_on_error` is set; without it, log the error."""
    if error is None:
        return
    if settings.exit_on_error:
        raise StartupError(described(error))
    _LOG.error("%s", described(error, ": "))


def _has_grpc() -> bool:
    if find_spec("grpc") is not None:
        return True
    _LOG.warning(
        "gRPC is not served, as grpcio is not installed: pip install 'triton-emulator[grpc]', or say --allow-grpc=false"
    )
    return False
