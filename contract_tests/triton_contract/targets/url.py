"""A server that somebody else started, as a target: it serves one repository, with flags that we do not know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from triton_contract.cases.case import Case
from triton_contract.clients.http import PROBE_SECONDS, Address, read_exchange
from triton_contract.process import Death

from .target import TargetUnavailable

_INDEX = (
    b"POST %s/v2/repository/index HTTP/1.1\r\nHost: triton\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class UrlTarget:
    """The server at `url` (http://host:port, a path may follow). Starting and stopping it do nothing.

    Raises ValueError for anything but an http:// address.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._http = Address.of(url)

    def __repr__(self) -> str:
        return f"<UrlTarget {self.name}>"

    def start(self, repository: Path, flags: Sequence[str]) -> None:
        try:
            self._http.connect().close()
        except OSError as error:
            raise TargetUnavailable(f"target {self.name}: {error}") from None

    def require(self, repository: Path) -> None:
        """Check that the server has the models of a repository. Raises TargetUnavailable."""
        try:
            served = self._models()
        except OSError as error:
            raise TargetUnavailable(f"target {self.name}: {error}") from None
        wanted = {folder.name for folder in repository.iterdir() if folder.is_dir()}
        if served is not None and (lacking := sorted(wanted - served)):
            named = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if lacking[5:] else "")
            raise TargetUnavailable(
                f"target {self.name}: it has not all models of the cases; {named} are missing: start it with "
                f"--model-repository={repository}"
            )

    def _models(self) -> set[str] | None:
        """The names in its repository index; None if it has no index. Raises OSError if nothing answers."""
        wire = self._http.connect()
        try:
            wire.send(_INDEX % self._http.base_path.encode())
            response = read_exchange(wire, PROBE_SECONDS).response
        finally:
            wire.close()
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
        return "a server at a URL"
