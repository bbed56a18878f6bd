"""Where a request goes, and its bytes."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from triton_adapter.errors import AdapterError
from triton_adapter.steps import Wire
from triton_adapter.tls import Tls, refusal
from triton_adapter.transport.forward import Routes, Via

USER_AGENT = "triton-adapter"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads: whom to connect to, through which proxy, what to ask for."""

    host: str
    port: int
    secure: bool
    head: str
    tls: Tls | None = None
    via: Via | None = None

    def refusal(self, error: BaseException | None, *, agreed: bool) -> AdapterError | None:
        """Return what TLS has to do with the end of a connection that has not been answered."""
        shown = self.tls is not None and self.tls.certificate is not None
        return refusal(error, secure=self.secure, shown=shown, agreed=agreed)


@lru_cache(maxsize=1024)
def place(url: str, routes: Routes | None = None) -> Place:
    """Read a URL. ValueError if it is none; APIConnectionError if the proxy on the way cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https URL")
    secure = parts.scheme == "https"
    # As it stands: Triton does not decode percent signs, so what is asked for is what must be sent.
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    host = parts.netloc.rpartition("@")[2]
    port = parts.port or (443 if secure else 80)
    via = None if routes is None else routes.via(parts.scheme, parts.hostname, port)
    if via is not None and not secure:
        path = f"http://{host}{path}"
    head = f"{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n"
    return Place(parts.hostname, port, secure, head, via=via)


def request_bytes(wire: Wire, where: Place) -> bytes:
    """Return a request's bytes. ValueError if a header cannot be sent."""
    head = where.head
    lines = [f"{name}: {value}\r\n" for name, value in wire.headers.items()]
    if where.via is not None and where.via.credentials and not where.secure:
        lines.append(where.via.header)
    ends = len(lines) + 3
    for name in ("Host", "User-Agent"):
        if name in wire.headers:  # the caller's own, a gateway's name for the server
            before, _, rest = head.partition(f"{name}: ")
            head = before + rest.partition("\r\n")[2]
            ends -= 1
    text = f"{wire.method} {head}{''.join(lines)}"
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError("a header with a line break in it")
    if wire.body is None:
        return f"{text}\r\n".encode()
    return f"{text}Content-Length: {len(wire.body)}\r\n\r\n".encode() + wire.body


@lru_cache(maxsize=1024)
def address(where: Place, tls: Tls | None) -> Place:
    """Return what a connection is kept under."""
    return Place(where.host, where.port, where.secure, "", tls, where.via)
