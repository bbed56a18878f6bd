"""Forward proxies: whom HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY send a connection through, and the tunnel.

An http request is handed to the proxy whole, as everywhere. An https one goes through a tunnel (CONNECT), and TLS is
agreed on with the server itself: the proxy sees its name and its port alone.
"""

import asyncio
import os
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from triton_adapter.errors import APIConnectionError

CODE = "upstream_proxy"
# Bytes of a proxy's answer to CONNECT.
LONGEST_ANSWER = 1 << 16


@dataclass(frozen=True, slots=True)
class Via:
    """A proxy, and what it is shown."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """The header's line for the proxy, if there is one. It is for nobody else."""
        return f"Proxy-Authorization: {self.credentials}\r\n" if self.credentials else ""


@dataclass(frozen=True, slots=True)
class Routes:
    """What the environment says: the proxies by scheme, and under `no` who is asked without one."""

    said: tuple[tuple[str, str], ...] = field(repr=False)

    def via(self, scheme: str, host: str, port: int) -> Via | None:
        """Return the proxy for an address, None for none. APIConnectionError if what is named is no http proxy."""
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # it is there

        said = dict(self.said)
        url = said.get(scheme) or said.get("all")
        # A proxy elsewhere would look for this machine's Triton on its own machine.
        if not url or _is_here(host) or proxy_bypass_environment(f"{host}:{port}", said):
            return None
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme == "http" and parts.hostname:
                shown = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
                credentials = f"Basic {b64encode(shown).decode()}" if "@" in parts.netloc else ""
                return Via(parts.hostname, parts.port or 80, credentials)
        except ValueError:
            pass
        raise APIConnectionError(
            f"the proxy that the environment names for {scheme} is no http://host:port, the one kind that is supported",
            code=CODE,
        )


def environment() -> Routes | None:
    """Return what the environment says now; None if nothing."""
    if not any(name[-6:].lower() == "_proxy" for name in os.environ):
        return None
    from urllib.request import getproxies_environment

    return Routes(tuple(sorted(getproxies_environment().items())))


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel. `agreed` ends when there is one; the transport is TLS's from then on."""

    def __init__(self, via: Via, host: str, port: int) -> None:
        self._where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._via = via
        self._head = b""
        self.agreed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = f"CONNECT {self._where} HTTP/1.1\r\nHost: {self._where}\r\n{self._via.header}\r\n"
        transport.write(request.encode())  # type: ignore[attr-defined]  # a stream's

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > LONGEST_ANSWER:
                self._refused("has no end to its answer")
            return
        status = head.split(b" ", 2)[1:2]
        if not head.startswith(b"HTTP/1.") or status != [b"200"]:
            told = status[0].decode() if status and status[0].isdigit() and len(status[0]) == 3 else ""
            # 5xx: it did not reach Triton, which may be back soon; without a proxy that is worth another try too.
            why = f"refuses to connect ({told})" if told else "does not speak HTTP"
            self._refused(why, retryable=told.startswith("5"))
        elif rest:  # a server waits for TLS to begin: these are the proxy's own
            self._refused("says more than it was asked")
        elif not self.agreed.done():
            self.agreed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused("broke the connection", retryable=True)

    def _refused(self, why: str, *, retryable: bool = False) -> None:
        if not self.agreed.done():
            message = f"the proxy on the way to Triton {why}"
            self.agreed.set_exception(APIConnectionError(message, retryable=retryable, code=CODE))
