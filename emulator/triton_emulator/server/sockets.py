"""The sockets of the listeners: bound before the models load, so that a port in use is reported at once."""

import errno
import socket
from dataclasses import dataclass
from typing import Self

from triton_emulator.settings import Settings


class PortInUse(OSError):
    """A listener cannot have its address or its port. The message names the flag that chooses another one."""


@dataclass(slots=True)
class Sockets:
    """Bound sockets that do not listen yet; None for a listener that is turned off."""

    grpc: socket.socket | None = None
    http: socket.socket | None = None
    metrics: socket.socket | None = None
    control: socket.socket | None = None

    @classmethod
    def bind(cls, settings: Settings, *, grpc: bool) -> Self:
        """Bind what `settings` turn on; with `grpc` false, gRPC is left out. Raises PortInUse.

        gRPC binds its port by itself, and clients can connect from then on. So this socket only reserves the port while
        the models load; `release_grpc` is called just before gRPC binds. For a free port (0) only the address counts:
        gRPC then takes another port.
        """
        sockets = cls()
        try:
            if grpc:
                reuse = settings.reuse_grpc_port
                sockets.grpc = _bind("grpc", settings.grpc_address, settings.grpc_port, reuse)
            if settings.allow_http:
                reuse = settings.reuse_http_port
                sockets.http = _bind("http", settings.http_address, settings.http_port, reuse)
            if settings.allow_metrics:
                own = settings.metrics_address
                sockets.metrics = _bind(
                    "metrics",
                    own or settings.http_address,
                    settings.metrics_port,
                    reuse=False,
                    address_flag="--metrics-address" if own else "--http-address",
                )
            if settings.control_port is not None:
                sockets.control = _bind(
                    "control", settings.control_address, settings.control_port, reuse=False
                )
        except BaseException:
            sockets.close()
            raise
        return sockets

    def ports(self) -> set[int]:
        """The ports that are bound by these sockets."""
        bound = (sock for sock in (self.grpc, self.http, self.metrics, self.control) if sock is not None)
        return {sock.getsockname()[1] for sock in bound if sock.fileno() >= 0}

    def share_grpc(self, settings: Settings) -> int:
        """Let other processes bind the port of gRPC too, which stays reserved; returns the port. Raises PortInUse.

        It was bound for this process alone at first, so a port that another program has is refused.
        """
        assert self.grpc is not None  # noqa: S101
        port: int = self.grpc.getsockname()[1]
        self.grpc.close()
        self.grpc = _bind("grpc", settings.grpc_address, port, reuse=True)
        return port

    def release_grpc(self) -> None:
        """Free the reserved port for gRPC, which binds it by itself."""
        if self.grpc is not None:
            self.grpc.close()

    def close(self) -> None:
        """Close all of them; closing one twice is no error."""
        for sock in (self.grpc, self.http, self.metrics, self.control):
            if sock is not None:
                sock.close()


#: Listeners as tritonserver's messages name them.
_SERVICES = {"grpc": "GRPC", "http": "HTTP", "metrics": "Metrics", "control": "Control"}


def _bind(listener: str, address: str, port: int, reuse: bool, address_flag: str = "") -> socket.socket:
    """Bind a listener's socket. `address_flag` is the flag that chose its address, by default the listener's own."""
    failed = f"failed to start {_SERVICES[listener]} service"
    port_flag = f"--{listener}-port"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((address, port))
    except OSError as fault:
        sock.close()
        why = "already in use" if fault.errno == errno.EADDRINUSE else str(fault.strerror or fault)
        # gaierror: the address is not one, or a name that is not known.
        wrong_address = isinstance(fault, socket.gaierror) or fault.errno == errno.EADDRNOTAVAIL
        flag = (address_flag or f"--{listener}-address") if wrong_address else port_flag
        text = f"{failed}: Unavailable - Socket '{address}:{port}' {why}; choose another with {flag}"
        raise PortInUse(text) from None
    except OverflowError:
        sock.close()
        raise PortInUse(
            f"{failed}: {port} is not a port: 0 to 65535; choose another with {port_flag}"
        ) from None
    return sock
