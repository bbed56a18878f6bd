"""What a case can be run against: the real server, the emulator, or whatever answers at a URL.

All three are used alike: start(repository, flags), addresses, alive, death, restart, stop.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .http.client import Address
from .process import Death, Ports, ServerProcess
from .reference import DEFAULT_VERSION, TritonServer
from .reference.wheel import ReferenceUnavailable

EMULATOR_COMMAND = "triton-emulator"
EMULATOR_VARIABLE = "TRITON_EMULATOR_COMMAND"


class TargetUnavailable(Exception):
    """The target cannot be had here, or cannot serve what is asked; the text is one line that says why."""


class Target(Protocol):
    """A server under test."""

    name: str

    def start(self, repository: Path, flags: Sequence[str]) -> None: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...
    def alive(self) -> bool: ...
    def death(self, within: float = 0.0) -> Death | None: ...
    @property
    def http(self) -> Address: ...
    @property
    def metrics(self) -> Address | None: ...
    @property
    def grpc(self) -> str | None:
        """host:port; None where it is not known."""

    def how(self) -> str: ...


class TritonTarget:
    """The real tritonserver from its wheel."""

    def __init__(self, version: str = DEFAULT_VERSION, ports: Ports | None = None) -> None:
        self.name = "triton"
        self.version = version
        self._ports = ports
        self._server: TritonServer | None = None

    @property
    def server(self) -> TritonServer:
        if self._server is None:
            raise RuntimeError("the target has not been started")
        return self._server

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        try:
            self._server = TritonServer(repository, flags, version=self.version, ports=self._ports)
        except ReferenceUnavailable as unavailable:
            raise TargetUnavailable(f"target triton: {unavailable}") from None
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def restart(self) -> None:
        self.server.restart()

    def alive(self) -> bool:
        return self._server is not None and self._server.alive()

    def death(self, within: float = 0.0) -> Death | None:
        return self.server.death(within)

    @property
    def http(self) -> Address:
        return Address.of(self.server.http_url)

    @property
    def metrics(self) -> Address | None:
        return Address.of(self.server.metrics_url)

    @property
    def grpc(self) -> str | None:
        return self.server.grpc_url

    def how(self) -> str:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"tritonserver {self.version} from its PyPI wheel, CPU, backend for Python {python}"


class EmulatorTarget:
    """The emulator as a user starts it: its command, in a process of its own."""

    def __init__(self, command: Sequence[str] = (), ports: Ports | None = None) -> None:
        self.name = "emulator"
        self._words = list(command) or emulator_command()
        self._ports = ports
        self._process: ServerProcess | None = None

    @property
    def process(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the target has not been started")
        return self._process

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        def command(ports: Ports) -> list[str]:
            return [
                *self._words,
                f"--model-repository={repository}",
                f"--http-port={ports.http}",
                f"--grpc-port={ports.grpc}",
                f"--metrics-port={ports.metrics}",
                *flags,
            ]

        self._process = ServerProcess("emulator", command, ports=self._ports, stop_timeout=5.0)
        self._process.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def restart(self) -> None:
        self.process.restart()

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def death(self, within: float = 0.0) -> Death | None:
        return self.process.death(within)

    @property
    def http(self) -> Address:
        return Address("127.0.0.1", self.process.ports.http)

    @property
    def metrics(self) -> Address | None:
        return Address("127.0.0.1", self.process.ports.metrics)

    @property
    def grpc(self) -> str | None:
        return f"127.0.0.1:{self.process.ports.grpc}"

    def how(self) -> str:
        return f"emulator, started as {self._words[0].rsplit('/', 1)[-1]}"


class UrlTarget:
    """A server that somebody else runs; it serves one repository, with flags that we do not know."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._http = Address.of(url)

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        try:
            self._http.connect().close()
        except OSError as error:
            raise TargetUnavailable(f"target {self.name}: {error}") from None

    def stop(self) -> None:
        """It is not ours to stop."""

    def restart(self) -> None:
        raise TargetUnavailable(f"target {self.name}: a server at a URL cannot be restarted by us")

    def alive(self) -> bool:
        try:
            self._http.connect().close()
        except OSError:
            return False
        return True

    def death(self, within: float = 0.0) -> Death | None:
        return None if self.alive() else Death(None, None, ("it no longer accepts connections",))

    @property
    def http(self) -> Address:
        return self._http

    @property
    def metrics(self) -> Address | None:
        return None

    @property
    def grpc(self) -> str | None:
        return None

    def how(self) -> str:
        return "a server at a URL"


def emulator_command() -> list[str]:
    """The emulator's command: $TRITON_EMULATOR_COMMAND, else the one beside this Python, else on PATH."""
    chosen = os.environ.get(EMULATOR_VARIABLE)
    if chosen:
        return shlex.split(chosen)
    beside = Path(sys.executable).parent / EMULATOR_COMMAND
    found = str(beside) if beside.is_file() else shutil.which(EMULATOR_COMMAND)
    if found is None:
        raise TargetUnavailable(f"target emulator: the command {EMULATOR_COMMAND} is not installed")
    return [found]


def target_of(name: str, *, version: str = DEFAULT_VERSION) -> Target:
    """`triton`, `emulator`, or an http:// URL."""
    if name == "triton":
        return TritonTarget(version)
    if name == "emulator":
        return EmulatorTarget()
    if "://" in name:
        return UrlTarget(name)
    raise TargetUnavailable(f"unknown target {name!r}; it is triton, emulator or an http:// URL")
