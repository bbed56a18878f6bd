"""The settings of a server as one value, made from a command line or from the options of `Emulator`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

#: The most GPUs that a machine can pretend to have.
MOST_GPUS = 64
#: The most processes that serve together.
MOST_WORKERS = 256
#: how many requests a journal keeps that is on because something reads it
JOURNAL_REQUESTS = 10_000
#: the refusal of a control API that others could use, by its address
OPEN_CONTROL = (
    "the control API at {} could be reached from other machines; give it a token (--control-token, or "
    "TRITON_EMULATOR_CONTROL_TOKEN), or the address 127.0.0.1"
)


#: What can be restricted.
RESTRICTED_CATEGORIES = (
    "health",
    "metadata",
    "inference",
    "shared-memory",
    "model-config",
    "model-repository",
    "statistics",
    "trace",
    "logging",
)
#: what gRPC's metadata has before the name of a restricted API's header
GRPC_RESTRICTED_PREFIX = "triton-grpc-protocol-"
TraceLevel = Literal["OFF", "TIMESTAMPS", "TENSORS"]
#: the releases of `protocol.personality`
TritonVersion = Literal[
    "2.41.0",
    "2.42.0",
    "2.43.0",
    "2.44.0",
    "2.45.0",
    "2.46.0",
    "2.47.0",
    "2.48.0",
    "2.49.0",
    "2.50.0",
    "2.51.0",
    "2.52.0",
    "2.53.0",
    "2.54.0",
    "2.55.0",
    "2.56.0",
    "2.57.0",
    "2.58.0",
    "2.59.0",
    "2.59.1",
    "2.60.0",
    "2.61.0",
    "2.62.0",
    "2.63.0",
    "2.64.0",
    "2.65.0",
    "2.66.0",
    "2.67.0",
    "2.68.0",
    "2.69.0",
    "2.70.0",
    "2.71.0",
    "2.72.0",
    "2.73.0",
    "2.74.0",
]


@dataclass(frozen=True, slots=True)
class RestrictedApis:
    """APIs that answer only requests whose header `header` (over gRPC: metadata) has the value `value`.

    Raises TypeError if `apis` is no frozenset, ValueError for one that is none of `RESTRICTED_CATEGORIES`.
    """

    apis: frozenset[str]
    header: str
    value: str

    def __post_init__(self) -> None:
        if not isinstance(self.apis, frozenset):
            raise TypeError(f"apis is a frozenset, for example frozenset({{'health'}}), not {self.apis!r}")
        for api in self.apis:
            if api not in RESTRICTED_CATEGORIES:
                raise ValueError(f"apis holds names of {', '.join(RESTRICTED_CATEGORIES)}, not {api!r}")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, with tritonserver's defaults unless a comment gives the reason for another one.

    The names are the flags' names with underscores; a flag that may be repeated has a name in the plural. Port 0 means
    a free port.
    """

    # The server. `workers` is how many processes serve, which only the command can start.
    id: str = "triton"
    exit_timeout_secs: int = 30
    workers: int = 1

    # Logging.
    log_verbose: int = 0
    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_format: str = "default"
    log_file: str = ""

    # The model repositories; none means the built-in models.
    model_repositories: tuple[str, ...] = ()
    exit_on_error: bool = True
    disable_auto_complete_config: bool = False
    strict_readiness: bool = True
    model_control_mode: str = "none"
    repository_poll_secs: int = 15
    load_models: tuple[str, ...] = ()
    model_config_name: str = ""
    model_load_thread_count: int = 4
    model_load_retry_count: int = 0
    model_namespacing: bool = False

    # HTTP. The default is to listen on this machine only, as this is a test double (tritonserver: 0.0.0.0).
    # `http_max_input_size` is in bytes; 0 is no limit, None that of the version: none before 2.59, then 64 MiB.
    allow_http: bool = True
    http_address: str = "127.0.0.1"
    http_port: int = 8000
    reuse_http_port: bool = False
    http_header_forward_pattern: str = ""
    http_restricted_apis: tuple[RestrictedApis, ...] = ()
    http_max_input_size: int | None = None

    # gRPC.
    allow_grpc: bool = True
    grpc_address: str = "127.0.0.1"
    grpc_port: int = 8001
    reuse_grpc_port: bool = False
    grpc_header_forward_pattern: str = ""
    grpc_restricted_protocols: tuple[RestrictedApis, ...] = ()
    grpc_use_ssl: bool = False
    grpc_use_ssl_mutual: bool = False
    grpc_server_cert: str = "server.crt"
    grpc_server_key: str = "server.key"
    grpc_root_cert: str = ""
    grpc_infer_response_compression_level: str = "none"
    # milliseconds
    grpc_keepalive_time: int = 7_200_000
    grpc_keepalive_timeout: int = 20_000
    grpc_keepalive_permit_without_calls: bool = False
    grpc_http2_max_pings_without_data: int = 2
    grpc_http2_min_recv_ping_interval_without_data: int = 300_000
    grpc_http2_max_ping_strikes: int = 2
    grpc_max_connection_age: int = 0
    grpc_max_connection_age_grace: int = 0

    # Shared memory of clients; None is what the version does: allowed before 2.68, then not.
    allow_client_shm: bool | None = None

    # Metrics. An empty address means that of HTTP.
    allow_metrics: bool = True
    allow_gpu_metrics: bool = True
    allow_cpu_metrics: bool = True
    metrics_address: str = ""
    metrics_port: int = 8002
    metrics_interval_ms: int = 2000
    metrics_config: tuple[tuple[str, str], ...] = ()

    # The initial trace settings. `trace_mode_settings` are the mode's other settings, besides file and log frequency.
    trace_level: tuple[TraceLevel, ...] = ("OFF",)
    trace_rate: int = 1000
    trace_count: int = -1
    trace_log_frequency: int = 0
    trace_file: str = ""
    trace_mode: str = "triton"
    trace_mode_settings: tuple[tuple[str, str], ...] = ()

    # Backends, caches and scheduling, as (name, setting, value); the name "" means every backend.
    # `rate_limit_resources` are (resource, count, device), device -1 for all.
    backend_config: tuple[tuple[str, str, str], ...] = ()
    backend_directory: str = "/opt/tritonserver/backends"
    cache_config: tuple[tuple[str, str, str], ...] = ()
    rate_limit: str = "off"
    rate_limit_resources: tuple[tuple[str, int, int], ...] = ()

    # The emulator's own. `seed` is that of the simulated GPUs' metrics.
    triton_version: str = "2.51.0"
    # The version of the core and of the Python backend, where it is another than that of the frontends; "" is the same.
    triton_core_version: str = ""
    strict_routes: bool = False
    default_generate_model: str = ""
    default_infer_model: str = ""
    default_embeddings_model: str = ""
    emulator_config: str | Path = ""
    seed: int = 0
    # "real", "virtual", or how many real seconds one second of the session takes.
    clock: str | float = "real"
    # How many GPUs the machine pretends to have; None gives each model those that its config asks for.
    simulated_gpus: int | None = None
    # "all": a stand-in answers for every backend that cannot run here; "configured": only where emulator.yaml says so.
    stand_ins: str = "all"
    # Whether each instance of a Python model has a process of its own, as in Triton; an emulator.yaml may differ.
    python_process_per_model: bool = False

    # Plans as texts, as `--fault` takes them: "error(503) operation=generate times=2".
    faults: tuple[str, ...] = ()

    # The journal: how many requests it keeps, and about how many bytes of them and their answers. It is off (0
    # requests) on the command line, where nothing reads it; an `Emulator` and its sessions keep 10,000.
    journal_requests: int = 0
    journal_bytes: int = 64 << 20

    # A real server in front of which this one stands: the URL of its HTTP port, "host:port" of its gRPC port (with
    # "https://" before it for TLS), the URL of its metrics. No models are loaded then. `upstream_timeout` is for how
    # many seconds it may be silent in the middle of a request.
    upstream: str = ""
    upstream_grpc: str = ""
    upstream_metrics: str = ""
    upstream_timeout: int = 300
    # Cassettes: the folder into which what passes is recorded, and the one from which requests are answered. Its times
    # are "none", "recorded", or a factor for the recorded ones. `on_miss` is what becomes of a request that no
    # recording answers: "error", "emulate" (by the models), or "upstream".
    record: str | Path = ""
    replay: str | Path = ""
    replay_timing: str | float = "none"
    on_miss: str = "error"
    # A model repository whose models answer the same requests, to be compared with the real server.
    shadow: str | Path = ""

    # The control API: off without a port, 0 is a free port. Another machine may reach it with a token only.
    control_address: str = "127.0.0.1"
    control_port: int | None = None
    control_token: str = ""

    #: Flags that were given and have no effect here, in their order; the command warns of each once.
    ignored_flags: tuple[str, ...] = field(default=())

    @property
    def core_version(self) -> str:
        """The version of the core, which is the one that a server reports as its own."""
        return self.triton_core_version or self.triton_version

    @property
    def has_upstream(self) -> bool:
        """Whether a real server answers in place of models."""
        return bool(self.upstream or self.upstream_grpc)

    @property
    def loads_models(self) -> bool:
        """Whether models answer, if only what no recording answers."""
        return not (self.has_upstream or self.replay) or self.on_miss == "emulate" or bool(self.shadow)

    @property
    def loads_in_vain(self) -> bool:
        """Whether it names models to load in a mode that does not look at them."""
        return bool(self.load_models) and self.model_control_mode != "explicit"

    @property
    def control_is_open(self) -> bool:
        """Whether another machine could reach the control API without a token."""
        return (
            self.control_port is not None and not self.control_token and not is_loopback(self.control_address)
        )

    def on_one_port(self) -> tuple[str, str, str] | None:
        """Two listeners at the same address and port, as (listener, listener, "address:port"); None without such."""
        metrics_address = self.metrics_address or self.http_address
        taken: dict[tuple[str, int], str] = {}
        for listener, allowed, address, port in (
            ("HTTP", self.allow_http, self.http_address, self.http_port),
            ("GRPC", self.allow_grpc, self.grpc_address, self.grpc_port),
            ("metrics", self.allow_metrics, metrics_address, self.metrics_port),
            ("control", self.control_port is not None, self.control_address, self.control_port or 0),
        ):
            if not allowed or port == 0:  # 0 means a free port here, another one for each listener
                continue
            first = taken.setdefault((address, port), listener)
            if first != listener:
                return first, listener, f"{address}:{port}"
        return None


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is that of this machine's own interface."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_two_groups(groups: Iterable[RestrictedApis]) -> str:
    """The first API in alphabetical order that more than one group holds; "" without such."""
    counts = Counter(api for group in groups for api in group.apis)
    return min((api for api, count in counts.items() if count > 1), default="")
