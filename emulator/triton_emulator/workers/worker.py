"""A worker's own work: it is asked by its parent to load, to listen, for its counts, and to end."""

import asyncio
import gc
import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.harness.cassettes.reading import CassetteError
from triton_emulator.protocol.errors import TritonError, unavailable
from triton_emulator.repository.repository import Repository
from triton_emulator.server import PortInUse, Server, StartupError, State, described, run_process
from triton_emulator.session import log
from triton_emulator.session.log_settings import LogSettings
from triton_emulator.session.state import SessionState
from triton_emulator.session.statistics import Statistics
from triton_emulator.settings import Settings
from triton_emulator.workers.counted import Counted, count
from triton_emulator.workers.handing import HandedConnections
from triton_emulator.workers.line import Failed, Gone, Line
from triton_emulator.yaml_nodes import SettingsError

#: what is said of the models of all workers is said by one of them
_SILENT = LogSettings(info=False, warning=False, error=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a load: `failure` is why the server cannot start, "" where it can.

    `models` is the same for two workers that have loaded the same models.
    """

    failure: str = ""
    models: str = ""


def main(line: int, connections: int) -> None:
    """Work until the parent has ended, or has ended this worker. The descriptors are those of its two sockets."""
    run_process(_Worker(socket.socket(fileno=connections)).run(socket.socket(fileno=line)))


class _Worker:
    def __init__(self, connections: socket.socket) -> None:
        self._connections = connections
        self._handed: HandedConnections | None = None
        self._server: Server
        self._root: SessionState
        self._stopped = False
        self._line = Line(
            {
                "load": self._load,
                "listen": self._listen,
                "counts": self._counts,
                "drain": self._drain,
                "close": self._close,
            }
        )

    async def run(self, sock: socket.socket) -> None:
        await self._line.open(sock)
        await self._line.run()
        if not self._stopped:
            os._exit(1)  # the parent has ended: its clients see this one end as well, whatever it is doing

    async def _load(self, settings: Settings, speaks: bool) -> Loaded:
        """Load the models. One worker `speaks` of it in the log."""
        log.install(LogSettings.of(settings))
        if not speaks:
            log.follow(lambda: _SILENT)
        self._server = Server(settings)
        try:
            self._root = await self._server.load()
        except (CassetteError, OSError, SettingsError, StartupError, TritonError) as fault:
            return Loaded(described(fault))
        self._root.totals = partial(self._totals, asyncio.get_running_loop())
        return Loaded(models=_digest(self._root.repository))

    async def _listen(self) -> str:
        """Serve from now on; returns why a port cannot be had, "" where it can.

        Raises OSError where a certificate cannot be read.
        """
        server, root = self._server, self._root
        log.follow(lambda: root.log_settings)
        if server.settings.allow_grpc:
            try:
                await server.listen_grpc(root)
            except PortInUse as fault:
                return str(fault)
        if server.settings.allow_http:
            http = await server.serve_http(root, None, self._ended)
            self._handed = HandedConnections(self._connections, http.serve)
        server.state = State.SERVING
        # what is loaded now stays: it need not be walked through at each collection
        gc.collect()
        gc.freeze()
        return ""

    def _ended(self) -> None:
        if self._handed is not None:
            self._handed.ended()

    async def _counts(self) -> Counted:
        return count(self._root)

    def _totals(self, loop: asyncio.AbstractEventLoop) -> Statistics:
        """The statistics of all workers. To be called on another thread. Raises UNAVAILABLE."""
        asked = asyncio.run_coroutine_threadsafe(self._line.ask("totals"), loop)
        try:
            found: Statistics = asked.result()
        except (Failed, Gone) as fault:
            raise unavailable(str(fault) or "the server ends") from None
        return found

    async def _drain(self, speaks: bool) -> None:
        """Serve on while requests are at work. One worker `speaks` in the log of the unloading that follows."""
        if not speaks:
            log.follow(lambda: replace(self._root.log_settings, info=False))
        await self._server.drain()

    async def _close(self) -> bool:
        """End; returns whether the exit timeout sufficed."""
        self._stopped = True
        return await self._server.close()


def _digest(repository: Repository[LoadedModel]) -> str:
    """What tells apart two sets of models: their names, versions, configs and settings of `emulator.yaml`."""
    found = hashlib.sha256()
    for served in repository.all_served():
        given: Mapping[str, object] = served.loaded.definition.settings
        for part in (served.source.id, str(served.version), sorted(given.items())):
            found.update(repr(part).encode("utf-8", "surrogateescape") + b"\n")
        found.update(served.config_json + b"\n")
    return found.hexdigest()
