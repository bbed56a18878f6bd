"""The real tritonserver as a context manager: any repository, any of its flags, its own ports."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from triton_contract.launching import launch
from triton_contract.process import POLL_SECONDS, Death, Ports, ServerProcess

from .installation import install
from .wheel import DEFAULT_VERSION

_LEFTOVER_SECONDS = 5.0
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
#: what a server complains of that aborted by chance while it loaded models: 2.51 does so on a busy machine
_ABORTED_BY_CHANCE = ("boost::interprocess::lock_exception",)


class TritonServer:
    """A real server over `repository`. `flags` are tritonserver's own and override those set here.

    >>> with TritonServer("models", ["--exit-on-error=false"]) as triton:
    ...     requests.get(f"{triton.http_url}/v2")

    The constructor raises ReferenceUnavailable when this machine cannot download or run the server; `start` raises
    ServerFailed when the server does not start. `start_timeout` is in seconds. Any number of servers can run side by
    side: each has its own ports and its own shared memory prefix.
    """

    def __init__(
        self,
        repository: str | os.PathLike[str],
        flags: Sequence[str] = (),
        *,
        version: str = DEFAULT_VERSION,
        ports: Ports | None = None,
        start_timeout: float = 300.0,
    ) -> None:
        self.repository = Path(repository).resolve()
        self.flags = tuple(flags)
        self.version = version
        self._installation = install(version)
        self._prefix = f"tc{os.getpid()}x{secrets.token_hex(3)}_"
        self._process = ServerProcess(
            f"tritonserver-{version}",
            self._command,
            ports=ports,
            start_timeout=start_timeout,
            has_metrics=not any(f.replace("=", "").startswith("--allow-metricsfalse") for f in self.flags),
            chance=_ABORTED_BY_CHANCE,
            leftovers=str(_SHARED_MEMORY / self._prefix),
            cleanup=self._remove_leftovers,
            launch=partial(launch, env=self._installation.environment),
        )

    def __repr__(self) -> str:
        return f"<TritonServer {self.version} over {self.repository.name}, {self.state}>"

    def _command(self, ports: Ports) -> list[str]:
        """The whole command line. The caller's flags come last: of two equal flags tritonserver takes the last."""
        return [
            *self._installation.program,
            f"--model-repository={self.repository}",
            f"--backend-directory={self._installation.backends}",
            f"--cache-directory={self._installation.caches}",
            f"--http-port={ports.http}",
            f"--grpc-port={ports.grpc}",
            f"--metrics-port={ports.metrics}",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1",
            "--metrics-address=127.0.0.1",
            "--allow-gpu-metrics=false",
            # Without its own prefix, a server would use the shared memory of another one on this machine.
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            *self.flags,
        ]

    @property
    def command(self) -> list[str]:
        """The command line with the ports in use."""
        return self._command(self._process.ports)

    @property
    def ports(self) -> Ports:
        """The ports in use; zeros before the first start, unless they were chosen."""
        return self._process.ports

    @property
    def state(self) -> str:
        """What the server is doing, for people: not running, running (address and process id), or how it ended."""
        return self._process.state

    @property
    def http_url(self) -> str:
        """The HTTP address, `http://127.0.0.1:port`."""
        return self.ports.http_url

    @property
    def url(self) -> str:
        """The same as `http_url`."""
        return self.http_url

    @property
    def grpc_url(self) -> str:
        """The gRPC address as `tritonclient.grpc` takes it, `127.0.0.1:port`."""
        return self.ports.grpc_url

    @property
    def metrics_url(self) -> str:
        """The address of the metrics, `http://127.0.0.1:port/metrics`."""
        return self.ports.metrics_url

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self._process.log

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until it answers."""
        self._process.start()
        return self

    def alive(self) -> bool:
        return self._process.alive()

    def death(self, within: float = 0.0) -> Death | None:
        """How the server ended, waiting up to `within` seconds; None while it runs."""
        return self._process.death(within)

    def restart(self) -> None:
        """Stop this server, if it is still running, and start a new one."""
        self._process.restart()

    def stop(self, *, gently: bool = False) -> None:
        """End the server and every process it started; `gently` lets requests in flight finish."""
        self._process.stop(gently=gently)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _remove_leftovers(self) -> None:
        """Kill the Python backend's stub processes and remove their shared memory: both outlive a killed server."""
        deadline = time.monotonic() + _LEFTOVER_SECONDS
        while (pids := _processes_mentioning(self._prefix)) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        for leftover in _SHARED_MEMORY.glob(f"{self._prefix}*"):
            leftover.unlink(missing_ok=True)


def _processes_mentioning(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in words:
                found.append(int(folder.name))
    return found
