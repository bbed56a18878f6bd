"""The interface of a server under test, and the error for one that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from triton_contract.cases.case import Case
from triton_contract.clients.http import Address
from triton_contract.process import Death


class TargetUnavailable(Exception):
    """The target cannot be started or reached here. The text is one line that says why."""


class UnknownTarget(TargetUnavailable):
    """The name is not that of a target."""


class Target(Protocol):
    """A server under test. It is started over one repository at a time, and may be started again after `stop`."""

    name: str

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        """Start the server over `repository` with tritonserver's `flags`; return once it answers.

        Raises TargetUnavailable when this machine cannot run or reach it, ServerFailed when it does not start.
        """

    def can_start(self, flags: Sequence[str]) -> bool:
        """Whether the server can be given these flags at all."""

    def limit(self, case: Case) -> str:
        """Why the server cannot be asked the case, which is then unproven; "" where it can."""

    def stop(self) -> None: ...
    def restart(self) -> None:
        """Start the server anew. A server that we did not start goes on as it is."""

    def lost(self) -> str:
        """Why no further case can be asked of a server that we cannot start anew; "" where one can."""

    def alive(self) -> bool: ...
    def death(self, within: float = 0.0) -> Death | None:
        """How the server ended, waiting up to `within` seconds for its end; None while it runs."""

    @property
    def http(self) -> Address: ...
    @property
    def metrics(self) -> Address | None:
        """The address of the metrics port; None where it is not known."""

    @property
    def grpc(self) -> str | None:
        """host:port; None where it is not known."""

    @property
    def http_url(self) -> str:
        """The HTTP address, `http://host:port`."""

    @property
    def grpc_url(self) -> str | None:
        """The gRPC address as `tritonclient.grpc` takes it, `host:port`; None where it is not known."""

    @property
    def metrics_url(self) -> str | None:
        """The address of the metrics, `http://host:port/metrics`; None where it is not known."""

    def how(self) -> str:
        """One line for reports: which server this is and how it was started."""
