"""A server that somebody else started, as a target: it serves one repository, with flags that we do not know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from triton_contract.clients.http import Address
from triton_contract.process import Death

from .target import TargetUnavailable


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
