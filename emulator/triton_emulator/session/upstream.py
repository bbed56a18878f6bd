"""The real server in front of which a session stands: its addresses, the connections to it, what it says of itself."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

from triton_emulator.harness.errors import NeedsModels, NeedsServer
from triton_emulator.settings import Settings
from triton_emulator.wire.http_client import HttpClient, Origin, UpstreamError, fetch

#: the words of `replay_timing` as factors
TIMINGS = {"none": 0.0, "recorded": 1.0}
#: how the address of a gRPC port begins that speaks TLS
_TLS = "https://"
#: the path of metrics, which the URL of a metrics port may have or not
_METRICS = "/metrics"
#: statuses with which a server, or what stands before it, keeps its metadata to itself
_SILENT = (401, 403, 407, 429)
_LEAST_FAILURE = 500


class Upstream:
    """A real server. Its connections are made when they are needed, on the event loop.

    `http` and `metrics` are None where the session has no address of it, `grpc` is "" then.
    """

    def __init__(self, settings: Settings) -> None:
        self.timeout = settings.upstream_timeout
        self.http = _client(settings.upstream, self.timeout)
        self.metrics = _client(settings.upstream_metrics.removesuffix(_METRICS), self.timeout)
        self.grpc = settings.upstream_grpc.removeprefix(_TLS)
        self._grpc_tls = settings.upstream_grpc.startswith(_TLS)
        self._channel: Any = None
        self._checked = False
        #: what the server answers to `GET /v2`; empty until it was asked, and where it does not tell
        self.metadata: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        at = [str(client.origin) for client in (self.http, self.metrics) if client is not None]
        return f"<Upstream {', '.join([*at, *([self.grpc] if self.grpc else [])])}>"

    async def require_http(self) -> HttpClient:
        """The client of its HTTP port, after a Triton has answered there. Raises UpstreamError."""
        if self.http is None:
            raise UpstreamError("has no address for HTTP; give one with --upstream")
        if not self._checked:
            self.metadata = await _metadata(self.http)
            self._checked = True
        return self.http

    async def describe(self) -> None:
        """Let a server tell what it is, where it has HTTP, for the recordings of what it answers over gRPC."""
        if self.http is not None and not self._checked:
            with suppress(UpstreamError):
                await self.require_http()

    def require_metrics(self) -> HttpClient:
        """The client of its metrics port. Raises UpstreamError."""
        if self.metrics is None:
            raise UpstreamError("has no address for metrics; give one with --upstream-metrics")
        return self.metrics

    def channel(self) -> Any:
        """The channel to its gRPC port. Raises UpstreamError."""
        if not self.grpc:
            raise UpstreamError("has no address for gRPC; give one with --upstream-grpc")
        if self._channel is None:
            import grpc  # an extra, and slow to import

            options = [
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                # a server that comes back is found at once
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            if self._grpc_tls:
                self._channel = grpc.aio.secure_channel(self.grpc, grpc.ssl_channel_credentials(), options)
            else:
                self._channel = grpc.aio.insecure_channel(self.grpc, options)
        return self._channel

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to its gRPC port: a status of a call that has failed is the server's then."""
        import grpc  # an extra, and slow to import

        return self._channel is not None and self._channel.get_state() is grpc.ChannelConnectivity.READY

    def origin(self) -> Mapping[str, Any]:
        """Where the server is and what it says of itself, for a recording."""
        addresses = {"upstream": self.http and str(self.http.origin), "upstream_grpc": self.grpc}
        known = {
            name: self.metadata[name] for name in ("name", "version", "extensions") if name in self.metadata
        }
        return {**({"server": known} if known else {}), **{name: at for name, at in addresses.items() if at}}

    async def close(self) -> None:
        """Close the connections. On the event loop."""
        for client in (self.http, self.metrics):
            if client is not None:
                client.close()
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()


def _client(url: str, timeout: float) -> HttpClient | None:
    return HttpClient(Origin.of(url), timeout) if url else None


async def _metadata(client: HttpClient) -> Mapping[str, Any]:
    """What a server says of itself, nothing where it does not. Raises UpstreamError where it is no Triton."""
    head, body = await fetch(client, "/v2")
    if head.status in _SILENT or head.status >= _LEAST_FAILURE:
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if head.status == 200 and isinstance(document, dict) and "name" in document and "version" in document:
        return document
    begins = body[:60].decode("utf-8", "replace")
    raise UpstreamError(
        f"{client.origin} is no Triton: it answers GET /v2 with {head.status} and {begins!r}, not with its metadata"
    )


#: options that set nothing where no models of the emulator answer. Those that are not here set something: `faults`,
#: `seed` and `clock` are for plans, `emulator_config` may have plans, the version has the words of faults, restricted
#: APIs name headers that are secrets.
_OF_MODELS = frozenset(
    {
        "allow_client_shm",
        "backend_config",
        "backend_directory",
        "cache_config",
        "default_embeddings_model",
        "default_generate_model",
        "default_infer_model",
        "disable_auto_complete_config",
        "exit_on_error",
        "grpc_header_forward_pattern",
        "http_header_forward_pattern",
        "http_max_input_size",
        "load_models",
        "metrics_config",
        "model_config_name",
        "model_control_mode",
        "model_load_retry_count",
        "model_load_thread_count",
        "model_namespacing",
        "python_process_per_model",
        "rate_limit",
        "rate_limit_resources",
        "repository_poll_secs",
        "stand_ins",
        "strict_readiness",
        "strict_routes",
        "trace_count",
        "trace_file",
        "trace_level",
        "trace_log_frequency",
        "trace_mode",
        "trace_mode_settings",
        "trace_rate",
    }
)


def check_upstream(settings: Settings, given: Iterable[str], spelt: Callable[[str], str] = str) -> None:
    """Raise ValueError for addresses that are none, and options that an upstream contradicts.

    Raises NeedsModels for an option among `given`, which are those that the user has written, that sets nothing where a
    real server or a cassette answers in place of models, and NeedsServer for one that needs a real server. `spelt`
    writes the name of an option as the user has written it.
    """
    for name in ("upstream", "upstream_metrics"):
        if url := getattr(settings, name):
            try:
                Origin.of(url)
            except ValueError as fault:
                raise ValueError(f"{spelt(name)}: {fault}") from None
    if settings.upstream_grpc:
        host, colon, port = settings.upstream_grpc.removeprefix(_TLS).rpartition(":")
        if not (colon and host and port.isdecimal() and 0 < int(port) < 65536) or "/" in host:
            raise ValueError(
                f"{spelt('upstream_grpc')}: {settings.upstream_grpc!r} is no address; write host:port, or "
                "https://host:port for TLS"
            )
    if settings.upstream_timeout <= 0:
        raise ValueError(f"{spelt('upstream_timeout')} is at least 1 second, not {settings.upstream_timeout}")
    if settings.upstream_metrics and not settings.has_upstream:
        raise ValueError(f"{spelt('upstream_metrics')} needs {spelt('upstream')} or {spelt('upstream_grpc')}")
    _check_cassettes(settings, spelt)
    if settings.shadow and not settings.has_upstream:
        raise NeedsServer(f"{spelt('shadow')} needs {spelt('upstream')}, whose answers it is compared with")
    if settings.model_repositories and settings.shadow:
        raise ValueError(f"{spelt('shadow')} is the model repository; leave {spelt('model_repository')} out")
    if not settings.loads_models:
        _check_without_models(settings, given, spelt)


def _check_without_models(settings: Settings, given: Iterable[str], spelt: Callable[[str], str]) -> None:
    name = spelt("upstream" if settings.has_upstream else "replay")
    if settings.model_repositories:
        raise NeedsModels(
            f"{name} answers in place of models, so no {spelt('model_repository')} is read; leave it out"
        )
    if vain := [spelt(option) for option in given if option in _OF_MODELS]:
        many = len(vain) > 1
        raise NeedsModels(
            f"{name} answers in place of models, so {' and '.join(vain)} {'set' if many else 'sets'} nothing; "
            f"leave {'them' if many else 'it'} out"
        )


def _check_cassettes(settings: Settings, spelt: Callable[[str], str]) -> None:
    timing = settings.replay_timing
    if isinstance(timing, str) and timing not in TIMINGS:
        raise ValueError(f"{spelt('replay_timing')} is none, recorded or a factor as 0.5, not {timing!r}")
    if not isinstance(timing, str) and not (isfinite(timing) and timing >= 0):
        raise ValueError(f"{spelt('replay_timing')} is a factor of 0 or more, not {timing!r}")
    if settings.record and not settings.has_upstream:
        raise NeedsServer(f"{spelt('record')} needs {spelt('upstream')}, whose answers it records")
    if settings.on_miss != "error" and not settings.replay:
        raise ValueError(f"{spelt('on_miss')} needs {spelt('replay')}")
    if settings.on_miss == "upstream" and not settings.has_upstream:
        raise NeedsServer(f"{spelt('on_miss')}=upstream needs {spelt('upstream')}")
    if settings.replay and settings.has_upstream and settings.on_miss != "upstream":
        raise ValueError(f"{spelt('replay')} with {spelt('upstream')} needs {spelt('on_miss')}=upstream")


def factor(timing: str | float) -> float:
    """How long recorded times last in a replay."""
    return TIMINGS[timing] if isinstance(timing, str) else float(timing)
