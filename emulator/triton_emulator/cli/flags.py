"""The command line as a table: every flag of tritonserver 2.51.0, in the order of its usage text, and our own."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from triton_emulator.cli import values


class Use(Enum):
    """What a flag does here."""

    HONOURED = "honoured"
    #: tritonserver's flag that means nothing here: its value is checked, and a warning says that it has no effect.
    IGNORED = "ignored"
    #: A flag that tritonserver 2.51.0 does not have.
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `hint` is what the usage text shows for its argument, "" where it takes none.

    `setting` names the field of Settings that it fills, or appends to where `repeats`. `deprecated` is what
    tritonserver says when it meets the flag.
    """

    name: str
    hint: str
    convert: Callable[[str], object]
    help: str
    setting: str = ""
    repeats: bool = False
    use: Use = Use.HONOURED
    deprecated: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Flags under one heading of the usage text."""

    title: str
    flags: tuple[Flag, ...]


#: Flags that fill a setting which nothing looks at: a warning says so.
_WITHOUT_EFFECT = frozenset(
    {
        "backend-directory",
        "backend-config",
        "rate-limit",
        "rate-limit-resource",
    }
)


def _use(name: str) -> Use:
    return Use.IGNORED if name in _WITHOUT_EFFECT else Use.HONOURED


def _one(name: str, hint: str, convert: Callable[[str], object], help_: str, setting: str = "") -> Flag:
    return Flag(name, hint, convert, help_, setting or name.replace("-", "_"), use=_use(name))


def _many(name: str, hint: str, convert: Callable[[str], object], help_: str, setting: str) -> Flag:
    return Flag(name, hint, convert, help_, setting, repeats=True, use=_use(name))


def _boolean(name: str, help_: str) -> Flag:
    return _one(name, "<boolean>", values.boolean, help_)


def _integer(name: str, help_: str) -> Flag:
    return _one(name, "<integer>", values.int32, help_)


def _string(name: str, help_: str) -> Flag:
    return _one(name, "<string>", values.text, help_)


def _ignored(name: str, hint: str, convert: Callable[[str], object] = values.text) -> Flag:
    return Flag(name, hint, convert, "", use=Use.IGNORED)


def _no_integer(name: str) -> Flag:
    return _ignored(name, "<integer>", values.int32)


def _no_boolean(name: str) -> Flag:
    return _ignored(name, "<boolean>", values.boolean)


def _ours(name: str, hint: str, convert: Callable[[str], object], help_: str, setting: str = "") -> Flag:
    return Flag(name, hint, convert, help_, setting or name.replace("-", "_"), use=Use.OURS)


def _trace(name: str, hint: str, convert: Callable[[str], object], config: str, placeholder: str) -> Flag:
    return Flag(
        name,
        hint,
        convert,
        f"Deprecated: use --trace-config {config}=....",
        "trace_" + name.removeprefix("trace-").replace("-", "_"),
        repeats=name == "trace-level",
        deprecated=f"Warning: '--{name}' has been deprecated and will be removed in future releases. "
        f"Please use '--trace-config {config}={placeholder} instead.",
    )


_SERVER = (
    _one("id", "<string>", values.text, "The name of the server in its metadata."),
    _integer("exit-timeout-secs", "Seconds to wait at exit for the requests that are running."),
)
_LOGGING = (
    _one("log-verbose", "<integer>", values.verbosity, "The level of verbose log lines; 0 is none."),
    _boolean("log-info", "Whether lines of level I are logged."),
    _boolean("log-warning", "Whether lines of level W are logged."),
    _boolean("log-error", "Whether lines of level E are logged."),
    _one(
        "log-format",
        "<string>",
        values.one_of("default", "ISO8601", name="log-format"),
        "How a log line begins: default (LMMDD hh:mm:ss.ssssss) or ISO8601 (YYYY-MM-DDThh:mm:ssZ L).",
    ),
    _string("log-file", "A file that the log goes to; without it, the console."),
)
_REPOSITORY = (
    _many("model-store", "<string>", values.text, "The same as --model-repository.", "model_repositories"),
    _many(
        "model-repository",
        "<string>",
        values.text,
        "A model repository. May be repeated. Without it the built-in repository is served.",
        "model_repositories",
    ),
    _boolean("exit-on-error", "Whether a model that fails to load ends the server (the default)."),
    Flag(
        "disable-auto-complete-config",
        "",
        bool,
        "Take model configurations as they are written, and complete nothing.",
        "disable_auto_complete_config",
    ),
    _boolean("strict-readiness", "Whether the server is ready only when all its models are (the default)."),
    _one(
        "model-control-mode",
        "<string>",
        values.one_of("none", "poll", "explicit", name="model-control-mode", fold=True),
        "Who loads models: none (all at start), poll (all, and changes are followed) or explicit (requests do).",
    ),
    _integer("repository-poll-secs", "Seconds between two looks at the repository in mode poll."),
    _many(
        "load-model",
        "<string>",
        values.text,
        "A model to load at start in mode explicit. May be repeated. * alone means all.",
        "load_models",
    ),
    _one(
        "model-config-name",
        "<string>",
        values.non_empty("model-config-name"),
        "The custom configuration, configs/<name>.pbtxt of a model, that takes the place of its config.pbtxt.",
    ),
    _integer("model-load-thread-count", "How many models load at the same time."),
    _integer("model-load-retry-count", "How often a model that failed to load is tried again."),
    _boolean(
        "model-namespacing", "Whether repositories are namespaces, so that a name may occur in several."
    ),
    _no_boolean("enable-peer-access"),
)
_HTTP = (
    _boolean("allow-http", "Whether to listen for HTTP."),
    _string("http-address", "The address to listen on. The default is 127.0.0.1 (tritonserver: 0.0.0.0)."),
    _integer("http-port", "The port, 8000 unless given; 0 takes a free one."),
    _boolean("reuse-http-port", "Whether other servers may share the port."),
    _string("http-header-forward-pattern", "Headers that match this become request parameters."),
    _no_integer("http-thread-count"),
    _many(
        "http-restricted-api",
        "<<string>:<string>=<string>>",
        values.restricted("http-restricted-api", "api"),
        "<apis>:<header>=<value>: these APIs ask for that header. APIs: "
        + ", ".join(values.RESTRICTED_CATEGORIES)
        + ".",
        "http_restricted_apis",
    ),
)
_GRPC = (
    _boolean("allow-grpc", "Whether to listen for gRPC."),
    _string("grpc-address", "The address to listen on. The default is 127.0.0.1 (tritonserver: 0.0.0.0)."),
    _integer("grpc-port", "The port, 8001 unless given; 0 takes a free one."),
    _boolean("reuse-grpc-port", "Whether other servers may share the port."),
    _string("grpc-header-forward-pattern", "Metadata that matches this becomes request parameters."),
    _no_integer("grpc-infer-allocation-pool-size"),
    _boolean("grpc-use-ssl", "Whether clients speak TLS."),
    _boolean("grpc-use-ssl-mutual", "Whether clients speak TLS and have to show a certificate themselves."),
    _string("grpc-server-cert", "The server's certificate chain, a PEM file."),
    _string("grpc-server-key", "The key of the server's certificate, a PEM file."),
    _string("grpc-root-cert", "The certificates that clients' certificates are checked against, a PEM file."),
    _one(
        "grpc-infer-response-compression-level",
        "<string>",
        values.one_of(
            "none", "low", "medium", "high", name="grpc_infer_response_compression_level", fold=True
        ),
        "How responses to inference requests are compressed: none (the default), low, medium or high.",
    ),
    _integer("grpc-keepalive-time", "Milliseconds between two keepalive pings; the default is two hours."),
    _integer("grpc-keepalive-timeout", "Milliseconds that a ping's answer may take; the default is 20000."),
    _boolean("grpc-keepalive-permit-without-calls", "Whether to ping where no call is running."),
    _integer("grpc-http2-max-pings-without-data", "How many pings to send where there is no data to send."),
    _integer(
        "grpc-http2-min-recv-ping-interval-without-data",
        "Milliseconds between a client's pings where it sends no data; the default is 300000.",
    ),
    _integer("grpc-http2-max-ping-strikes", "How many pings a client may send too early; 0 is any number."),
    _integer("grpc-max-connection-age", "Milliseconds until a connection is closed; 0 is never."),
    _integer(
        "grpc-max-connection-age-grace", "Milliseconds that the calls of a closed connection may still take."
    ),
    _many(
        "grpc-restricted-protocol",
        "<<string>:<string>=<string>>",
        values.restricted("grpc-restricted-protocol", "protocol"),
        "<protocols>:<key>=<value>: these protocols ask for the metadata triton-grpc-protocol-<key>.",
        "grpc_restricted_protocols",
    ),
)
_CLOUDS = (
    Group(
        "Sagemaker",
        (
            _no_boolean("allow-sagemaker"),
            _no_integer("sagemaker-port"),
            _ignored(
                "sagemaker-safe-port-range",
                "<<integer>-<integer>>",
                values.pair("-", values.int32, values.int32),
            ),
            _no_integer("sagemaker-thread-count"),
        ),
    ),
    Group(
        "Vertex",
        (
            _no_boolean("allow-vertex-ai"),
            _no_integer("vertex-ai-port"),
            _no_integer("vertex-ai-thread-count"),
            _ignored("vertex-ai-default-model", "<string>"),
        ),
    ),
)
_METRICS = (
    _boolean("allow-metrics", "Whether to serve Prometheus metrics."),
    _boolean("allow-gpu-metrics", "Whether the metrics of simulated GPUs are among them (--simulated-gpus)."),
    _boolean("allow-cpu-metrics", "Whether the metrics of processor and memory are among them."),
    _string("metrics-address", "The address to listen on. The default is --http-address."),
    _integer("metrics-port", "The port, 8002 unless given; 0 takes a free one."),
    _one("metrics-interval-ms", "<float>", values.int32, "Milliseconds between two collections."),
    _many(
        "metrics-config",
        "<<string>=<string>>",
        values.setting("metrics-config"),
        "A setting of the metrics, such as summary_latencies=true. May be repeated.",
        "metrics_config",
    ),
)
_TRACING = (
    _many(
        "trace-config",
        "<<string>,<string>=<string>>",
        values.trace_config,
        "[<mode>,]<setting>=<value>: what tracing starts with. Modes: triton, opentelemetry. May be repeated.",
        "trace_config",
    ),
)
_BACKEND = (
    _string("backend-directory", "Shown in the configuration of backends; nothing is loaded from it."),
    _many(
        "backend-config",
        "<<string>,<string>=<string>>",
        values.named_setting("backend-config", "backend name", "backend", required=False),
        "[<backend>,]<setting>=<value>: a setting of one backend or of all. May be repeated.",
        "backend_config",
    ),
)
_AGENT = (_ignored("repoagent-directory", "<string>"),)
_CACHE = (
    _many(
        "cache-config",
        "<<string>,<string>=<string>>",
        values.named_setting("cache-config", "cache name", "cache", required=True),
        "<cache>,<setting>=<value>, such as local,size=1048576: caches responses. May be repeated.",
        "cache_config",
    ),
    _ignored("cache-directory", "<string>"),
)
_RATE_LIMITER = (
    _one(
        "rate-limit",
        "<string>",
        values.one_of("execution_count", "off", name="rate-limit", fold=True),
        "How instances are chosen: execution_count or off. Shown at the start.",
    ),
    _many(
        "rate-limit-resource",
        "<<string>:<integer>:<integer>>",
        values.rate_limit_resource,
        "<resource>:<count>[:<device>]: how much there is of a resource. May be repeated.",
        "rate_limit_resources",
    ),
)
_MEMORY = (
    _ignored("pinned-memory-pool-byte-size", "<integer>", values.int64),
    _ignored(
        "cuda-memory-pool-byte-size", "<<integer>:<integer>>", values.pair(":", values.int32, values.uint64)
    ),
    _ignored(
        "cuda-virtual-address-size", "<<integer>:<integer>>", values.pair(":", values.int32, values.uint64)
    ),
    _ignored("min-supported-compute-capability", "<float>", values.double),
    _no_integer("buffer-manager-thread-count"),
    _ignored(
        "host-policy",
        "<<string>,<string>=<string>>",
        values.generic_setting("host-policy", "policy name", ","),
    ),
    _ignored(
        "model-load-gpu-limit", "<<device_id>:<fraction>>", values.pair(":", values.int32, values.double)
    ),
)
_DEPRECATED = (
    Flag(
        "strict-model-config",
        "<boolean>",
        values.boolean,
        "Deprecated: use --disable-auto-complete-config.",
        "disable_auto_complete_config",
        deprecated="Warning: '--strict-model-config' has been deprecated! "
        "Please use '--disable-auto-complete-config' instead.",
    ),
    Flag(
        "response-cache-byte-size",
        "<integer>",
        values.int64,
        "Deprecated: use --cache-config.",
        "response_cache_byte_size",
        use=_use("response-cache-byte-size"),
    ),
    _trace("trace-file", "<string>", values.text, "triton,file", "<filepath>"),
    _trace("trace-level", "<string>", values.trace_level, "level", "<OFF|TIMESTAMPS|TENSORS>"),
    _trace("trace-rate", "<integer>", values.int32, "rate", "<rate value>"),
    _trace("trace-count", "<integer>", values.int32, "count", "<count value>"),
    _trace("trace-log-frequency", "<integer>", values.int32, "triton,log-frequency", "<log frequency value>"),
)
_OURS = (
    _ours(
        "triton-version",
        "<string>",
        values.one_of("2.51.0", name="triton-version"),
        "The tritonserver to be like. Proved now: 2.51.0 (the default).",
    ),
    _ours(
        "strict-routes", "", bool, "Serve Triton's own routes alone: no bare /generate, /infer, /embeddings."
    ),
    _ours(
        "default-generate-model",
        "<string>",
        values.text,
        "The model behind the bare /generate; else the first that fits.",
    ),
    _ours(
        "default-infer-model",
        "<string>",
        values.text,
        "The model behind the bare /infer; else the first that fits.",
    ),
    _ours(
        "default-embeddings-model",
        "<string>",
        values.text,
        "The model behind /embeddings; else the first that fits.",
    ),
    _ours(
        "emulator-config",
        "<file>",
        values.text,
        "How models answer that cannot run here; else emulator.yaml beside them.",
    ),
    _ours(
        "seed",
        "<integer>",
        values.int64,
        "Another seed gives other answers; the same seed gives the same, always.",
    ),
    _ours(
        "simulated-gpus",
        "<integer>",
        values.int32,
        "Show the GPU metrics of so many simulated GPUs: no device is read. The default is none.",
    ),
    _ours(
        "http-max-input-size",
        "<integer>",
        values.int64,
        "The largest request body in bytes, 64 MiB unless given.",
    ),
    _ours(
        "max-request-size",
        "<integer>",
        values.int64,
        "The same as --http-max-input-size.",
        "http_max_input_size",
    ),
)

GROUPS: tuple[Group, ...] = (
    Group("", (Flag("help", "", bool, "Print this text."),)),
    Group("Server", _SERVER),
    Group("Logging", _LOGGING),
    Group("Model Repository", _REPOSITORY),
    Group("HTTP", _HTTP),
    Group("GRPC", _GRPC),
    *_CLOUDS,
    Group("Metrics", _METRICS),
    Group("Tracing", _TRACING),
    Group("Backend", _BACKEND),
    Group("Repository Agent", _AGENT),
    Group("Response Cache", _CACHE),
    Group("Rate Limiter", _RATE_LIMITER),
    Group("Memory/Device Management", _MEMORY),
    Group("DEPRECATED", _DEPRECATED),
    Group("Emulator (not in tritonserver)", _OURS),
)
FLAGS: tuple[Flag, ...] = tuple(flag for group in GROUPS for flag in group.flags)
