"""The settings of a server as one value, made from a command line or from the options of `Emulator`."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RestrictedApis:
    """APIs that answer only requests whose header `header` (over gRPC: metadata) has the value `value`."""

    apis: frozenset[str]
    header: str
    value: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, with tritonserver's defaults unless a comment gives the reason for another one.

    The names are the flags' names with underscores; a flag that may be repeated has a name in the plural. Port 0 means
    a free port.
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
    # `http_max_input_size` is in bytes.
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

    # Metrics. An empty address means that of HTTP.
    allow_metrics: bool = True
    allow_gpu_metrics: bool = True
    allow_cpu_metrics: bool = True
    metrics_address: str = ""
    metrics_port: int = 8002
    metrics_interval_ms: int = 2000
    metrics_config: tuple[tuple[str, str], ...] = ()

    # The initial trace settings. `trace_mode_settings` are the mode's other settings, besides file and log frequency.
    trace_level: tuple[str, ...] = ("OFF",)
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
    strict_routes: bool = False
    default_generate_model: str = ""
    default_infer_model: str = ""
    default_embeddings_model: str = ""
    emulator_config: str | Path = ""
    seed: int = 0
    simulated_gpus: int = 0

    #: Flags that were given and have no effect here, in their order; the command warns of each once.
    ignored_flags: tuple[str, ...] = field(default=())
