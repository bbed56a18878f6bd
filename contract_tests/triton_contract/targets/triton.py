"""The real tritonserver from its wheel, as a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from triton_contract.cases.case import Case
from triton_contract.clients.http import Address
from triton_contract.process import Death, Ports
from triton_contract.reference import DEFAULT_VERSION, ReferenceUnavailable, TritonServer, limits
from triton_contract.reference.installation import install

from .target import TargetUnavailable


class TritonTarget:
    """The real tritonserver of that version. Without `ports` it takes free ones."""

    def __init__(self, version: str = DEFAULT_VERSION, ports: Ports | None = None) -> None:
        self.name = "triton"
        self.version = version
        self._ports = ports
        self._server: TritonServer | None = None

    def __repr__(self) -> str:
        state = "not running" if self._server is None else self._server.state
        return f"<TritonTarget {self.version}, {state}>"

    @property
    def server(self) -> TritonServer:
        """The server that was started. Raises RuntimeError before `start` and after `stop`."""
        if self._server is None:
            raise RuntimeError("the target has not been started")
        return self._server

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        try:
            server = TritonServer(repository, flags, version=self.version, ports=self._ports)
        except ReferenceUnavailable as unavailable:
            raise self._unavailable(unavailable) from None
        self._server = server  # another thread may stop it, and forget it, while it starts
        server.start()

    def can_start(self, flags: Sequence[str]) -> bool:
        return limits.can_start(self.version, flags)

    def limit(self, case: Case) -> str:
        return limits.reason_against(self.version, case)

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def restart(self) -> None:
        self.server.restart()

    def lost(self) -> str:
        return ""

    def alive(self) -> bool:
        return self._server is not None and self._server.alive()

    def death(self, within: float = 0.0) -> Death | None:
        return self.server.death(within)

    @property
    def http(self) -> Address:
        return Address.of(self.http_url)

    @property
    def metrics(self) -> Address | None:
        return Address("127.0.0.1", self.server.ports.metrics)

    @property
    def grpc(self) -> str | None:
        return self.grpc_url

    @property
    def http_url(self) -> str:
        return self.server.http_url

    @property
    def grpc_url(self) -> str | None:
        return self.server.grpc_url

    @property
    def metrics_url(self) -> str | None:
        return self.server.metrics_url

    def how(self) -> str:
        """One line for reports. Raises TargetUnavailable when this machine cannot have the server."""
        try:
            return install(self.version).how()
        except ReferenceUnavailable as unavailable:
            raise self._unavailable(unavailable) from None

    def _unavailable(self, reason: ReferenceUnavailable) -> TargetUnavailable:
        name = self.name if self.version == DEFAULT_VERSION else f"{self.name}=={self.version}"
        return TargetUnavailable(f"target {name}: {reason}")
