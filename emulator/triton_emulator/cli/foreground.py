"""A server in the foreground: it serves until a signal ends it, and its result is an exit code. A check of one, too."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from triton_emulator import control
from triton_emulator.backends.python.children import block_around_forks
from triton_emulator.harness.cassettes.reading import CassetteError
from triton_emulator.protocol.errors import TritonError
from triton_emulator.server import (
    CheckReport,
    PortInUse,
    Server,
    StartupError,
    described,
    run_process,
)
from triton_emulator.server import check as check_models
from triton_emulator.session import log
from triton_emulator.settings import Settings
from triton_emulator.yaml_nodes import SettingsError

if TYPE_CHECKING:
    from triton_emulator.workers.workers import Workers

_LOG = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM, then finish the requests in flight.

    Returns the exit code: 0 after a clean stop, 1 if the server could not start or did not stop in time.
    """
    return run_process(_serve(settings))


def check(settings: Settings) -> CheckReport:
    """Say what a server with these settings would serve. Raises TritonError for ones that mean nothing.

    SIGINT and SIGTERM end the process at once.
    """
    return run_process(_check(settings))


async def _serve(settings: Settings) -> int:
    signals = _Signals()
    server = Server(settings) if settings.workers == 1 else _workers(settings)
    if not await _start(server):
        return 1
    signals.started = True
    _announce(server)
    # What is loaded now stays. Frozen, it is not walked through at each collection (5 of 100 microseconds per request).
    gc.collect()
    gc.freeze()
    await signals.received.wait()
    _LOG.info("Waiting for in-flight requests to complete.")
    ended = await server.close(drain=True)
    _tell_of_plans(server)
    if server.root is not None and server.root.shadow is not None:
        sys.stderr.write(f"{server.root.shadow.report()}\n")
    if ended:
        return 0
    _LOG.error("failed to stop server: Internal - Exit timeout expired. Exiting immediately.")
    return 1


def _workers(settings: Settings) -> "Workers":
    from triton_emulator.workers.workers import Workers  # not for one process

    return Workers(settings)


_NUMBERS = (signal.SIGINT, signal.SIGTERM)


async def _check(settings: Settings) -> CheckReport:
    _Signals()
    return await check_models(settings)


class _Signals:
    """SIGINT and SIGTERM: they end the process at once while the server starts, and set `received` later.

    A process that a model forks inherits the handlers, and the descriptor through which they wake the server's loop: a
    signal to the child would stop the server. So the child gets the default actions back. The signals are blocked
    around the fork, or one that comes before that would be lost.
    """

    def __init__(self) -> None:
        self.started = False
        self.received = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _NUMBERS:
            loop.add_signal_handler(number, self._receive, number)
        block_around_forks(_NUMBERS, _let_go)

    def _receive(self, number: int) -> None:
        if not self.started:
            _die_of(number)
        self.received.set()
        with contextlib.suppress(OSError, ValueError):  # standard error may be closed
            sys.stderr.write(f"Signal ({number}) received.\n")


def _let_go() -> None:
    """In a process that a model has forked."""
    signal.set_wakeup_fd(-1)
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_DFL)


def _die_of(number: int) -> None:
    """2.51: a signal during the start ends the process at once, however long its models still need to load."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # process 1 of a container has no default action for signals


async def _start(server: "Server | Workers") -> bool:
    """Start the server; False if that failed, with the reason printed as tritonserver prints it."""
    try:
        control.require(server.settings)
        await server.start()
        if isinstance(server, Server):
            await control.serve(server)
    except PortInUse as fault:
        _LOG.error("%s", fault)
    except control.Unavailable as fault:
        sys.stderr.write(f"error: {fault}\n")
    except (CassetteError, OSError, SettingsError, StartupError, TritonError) as fault:
        sys.stderr.write(f"error: creating server: {described(fault)}\n")
    else:
        return True
    await server.close()
    return False


def _tell_of_plans(server: "Server | Workers") -> None:
    """Warn of plans that have not fired as often as they were to."""
    if server.root is not None and server.root.harness is not None:
        for plan in server.root.harness.plans:
            for text in plan.problems():
                _LOG.warning("%s", text)


def _announce(server: "Server | Workers") -> None:
    """Print where the server listens, and let the log follow the settings that clients change from now on."""
    root = server.root
    if root is not None:
        log.follow(lambda: root.log_settings)
    if server.grpc_address is not None:
        _LOG.info("Started GRPCInferenceService at %s:%s", *server.grpc_address)
    if server.http_address is not None:
        _LOG.info("Started HTTPService at %s:%s", *server.http_address)
    if server.metrics_address is not None:
        _LOG.info("Started Metrics Service at %s:%s", *server.metrics_address)
    if server.control_address is not None:
        _LOG.info("Started Control Service at %s:%s", *server.control_address)
