"""The keyword options of `Emulator(...)` and `Emulator.session(...)`, as types for editors and type checkers.

They are the fields of `Settings`, whose comments and defaults hold here too. A field whose value is one of a few words
is a Literal here, so that an editor can offer them. `model_repositories` is missing, as folders are positional
arguments; `ignored_flags` is missing, as only a command line has it. A test holds these types equal to `Settings`.

TypedDicts and not eighty keyword parameters: the parameters of `session` would repeat most of them, and the defaults
would be written in three places.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict

from triton_emulator.settings import RestrictedApis


class SessionOptions(TypedDict, total=False):
    """The options of a session. Those that are not given are the emulator's."""

    id: str

    log_verbose: int
    log_info: bool
    log_warning: bool
    log_error: bool
    log_format: Literal["default", "ISO8601"]
    log_file: str

    exit_on_error: bool
    disable_auto_complete_config: bool
    strict_readiness: bool
    model_control_mode: Literal["none", "poll", "explicit"]
    repository_poll_secs: int
    load_models: tuple[str, ...]
    model_config_name: str
    model_load_thread_count: int
    model_load_retry_count: int
    model_namespacing: bool

    http_header_forward_pattern: str
    http_restricted_apis: tuple[RestrictedApis, ...]
    http_max_input_size: int
    grpc_header_forward_pattern: str
    grpc_restricted_protocols: tuple[RestrictedApis, ...]

    metrics_config: tuple[tuple[str, str], ...]

    trace_level: tuple[str, ...]
    trace_rate: int
    trace_count: int
    trace_log_frequency: int
    trace_file: str
    trace_mode: Literal["triton", "opentelemetry"]
    trace_mode_settings: tuple[tuple[str, str], ...]

    backend_config: tuple[tuple[str, str, str], ...]
    backend_directory: str
    cache_config: tuple[tuple[str, str, str], ...]
    rate_limit: Literal["off", "execution_count"]
    rate_limit_resources: tuple[tuple[str, int, int], ...]

    triton_version: str
    strict_routes: bool
    default_generate_model: str
    default_infer_model: str
    default_embeddings_model: str
    emulator_config: str | Path
    seed: int
    simulated_gpus: int


class EmulatorOptions(SessionOptions, total=False):
    """The options of an emulator: a session's, and those of the process and its listeners, which all sessions share."""

    exit_timeout_secs: int

    allow_http: bool
    http_address: str
    http_port: int
    reuse_http_port: bool

    allow_grpc: bool
    grpc_address: str
    grpc_port: int
    reuse_grpc_port: bool
    grpc_use_ssl: bool
    grpc_use_ssl_mutual: bool
    grpc_server_cert: str
    grpc_server_key: str
    grpc_root_cert: str
    grpc_infer_response_compression_level: Literal["none", "low", "medium", "high"]
    grpc_keepalive_time: int
    grpc_keepalive_timeout: int
    grpc_keepalive_permit_without_calls: bool
    grpc_http2_max_pings_without_data: int
    grpc_http2_min_recv_ping_interval_without_data: int
    grpc_http2_max_ping_strikes: int
    grpc_max_connection_age: int
    grpc_max_connection_age_grace: int

    allow_metrics: bool
    allow_gpu_metrics: bool
    allow_cpu_metrics: bool
    metrics_address: str
    metrics_port: int
    metrics_interval_ms: int


_EMULATOR = EmulatorOptions.__annotations__
_SESSION = SessionOptions.__annotations__


def check_emulator_options(given: Mapping[str, object]) -> None:
    """Raise TypeError if a name is no option."""
    _refuse_unknown(given, _EMULATOR)


def check_session_options(given: Mapping[str, object]) -> None:
    """Raise TypeError if a name is no option, ValueError if it is one that all sessions share."""
    for name in given:
        if name in _EMULATOR and name not in _SESSION:
            raise ValueError(f"{name} is an option of the whole emulator, not of a session")
    _refuse_unknown(given, _SESSION)


def _refuse_unknown(given: Mapping[str, object], known: Mapping[str, object]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(f"unexpected option {name}; {_advice(name, known)}")


def _advice(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches  # only for a mistake

    if name.startswith("model_repositor"):
        return "model repositories are the positional arguments"
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "the options are tritonserver's flags with underscores"
