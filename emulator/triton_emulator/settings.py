"""What a server is started with, as one value: what the command line says, or the keywords of an embedded server."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RestrictedApis:
    """APIs that answer only to a request whose header `header` has the value `value`."""

    apis: frozenset[str]
    header: str
    value: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option that means something here, with tritonserver's defaults save where a comment gives a reason.

    Names are the flags' names with underscores, plurals where a flag may be repeated. Ports: 0 asks for a free one.
    """

    # The server.
    id: str = "triton"
    exit_timeout_secs: int = 30

    # Logging.
    log_verbose: int = 0
    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_format: str = "default"
    log_file: str = ""

    # The model repository; no repository at all stands for the built-in one.
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

    # HTTP. A test double listens on this machine alone unless it is told otherwise (tritonserver: 0.0.0.0).
    allow_http: bool = True
    http_address: str = "127.0.0.1"
    http_port: int = 8000
    reuse_http_port: bool = False
    http_header_forward_pattern: str = ""
    http_restricted_apis: tuple[RestrictedApis, ...] = ()
    http_max_input_size: int = 64 << 20

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

    # Metrics. An empty address is the HTTP one.
    allow_metrics: bool = True
    allow_gpu_metrics: bool = True
    allow_cpu_metrics: bool = True
    metrics_address: str = ""
    metrics_port: int = 8002
    metrics_interval_ms: int = 2000
    metrics_config: tuple[tuple[str, str], ...] = ()

    # What tracing starts with. `trace_mode_settings` are those of the mode that are neither its file nor its frequency.
    trace_level: tuple[str, ...] = ("OFF",)
    trace_rate: int = 1000
    trace_count: int = -1
    trace_log_frequency: int = 0
    trace_file: str = ""
    trace_mode: str = "triton"
    trace_mode_settings: tuple[tuple[str, str], ...] = ()

    # Backends, caches and scheduling: (name, setting, value), the name "" for a setting of every backend.
    backend_config: tuple[tuple[str, str, str], ...] = ()
    backend_directory: str = "/opt/tritonserver/backends"
    cache_config: tuple[tuple[str, str, str], ...] = ()
    rate_limit: str = "off"
    rate_limit_resources: tuple[tuple[str, int, int], ...] = ()

    # The emulator's own.
    triton_version: str = "2.51.0"
    strict_routes: bool = False
    default_generate_model: str = ""
    default_infer_model: str = ""
    default_embeddings_model: str = ""
    emulator_config: str | Path = ""
    seed: int = 0
    simulated_gpus: int = 0

    #: Flags that were given and mean nothing here, in the order given; the server warns of each once.
    ignored_flags: tuple[str, ...] = field(default=())
