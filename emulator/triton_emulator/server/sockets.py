"""The sockets of the three listeners: bound before the models load, so that a port in use is reported at once."""

import errno
import socket
from dataclasses import dataclass
from typing import Self

from triton_emulator.settings import Settings


class PortInUse(OSError):
    """A listener cannot have its address. The message names the flag that chooses another port."""


@dataclass(slots=True)
class Sockets:
    """Bound sockets that do not listen yet; None for a listener that is turned off."""

    grpc: socket.socket | None = None
    http: socket.socket | None = None
    metrics: socket.socket | None = None

    @classmethod
    def bind(cls, settings: Settings, *, grpc: bool) -> Self:
        """Bind what `settings` turn on; with `grpc` false, gRPC is left out. Raises PortInUse.

        gRPC binds its port by itself, and clients can connect from then on. So this socket only reserves the port while
        the models load; `release_grpc` is called just before gRPC binds. A free port (0) needs no reservation.
        """
        sockets = cls()
        try:
            if grpc and settings.grpc_port:
                reuse = settings.reuse_grpc_port
                sockets.grpc = _bind("GRPC", settings.grpc_address, settings.grpc_port, "--grpc-port", reuse)
            if settings.allow_http:
                reuse = settings.reuse_http_port
                sockets.http = _bind("HTTP", settings.http_address, settings.http_port, "--http-port", reuse)
            if settings.allow_metrics:
                address = settings.metrics_address or settings.http_address
                port = settings.metrics_port
                sockets.metrics = _bind("Metrics", address, port, "--metrics-port", reuse=False)
        except BaseException:
            sockets.close()
            raise
        return sockets

    def release_grpc(self) -> None:
        """Free the reserved port for gRPC, which binds it by itself."""
        if self.grpc is not None:
            self.grpc.close()

    def close(self) -> None:
        """Close all of them; closing one twice is no error."""
        for sock in (self.grpc, self.http, self.metrics):
            if sock is not None:
                sock.close()


def _bind(service: str, address: str, port: int, flag: str, reuse: bool) -> socket.socket:
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
        text = f"failed to start {service} service: Unavailable - Socket '{address}:{port}' {why}"
        raise PortInUse(f"{text}; choose another with {flag}") from None
    except OverflowError:
        sock.close()
        raise PortInUse(
            f"failed to start {service} service: {port} is no port; choose another with {flag}"
        ) from None
    return sock
