"""The keyword options of `Emulator(...)` and `Emulator.session(...)`, as types for editors and type checkers.

They are the fields of `Settings`, whose comments and defaults hold here too. A field whose value is one of a few words
is a Literal here, so that an editor can offer them. `model_repositories` is missing, as folders are positional
arguments; `ignored_flags` and `workers` are missing, as only the command has them. A test holds these types equal to
`Settings`.

TypedDicts and not eighty keyword parameters: the parameters of `session` would repeat most of them, and the defaults
would be written in three places.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fsdecode
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypedDict, get_args, get_origin

from triton_emulator.clock import check_clock
from triton_emulator.cxx.numbers import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN
from triton_emulator.harness.given_text import plan_of_text
from triton_emulator.protocol.personality import personality
from triton_emulator.session.upstream import check_upstream
from triton_emulator.settings import (
    MOST_GPUS,
    OPEN_CONTROL,
    RestrictedApis,
    Settings,
    TraceLevel,
    TritonVersion,
    in_two_groups,
)


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
    http_max_input_size: int | None
    grpc_header_forward_pattern: str
    grpc_restricted_protocols: tuple[RestrictedApis, ...]
    allow_client_shm: bool | None

    metrics_config: tuple[tuple[str, str], ...]

    trace_level: tuple[TraceLevel, ...]
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

    triton_version: TritonVersion
    triton_core_version: TritonVersion
    strict_routes: bool
    default_generate_model: str
    default_infer_model: str
    default_embeddings_model: str
    emulator_config: str | Path
    seed: int
    clock: str | float
    simulated_gpus: int | None
    stand_ins: Literal["all", "configured"]
    python_process_per_model: bool

    faults: tuple[str, ...]

    journal_requests: int
    journal_bytes: int

    upstream: str
    upstream_grpc: str
    upstream_metrics: str
    upstream_timeout: int
    record: str | Path
    replay: str | Path
    replay_timing: str | float
    on_miss: Literal["error", "emulate", "upstream"]
    shadow: str | Path


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

    control_address: str
    control_port: int | None
    control_token: str


_EMULATOR = EmulatorOptions.__annotations__
_SESSION = SessionOptions.__annotations__


def check_emulator_options(given: Mapping[str, object]) -> None:
    """Raise TypeError if a name is no option or a value has another type, ValueError if it is out of range."""
    _refuse_unknown(given, _EMULATOR)
    _check_values(given)


def check_session_options(given: Mapping[str, object]) -> None:
    """Raise as `check_emulator_options` does, and ValueError if an option is one that all sessions share."""
    for name in given:
        if name in _EMULATOR and name not in _SESSION:
            raise ValueError(f"{name} is an option of the whole emulator, not of a session")
    _refuse_unknown(given, _SESSION)
    _check_values(given)


def repository_path(given: object) -> str:
    """The path of a model repository. Raises TypeError for what is neither a text nor a path."""
    if isinstance(given, str | PathLike):
        return fsdecode(given)
    several = isinstance(given, Iterable) and not isinstance(given, bytes | bytearray)
    advice = "; give several repositories as several arguments" if several else ""
    raise TypeError(f"a model repository is a str or a Path, not {given!r}{advice}")


def check_together(settings: Settings, given: Mapping[str, object]) -> None:
    """Raise ValueError if options contradict each other or a plan means nothing, as the command line refuses flags.

    `settings` are the whole ones; `given` are the options that a caller has written.
    """
    check_upstream(settings, given)
    rules = personality(settings.triton_version, settings.triton_core_version)
    if "load_models" in given and settings.loads_in_vain and rules.load_model_needs_explicit:
        raise ValueError(
            f"load_models needs model_control_mode='explicit', not {settings.model_control_mode!r}"
        )
    if settings.control_is_open:
        raise ValueError(OPEN_CONTROL.format(settings.control_address))
    if shared := settings.on_one_port():
        raise ValueError(
            f"{shared[0]} and {shared[1]} cannot listen at the same address and port {shared[2]}"
        )
    for text in settings.faults:
        try:
            plan_of_text(text)
        except ValueError as error:
            raise ValueError(f"faults: {text!r}: {error}") from None
    for name in ("http_restricted_apis", "grpc_restricted_protocols"):
        if api := in_two_groups(getattr(settings, name)):
            raise ValueError(f"{name} holds {api!r} in more than one group")


_PORT = (0, 65535)
#: The least and the largest value of an integer; those that are not here have 32 bits, as the flags.
_BOUNDS = {
    "http_max_input_size": (0, INT64_MAX),
    "http_port": _PORT,
    "grpc_port": _PORT,
    "metrics_port": _PORT,
    "control_port": _PORT,
    "seed": (INT64_MIN, INT64_MAX),
    "journal_requests": (0, INT32_MAX),
    "journal_bytes": (0, INT64_MAX),
    "simulated_gpus": (0, MOST_GPUS),
}

#: What checks the options whose types do not say enough. Each raises ValueError.
_OWN_CHECKS: Mapping[str, Callable[[object], object]] = {"clock": check_clock}


def _check_values(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        wanted: Any = _EMULATOR[name]
        if name in _OWN_CHECKS:
            _OWN_CHECKS[name](value)
            continue
        if get_origin(wanted) is Literal:
            if not _fits(value, wanted):
                words = ", ".join(map(repr, get_args(wanted)))
                raise ValueError(f"{name} is one of {words}, not {value!r}")
        elif get_origin(wanted) is tuple:
            _check_elements(name, value, get_args(wanted)[0])
        elif not _fits(value, wanted):
            raise TypeError(f"{name} is of the type {_spelt(wanted)}, not {value!r}")
        elif isinstance(value, int) and not isinstance(value, bool):
            least, largest = _BOUNDS.get(name, (INT32_MIN, INT32_MAX))
            if not least <= value <= largest:
                none = "None or " if _fits(None, wanted) else ""
                raise ValueError(f"{name} is {none}a number from {least} to {largest}, not {value!r}")


def _check_elements(name: str, value: object, wanted: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        example = ", for example ('a', 'b')" if wanted is str else ""
        raise TypeError(f"{name} is a tuple{example}, not {value!r}")
    for element in value:
        if not _fits(element, wanted):
            raise TypeError(f"each element of {name} is {_spelt(wanted)}, not {element!r}")


def _fits(value: object, wanted: Any) -> bool:
    """Whether a value is of a type: a class, a Literal, a tuple of such types, or a union of them."""
    kind: object = get_origin(wanted)
    if kind is Literal:
        return value in get_args(wanted)
    if kind is UnionType:
        return any(_fits(value, one) for one in get_args(wanted))
    if kind is tuple:
        parts = get_args(wanted)
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    # bool is an int, too
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _spelt(wanted: Any) -> str:
    """A type as messages write it: "str", "(str, int)", "'a' or 'b'", "int | None"."""
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    if get_origin(wanted) is tuple:
        return f"({', '.join(map(_spelt, get_args(wanted)))})"
    return str(getattr(wanted, "__name__", wanted))


def _refuse_unknown(given: Mapping[str, object], known: Mapping[str, object]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(f"unexpected option {name}; {_advice(name, known)}")


def _advice(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches  # only for a mistake

    if name.startswith("model_repositor") or name in ("models", "repository", "repositories"):
        return "model repositories are the positional arguments"
    if name == "workers":
        return "only the command has several processes: triton-emulator --workers=4"
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "the options are tritonserver's flags with underscores"
