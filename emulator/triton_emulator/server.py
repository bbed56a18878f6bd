"""A running server: it owns sockets, event loop and sessions. In the foreground, or in a thread of a test."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import resource
import secrets
import signal
import socket
import sys
from importlib.util import find_spec
from typing import Any, Protocol

from triton_emulator.backends.standins.settings import SettingsError
from triton_emulator.frontends.http.app import HttpApp
from triton_emulator.frontends.http.server import HttpServer
from triton_emulator.frontends.metrics.app import MetricsApp
from triton_emulator.frontends.threads import run_in_thread
from triton_emulator.protocol.errors import TritonError
from triton_emulator.session import log
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings
from triton_emulator.startup import options_table

_LOG = logging.getLogger(__name__)
#: What models get to finalize even where clients have used up the exit timeout.
_UNLOAD_SECONDS = 0.5


class PortInUse(OSError):
    """A listener's address can not be had; the message names the flag that changes it."""


class StartupError(Exception):
    """The models that the server was to serve could not all be loaded (`--exit-on-error`)."""


def _bind(service: str, address: str, port: int, flag: str, *, reuse: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((address, port))
    except OSError as fault:
        sock.close()
        why = "already in use" if fault.errno == errno.EADDRINUSE else str(fault.strerror or fault)
        text = f"failed to start {service} service: Unavailable - Socket '{address}:{port}' {why}"
        raise PortInUse(f"{text}; choose another with {flag}") from None
    except OverflowError:
        sock.close()
        raise PortInUse(
            f"failed to start {service} service: {port} is no port; choose another with {flag}"
        ) from None
    return sock


def _has_grpc() -> bool:
    if find_spec("grpc") is not None:
        return True
    _LOG.warning(
        "gRPC is not served, as grpcio is not installed: pip install triton-emulator[grpc], or say --allow-grpc=false"
    )
    return False


class Listener(Protocol):
    """Something that answers on a port."""

    async def close(self, grace: float) -> None: ...


class Server:
    """The listeners and the sessions of one process, on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sessions: dict[str, SessionState] = {}
        self.root: SessionState | None = None
        self._listeners: list[Listener] = []
        self._grace: float = settings.exit_timeout_secs
        #: where HTTP, gRPC and metrics listen, (host, port); None for one that was turned off
        self.grpc_address: tuple[str, int] | None = None
        self.http_address: tuple[str, int] | None = None
        self.metrics_address: tuple[str, int] | None = None

    async def start(self) -> None:
        """Bind, load the models, listen. Raises PortInUse, SettingsError, StartupError, TritonError."""
        settings = self.settings
        http = metrics = None
        sockets: list[socket.socket] = []
        serves_grpc = settings.allow_grpc and _has_grpc()
        try:
            if serves_grpc and settings.grpc_port:
                # held until the models are loaded: gRPC binds for itself, and would let clients connect from then on
                held = _bind(
                    "GRPC",
                    settings.grpc_address,
                    settings.grpc_port,
                    "--grpc-port",
                    reuse=settings.reuse_grpc_port,
                )
                sockets.append(held)
            if settings.allow_http:
                http = _bind(
                    "HTTP",
                    settings.http_address,
                    settings.http_port,
                    "--http-port",
                    reuse=settings.reuse_http_port,
                )
                sockets.append(http)
            if settings.allow_metrics:
                address = settings.metrics_address or settings.http_address
                metrics = _bind("Metrics", address, settings.metrics_port, "--metrics-port", reuse=False)
                sockets.append(metrics)
            self.root = SessionState(settings, asyncio.get_running_loop())
            error = await run_in_thread(self.root.start)
            _LOG.info("%s", self.root.repository.status_table())
            _LOG.info("%s", options_table(settings))
            if error is not None:
                if settings.exit_on_error:
                    raise StartupError(described(error))
                _LOG.error("%s", described(error, ": "))
            if serves_grpc:
                if settings.grpc_port:
                    sockets[0].close()
                await self._listen_grpc(self.root)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        if http is not None:
            self.http_address = http.getsockname()[:2]
            await self._listen(HttpApp(self.root, self.sessions), http)
        if metrics is not None:
            self.metrics_address = metrics.getsockname()[:2]
            await self._listen(MetricsApp(self.root, self.sessions), metrics)

    async def _listen(self, app: Any, sock: socket.socket) -> None:
        listener = HttpServer(app, sock)
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
        """Start a session of its own, served under `/s/<id>`; returns the id."""
        state = SessionState(settings, asyncio.get_running_loop())
        try:
            error = await run_in_thread(state.start)
            if error is not None:
                if settings.exit_on_error:
                    raise StartupError(described(error))
                _LOG.error("%s", described(error, ": "))
        except BaseException:
            await run_in_thread(state.close, self.settings.exit_timeout_secs)
            raise
        session = secrets.token_hex(8)
        self.sessions[session] = state
        return session

    async def close_session(self, session: str) -> None:
        """Unload a session's models; one that is not there, or no longer, is no error."""
        state = self.sessions.pop(session, None)
        if state is not None:
            await run_in_thread(state.close, self.settings.exit_timeout_secs)

    def hurry(self) -> None:
        """Have `close` wait for nothing; may be called on any thread."""
        self._grace = 0

    async def close(self) -> bool:
        """Drain: finish what is in flight, unload the models; False where the exit timeout did not suffice.

        The timeout is for all of it together, as in 2.51.
        """
        loop = asyncio.get_running_loop()
        grace = self._grace
        deadline = loop.time() + grace
        await asyncio.gather(*(listener.close(grace) for listener in self._listeners))
        states = [*self.sessions.values(), *([self.root] if self.root else [])]
        self.sessions.clear()
        left = max(deadline - loop.time(), _UNLOAD_SECONDS)
        ended = await asyncio.gather(*(run_in_thread(state.close, left) for state in states))
        return all(ended)


def serve(settings: Settings) -> int:
    """Serve in the foreground until SIGINT or SIGTERM, then drain; returns the exit code."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a stream is a descriptor, and 1024 are few
    loop = new_loop()
    try:
        return loop.run_until_complete(_serve(settings))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _serve(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    started = False

    def stop(number: int) -> None:
        if not started:
            _die_of(number)
        stopped.set()
        with contextlib.suppress(OSError, ValueError):  # nobody may be reading
            sys.stderr.write(f"Signal ({number}) received.\n")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    server = Server(settings)
    try:
        await server.start()
    except PortInUse as fault:
        _LOG.error("%s", fault)
        await server.close()
        return 1
    except (OSError, SettingsError, StartupError, TritonError) as fault:
        sys.stderr.write(f"error: creating server: {described(fault)}\n")
        await server.close()
        return 1
    started = True
    root = server.root
    if root is not None:
        log.follow(lambda: root.log_settings)
    if server.grpc_address is not None:
        _LOG.info("Started GRPCInferenceService at %s:%s", *server.grpc_address)
    if server.http_address is not None:
        _LOG.info("Started HTTPService at %s:%s", *server.http_address)
    if server.metrics_address is not None:
        _LOG.info("Started Metrics Service at %s:%s", *server.metrics_address)
    # What is loaded stays: the collector need not walk through it again and again (5 of 100 microseconds per request).
    gc.collect()
    gc.freeze()
    await stopped.wait()
    _LOG.info("Waiting for in-flight requests to complete.")
    if await server.close():
        return 0
    _LOG.error("failed to stop server: Internal - Exit timeout expired. Exiting immediately.")
    return 1


def _die_of(number: int) -> None:
    """2.51: a signal during the start ends the process on the spot, however long its models still need to load."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # the first process of a container does not die of signals


def described(fault: Exception, separator: str = " - ") -> str:
    """An error as tritonserver prints it on the console: with its code, where it has one."""
    return f"{fault.code.value}{separator}{fault.message}" if isinstance(fault, TritonError) else str(fault)


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
