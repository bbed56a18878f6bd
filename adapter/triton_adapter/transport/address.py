"""The address that a URL leads to, and the bytes of a request to it. Pure."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from triton_adapter.errors import AdapterError
from triton_adapter.steps import HttpRequest
from triton_adapter.tls import Tls, refusal
from triton_adapter.transport.forward import ForwardProxy, ProxySettings, bracketed

USER_AGENT = "triton-adapter"


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL leads to: the server, the proxy on the way, the TLS settings.

    `head` is the rest of the request line and the headers that every request to the URL has. It is empty in the address
    under which the pool keeps a connection.
    """

    host: str
    port: int
    secure: bool
    head: str
    tls: Tls | None = None
    via: ForwardProxy | None = None

    @property
    def origin(self) -> str:
        """The server as `https://host:8000`, followed by the forward proxy on the way if there is one."""
        origin = f"http{'s' * self.secure}://{bracketed(self.host)}:{self.port}"
        return origin if self.via is None else f"{origin} via {bracketed(self.via.host)}:{self.via.port}"

    def refusal(self, error: BaseException | None, *, agreed: bool) -> AdapterError | None:
        """Return the error to raise if TLS is why a connection ended without an answer, else None.

        `agreed` says that the TLS handshake was complete.
        """
        shown = self.tls is not None and self.tls.certificate is not None
        return refusal(error, secure=self.secure, shown=shown, agreed=agreed)


@lru_cache(maxsize=1024)
def address_of(url: str, proxies: ProxySettings | None = None) -> Address:
    """Read a URL. ValueError if it is not one; APIConnectionError if the proxy on the way cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https URL")
    secure = parts.scheme == "https"
    # Sent as it stands: Triton does not decode percent signs.
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    host = parts.netloc.rpartition("@")[2]
    port = parts.port or (443 if secure else 80)
    via = None if proxies is None else proxies.via(parts.scheme, parts.hostname, port)
    if via is not None and not secure:
        path = f"http://{host}{path}"
    head = f"{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n"
    return Address(parts.hostname, port, secure, head, via=via)


def request_bytes(wire: HttpRequest, address: Address) -> bytes:
    """Return a request's bytes. ValueError if a header cannot be sent."""
    head = address.head
    lines = [f"{name}: {value}\r\n" for name, value in wire.headers.items()]
    if address.via is not None and address.via.credentials and not address.secure:
        lines.append(address.via.header)
    ends = len(lines) + 3
    for name in ("Host", "User-Agent"):
        if (
            name in wire.headers
        ):  # the caller's own value replaces ours: a gateway may need its name for the server
            before, _, rest = head.partition(f"{name}: ")
            head = before + rest.partition("\r\n")[2]
            ends -= 1
    text = f"{wire.method} {head}{''.join(lines)}"
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError("a header must not hold a line break")
    if wire.body is None:
        return f"{text}\r\n".encode()
    return f"{text}Content-Length: {len(wire.body)}\r\n\r\n".encode() + wire.body


@lru_cache(maxsize=1024)
def pool_key(address: Address, tls: Tls | None) -> Address:
    """Return the address under which a connection is kept: the same for every URL of one server."""
    return Address(address.host, address.port, address.secure, "", tls, address.via)
