"""The gRPC listener: grpc.aio on the event loop that is already running."""

from collections.abc import Mapping
from pathlib import Path

import grpc

from triton_emulator.frontends.grpc.service import Service
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings

_INT32_MAX = (1 << 31) - 1
#: gRPC's number of a compression level; gRPC chooses the algorithm among those that the client accepts
_COMPRESSION = {"none": 0, "low": 1, "medium": 2, "high": 3}


class CannotListen(Exception):
    """The server cannot listen on the address. The text gives the reason."""


class GrpcServer:
    """Serves the sessions on an address until it is closed.

    Raises CannotListen, and OSError where a certificate or a key can not be read.
    """

    def __init__(
        self, root: SessionState, sessions: Mapping[str, SessionState], address: str, port: int
    ) -> None:
        settings = root.settings
        credentials = _credentials(settings)
        self._service = Service(root, sessions)
        self._server = grpc.aio.server(handlers=(self._service,), options=_options(settings))
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            self.port: int = (
                self._server.add_insecure_port(target)
                if credentials is None
                else self._server.add_secure_port(target, credentials)
            )
        except RuntimeError as fault:
            raise CannotListen(str(fault)) from None
        self._host = target.rpartition(":")[0]
        self._state = "not started"

    def __repr__(self) -> str:
        return f"<GrpcServer {self._host}:{self.port}, {self._state}>"

    async def start(self) -> None:
        """Listen from now on."""
        await self._server.start()
        self._state = "listening"

    def cut(self, session: str) -> None:
        """End the calls whose metadata names this session with UNAVAILABLE."""
        self._service.cut(session)

    async def close(self, grace: float) -> None:
        """Refuse new calls, let the calls in flight finish for up to `grace` seconds, then cancel the others."""
        self._state = "closed"
        self._service.drain()
        await self._server.stop(grace)


def _options(settings: Settings) -> list[tuple[str, int]]:
    ping_interval = settings.grpc_http2_min_recv_ping_interval_without_data
    options = [
        ("grpc.max_send_message_length", _INT32_MAX),
        ("grpc.max_receive_message_length", _INT32_MAX),
        ("grpc.so_reuseport", int(settings.reuse_grpc_port)),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_time),
        ("grpc.keepalive_timeout_ms", settings.grpc_keepalive_timeout),
        ("grpc.http2.ping_timeout_ms", settings.grpc_keepalive_timeout),
        ("grpc.keepalive_permit_without_calls", int(settings.grpc_keepalive_permit_without_calls)),
        ("grpc.http2.max_pings_without_data", settings.grpc_http2_max_pings_without_data),
        ("grpc.http2.min_ping_interval_without_data_ms", ping_interval),
        ("grpc.http2.max_ping_strikes", settings.grpc_http2_max_ping_strikes),
        ("grpc.default_compression_level", _COMPRESSION[settings.grpc_infer_response_compression_level]),
    ]
    if settings.grpc_max_connection_age:
        options.append(("grpc.max_connection_age_ms", settings.grpc_max_connection_age))
    if settings.grpc_max_connection_age_grace:
        options.append(("grpc.max_connection_age_grace_ms", settings.grpc_max_connection_age_grace))
    return options


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """The TLS credentials, or None without TLS. In 2.51 `--grpc-use-ssl-mutual` alone turns TLS on as well."""
    if not (settings.grpc_use_ssl or settings.grpc_use_ssl_mutual):
        return None
    key = Path(settings.grpc_server_key).read_bytes()
    certificate = Path(settings.grpc_server_cert).read_bytes()
    root = Path(settings.grpc_root_cert).read_bytes() if settings.grpc_root_cert else None
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=root,
        require_client_auth=settings.grpc_use_ssl_mutual,
    )
