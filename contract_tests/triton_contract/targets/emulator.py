"""The emulator as a target: its command in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from triton_contract.cases.case import Case
from triton_contract.clients.http import Address
from triton_contract.launching import Launch, fork
from triton_contract.process import Death, Ports, ServerProcess
from triton_contract.reference.wheel import FRONTENDS

from .target import TargetUnavailable

EMULATOR_COMMAND = "triton-emulator"
EMULATOR_VARIABLE = "TRITON_EMULATOR_COMMAND"
#: The machine that the reference runs on has no GPU, and no backend but Python's.
AS_THE_REFERENCE = ("--simulated-gpus=0", "--stand-ins=configured")


class EmulatorTarget:
    """The emulator, started by `command` (default: see `emulator_command`). Without `ports` it takes free ones.

    `version` is the version of Triton that it acts as; "" leaves that to the command. `launch` starts the command:
    `launching.launch` always makes a new program, whose start and memory a benchmark can measure.
    """

    def __init__(
        self,
        command: Sequence[str] = (),
        ports: Ports | None = None,
        version: str = "",
        *,
        launch: Launch = fork,
    ) -> None:
        self.name = "emulator"
        self.version = version
        self._words = list(command) or emulator_command()
        if version:
            self._words.append(f"--triton-version={version}")
        if version in FRONTENDS:  # as the reference, which has no core of that version
            self._words.append(f"--triton-core-version={FRONTENDS[version].core}")
        self._ports = ports
        self._launch = launch
        self._process: ServerProcess | None = None

    def __repr__(self) -> str:
        state = "not running" if self._process is None else self._process.state
        return f"<EmulatorTarget {self._program}, {state}>"

    @property
    def _program(self) -> str:
        return self._words[0].rsplit("/", 1)[-1]

    @property
    def process(self) -> ServerProcess:
        """The process that was started. Raises RuntimeError before `start` and after `stop`."""
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

        process = ServerProcess("emulator", command, ports=self._ports, stop_timeout=5.0, launch=self._launch)
        self._process = process  # another thread may stop it, and forget it, while it starts
        process.start()

    def can_start(self, flags: Sequence[str]) -> bool:
        return True

    def limit(self, case: Case) -> str:
        return ""

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def restart(self) -> None:
        self.process.restart()

    def lost(self) -> str:
        return ""

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
        return self.grpc_url

    @property
    def http_url(self) -> str:
        return self.process.ports.http_url

    @property
    def grpc_url(self) -> str | None:
        return self.process.ports.grpc_url

    @property
    def metrics_url(self) -> str | None:
        return self.process.ports.metrics_url

    def how(self) -> str:
        version = f" --triton-version={self.version}" if self.version else ""
        return f"emulator, started as {self._program}{version}"


def emulator_command(flags: Sequence[str] = AS_THE_REFERENCE) -> list[str]:
    """The emulator's command: $TRITON_EMULATOR_COMMAND, else the one next to this Python, else the one on PATH.

    Without that variable it gets `flags`, by default those that make it the machine of the reference; without flags it
    is the emulator that a user starts, with simulated GPUs and stand-ins. Raises TargetUnavailable when there is none.
    """
    chosen = os.environ.get(EMULATOR_VARIABLE)
    if chosen:
        return shlex.split(chosen)
    beside = Path(sys.executable).parent / EMULATOR_COMMAND
    found = str(beside) if beside.is_file() else shutil.which(EMULATOR_COMMAND)
    if found is None:
        raise TargetUnavailable(f"target emulator: the command {EMULATOR_COMMAND} is not installed")
    return [found, *flags]
