"""A server that somebody else started, as a target: it serves one repository, with flags that we do not know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from triton_contract.cases.case import Case
from triton_contract.clients.exchange import Exchange
from triton_contract.clients.http import Address, read_exchange
from triton_contract.process import Death

from .answering import TLS, fault_of, no_connection
from .target import TargetUnavailable, UnknownTarget

ANSWER_SECONDS = 30.0
"""How long (seconds) the server may take to say that it is alive, and which models it has."""
_LIVE = b"GET %s/v2/health/live HTTP/1.1\r\nHost: triton\r\nConnection: close\r\n\r\n"
_INDEX = (
    b"POST %s/v2/repository/index HTTP/1.1\r\nHost: triton\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class UrlTarget:
    """The server at `url` (http://host:port, a path may follow). Starting and stopping it do nothing.

    Raises UnknownTarget for a text that is no such address, TargetUnavailable for an https:// one.
    """

    def __init__(self, url: str) -> None:
        if url.lower().startswith("https://"):
            raise TargetUnavailable(f"target https://{url[8:].rpartition('@')[2]}: {TLS}")
        try:
            self._http = Address.of(url)
        except ValueError:
            raise UnknownTarget(f"{url!r} is no address of a server: write http://host:port") from None
        self.name = self._http.url

    def __repr__(self) -> str:
        return f"<UrlTarget {self.name}>"

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        if fault := self._fault():
            raise TargetUnavailable(f"target {self.name}: {fault}")

    def _fault(self) -> str:
        """Why it cannot be asked cases; "" where it can."""
        try:
            return fault_of(ask(self._http, _LIVE))
        except OSError as error:
            return no_connection(error)

    def require(self, repository: Path) -> None:
        """Check that the server has the models of a repository. Raises TargetUnavailable."""
        self.start(repository, ())
        try:
            served = self._models()
        except OSError as error:
            raise TargetUnavailable(f"target {self.name}: {no_connection(error)}") from None
        wanted = {folder.name for folder in repository.iterdir() if folder.is_dir()}
        if served is not None and (lacking := sorted(wanted - served)):
            named = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if lacking[5:] else "")
            raise TargetUnavailable(
                f"target {self.name}: it has not all models of the cases; {named} are missing: start it with "
                f"--model-repository={repository}"
            )

    def _models(self) -> set[str] | None:
        """The names in its repository index; None if it has no index. Raises OSError if nothing answers."""
        response = ask(self._http, _INDEX).response
        if response is None or response.status != 200:
            return None
        try:
            return {row["name"] for row in json.loads(response.body)}
        except (ValueError, TypeError, KeyError):
            return None

    def can_start(self, flags: Sequence[str]) -> bool:
        return True

    def limit(self, case: Case) -> str:
        return ""

    def stop(self) -> None:
        """Do nothing: the server belongs to whoever started it."""

    def restart(self) -> None:
        """Do nothing: the server belongs to whoever started it."""

    def lost(self) -> str:
        return self._fault()

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

    @property
    def http_url(self) -> str:
        return self._http.url

    @property
    def grpc_url(self) -> str | None:
        return None

    @property
    def metrics_url(self) -> str | None:
        return None

    def how(self) -> str:
        return f"the server at {self.name}"


def ask(address: Address, request: bytes) -> Exchange:
    """The answer to a request with `%s` where the address's path goes. Raises OSError without a connection."""
    wire = address.connect()
    try:
        wire.send(request % address.base_path.encode())
        return read_exchange(wire, ANSWER_SECONDS)
    finally:
        wire.close()
