"""Forward proxies: the settings HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, and the tunnel through a proxy.

An http request is sent to the proxy, with the whole URL in its first line. An https request goes through a tunnel
(CONNECT). The TLS handshake is with the server itself, so the proxy sees only the server's name and port.
"""

import asyncio
import os
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from triton_adapter.errors import APIConnectionError

CODE = "upstream_proxy"
# Bytes of a proxy's answer to CONNECT above which it is taken to have no end.
LONGEST_ANSWER = 1 << 16


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """A proxy. `credentials` is the value of Proxy-Authorization, empty if there is none."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """The header line with the credentials, if there are any. It must be sent to the proxy only."""
        return f"Proxy-Authorization: {self.credentials}\r\n" if self.credentials else ""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The proxies that the environment names, by scheme; under `no` the hosts that are reached without one."""

    named: tuple[tuple[str, str], ...] = field(repr=False)

    def via(self, scheme: str, host: str, port: int) -> ForwardProxy | None:
        """Return the proxy for a server, None for none. APIConnectionError if the URL named is not an http proxy's."""
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # the stubs lack it

        named = dict(self.named)
        url = named.get(scheme) or named.get("all")
        # For a proxy on another machine, "localhost" would be that machine.
        if not url or _is_local(host) or proxy_bypass_environment(f"{host}:{port}", named):
            return None
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme == "http" and parts.hostname:
                login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
                credentials = f"Basic {b64encode(login).decode()}" if "@" in parts.netloc else ""
                return ForwardProxy(parts.hostname, parts.port or 80, credentials)
        except ValueError:
            pass
        raise APIConnectionError(
            f"the proxy that the environment names for {scheme} must be http://host:port: no other kind is supported",
            code=CODE,
        )


def environment() -> ProxySettings | None:
    """Return the settings in the environment now, None if there are none."""
    if not any(name[-6:].lower() == "_proxy" for name in os.environ):
        return None
    from urllib.request import getproxies_environment

    return ProxySettings(tuple(sorted(getproxies_environment().items())))


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def _is_local(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel to a server.

    `agreed` is done when there is one, or has the APIConnectionError that says why there is none. After that the
    transport belongs to TLS.
    """

    def __init__(self, via: ForwardProxy, host: str, port: int) -> None:
        self._server = f"{bracketed(host)}:{port}"
        self._via = via
        self._head = b""
        self.agreed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = f"CONNECT {self._server} HTTP/1.1\r\nHost: {self._server}\r\n{self._via.header}\r\n"
        transport.write(request.encode())  # type: ignore[attr-defined]  # a stream's

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > LONGEST_ANSWER:
                self._refused("does not end its answer")
            return
        status = head.split(b" ", 2)[1:2]
        if not head.startswith(b"HTTP/1.") or status != [b"200"]:
            code = status[0].decode() if status and status[0].isdigit() and len(status[0]) == 3 else ""
            # 5xx: the proxy did not reach Triton. That is repeated, as it is without a proxy.
            why = f"refuses to connect ({code})" if code else "does not speak HTTP"
            self._refused(why, retryable=code.startswith("5"))
        elif rest:  # a TLS server sends nothing first: these bytes are the proxy's own
            self._refused("sends more than its answer")
        elif not self.agreed.done():
            self.agreed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused("broke the connection", retryable=True)

    def _refused(self, why: str, *, retryable: bool = False) -> None:
        if not self.agreed.done():
            message = f"the proxy on the way to Triton {why}"
            self.agreed.set_exception(APIConnectionError(message, retryable=retryable, code=CODE))
