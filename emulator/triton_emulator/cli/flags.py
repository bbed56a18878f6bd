"""The command line as a table: every flag of tritonserver 2.51.0, in the order of its usage text, and our own."""

from triton_emulator.cli import values
from triton_emulator.cli.flag import (
    Flag,
    Group,
    boolean,
    deprecated_trace,
    ignored,
    ignored_boolean,
    ignored_integer,
    integer,
    ours,
    repeated,
    single,
    string,
    use,
)

_SERVER = (
    single("id", "<string>", values.text, "The name of the server in its metadata."),
    integer("exit-timeout-secs", "Seconds that requests in flight may take to finish when the server stops."),
)
_LOGGING = (
    single("log-verbose", "<integer>", values.verbosity, "The level of verbose log lines; 0 is none."),
    boolean("log-info", "Whether to log lines of level I."),
    boolean("log-warning", "Whether to log lines of level W."),
    boolean("log-error", "Whether to log lines of level E."),
    single(
        "log-format",
        "<string>",
        values.one_of("default", "ISO8601", name="log-format"),
        "How a log line begins: default (LMMDD hh:mm:ss.ssssss) or ISO8601 (YYYY-MM-DDThh:mm:ssZ L).",
    ),
    string("log-file", "The file that the log is written to. The default is the console."),
)
_REPOSITORY = (
    repeated("model-store", "<string>", values.text, "The same as --model-repository.", "model_repositories"),
    repeated(
        "model-repository",
        "<string>",
        values.text,
        "A model repository. May be repeated. Without it, the built-in models are served.",
        "model_repositories",
    ),
    boolean("exit-on-error", "Whether a model that fails to load ends the server (the default)."),
    Flag(
        "disable-auto-complete-config",
        "",
        bool,
        "Use model configurations as they are written; complete nothing.",
        "disable_auto_complete_config",
    ),
    boolean(
        "strict-readiness", "Whether the server is ready only when all its models are ready (the default)."
    ),
    single(
        "model-control-mode",
        "<string>",
        values.one_of("none", "poll", "explicit", name="model-control-mode", fold=True),
        "When models load: none (at start), poll (at start and when the repository changes) or explicit (on request).",
    ),
    integer("repository-poll-secs", "Seconds between two scans of the repository in mode poll."),
    repeated(
        "load-model",
        "<string>",
        values.text,
        "A model to load at start in mode explicit. May be repeated. A single * means all.",
        "load_models",
    ),
    single(
        "model-config-name",
        "<string>",
        values.non_empty("model-config-name"),
        "Use configs/<name>.pbtxt of a model, if it is there, in place of its config.pbtxt.",
    ),
    integer("model-load-thread-count", "How many models may load at the same time."),
    integer("model-load-retry-count", "How many times to try again to load a model that failed."),
    boolean(
        "model-namespacing",
        "Whether each repository is a namespace, so that two models may have the same name.",
    ),
    ignored_boolean("enable-peer-access"),
)
_HTTP = (
    boolean("allow-http", "Whether to listen for HTTP."),
    string("http-address", "The address to listen on. The default is 127.0.0.1 (tritonserver: 0.0.0.0)."),
    integer("http-port", "The port to listen on. The default is 8000; 0 chooses a free port."),
    boolean("reuse-http-port", "Whether other servers may share the port."),
    string(
        "http-header-forward-pattern", "A regular expression: matching headers become request parameters."
    ),
    ignored_integer("http-thread-count"),
    repeated(
        "http-restricted-api",
        "<<string>:<string>=<string>>",
        values.restricted("http-restricted-api", "api"),
        "<apis>:<header>=<value>: require this header for these APIs. APIs: "
        + ", ".join(values.RESTRICTED_CATEGORIES)
        + ".",
        "http_restricted_apis",
    ),
)
_GRPC = (
    boolean("allow-grpc", "Whether to listen for gRPC."),
    string("grpc-address", "The address to listen on. The default is 127.0.0.1 (tritonserver: 0.0.0.0)."),
    integer("grpc-port", "The port to listen on. The default is 8001; 0 chooses a free port."),
    boolean("reuse-grpc-port", "Whether other servers may share the port."),
    string(
        "grpc-header-forward-pattern", "A regular expression: matching metadata become request parameters."
    ),
    ignored_integer("grpc-infer-allocation-pool-size"),
    boolean("grpc-use-ssl", "Whether to serve over TLS."),
    boolean("grpc-use-ssl-mutual", "Whether to serve over TLS and to require a certificate of the client."),
    string("grpc-server-cert", "The server's certificate chain, a PEM file."),
    string("grpc-server-key", "The key of the server's certificate, a PEM file."),
    string(
        "grpc-root-cert", "The root certificates that client certificates are checked against, a PEM file."
    ),
    single(
        "grpc-infer-response-compression-level",
        "<string>",
        values.one_of(
            "none", "low", "medium", "high", name="grpc_infer_response_compression_level", fold=True
        ),
        "How responses to inference requests are compressed: none (the default), low, medium or high.",
    ),
    integer("grpc-keepalive-time", "Milliseconds between two keepalive pings; the default is two hours."),
    integer("grpc-keepalive-timeout", "Milliseconds to wait for the answer to a ping; the default is 20000."),
    boolean("grpc-keepalive-permit-without-calls", "Whether to send pings while no call is running."),
    integer("grpc-http2-max-pings-without-data", "How many pings to send while there is no data to send."),
    integer(
        "grpc-http2-min-recv-ping-interval-without-data",
        "Least milliseconds between two pings of a client that sends no data; the default is 300000.",
    ),
    integer("grpc-http2-max-ping-strikes", "How many pings a client may send too early; 0 means any number."),
    integer("grpc-max-connection-age", "Milliseconds until a connection is closed; 0 means never."),
    integer(
        "grpc-max-connection-age-grace",
        "Milliseconds that calls may still take after their connection's age is over.",
    ),
    repeated(
        "grpc-restricted-protocol",
        "<<string>:<string>=<string>>",
        values.restricted("grpc-restricted-protocol", "protocol"),
        "<protocols>:<key>=<value>: require the metadata triton-grpc-protocol-<key> for these protocols.",
        "grpc_restricted_protocols",
    ),
)
_CLOUDS = (
    Group(
        "Sagemaker",
        (
            ignored_boolean("allow-sagemaker"),
            ignored_integer("sagemaker-port"),
            ignored(
                "sagemaker-safe-port-range",
                "<<integer>-<integer>>",
                values.pair("-", values.int32, values.int32),
            ),
            ignored_integer("sagemaker-thread-count"),
        ),
    ),
    Group(
        "Vertex",
        (
            ignored_boolean("allow-vertex-ai"),
            ignored_integer("vertex-ai-port"),
            ignored_integer("vertex-ai-thread-count"),
            ignored("vertex-ai-default-model", "<string>"),
        ),
    ),
)
_METRICS = (
    boolean("allow-metrics", "Whether to serve Prometheus metrics."),
    boolean("allow-gpu-metrics", "Whether to include the metrics of simulated GPUs (--simulated-gpus)."),
    boolean("allow-cpu-metrics", "Whether to include the metrics of processor and memory."),
    string("metrics-address", "The address to listen on. The default is --http-address."),
    integer("metrics-port", "The port to listen on. The default is 8002; 0 chooses a free port."),
    single("metrics-interval-ms", "<float>", values.int32, "Milliseconds between two collections."),
    repeated(
        "metrics-config",
        "<<string>=<string>>",
        values.setting("metrics-config"),
        "A setting of the metrics, such as summary_latencies=true. May be repeated.",
        "metrics_config",
    ),
)
_TRACING = (
    repeated(
        "trace-config",
        "<<string>,<string>=<string>>",
        values.trace_config,
        "[<mode>,]<setting>=<value>: an initial trace setting. Modes: triton, opentelemetry. May be repeated.",
        "trace_config",
    ),
)
_BACKEND = (
    string("backend-directory", "Shown in the configuration of backends; nothing is loaded from it."),
    repeated(
        "backend-config",
        "<<string>,<string>=<string>>",
        values.named_setting("backend-config", "backend name", "backend", required=False),
        "[<backend>,]<setting>=<value>: a setting of one backend or of all. May be repeated.",
        "backend_config",
    ),
)
_AGENT = (ignored("repoagent-directory", "<string>"),)
_CACHE = (
    repeated(
        "cache-config",
        "<<string>,<string>=<string>>",
        values.named_setting("cache-config", "cache name", "cache", required=True),
        "<cache>,<setting>=<value>, such as local,size=1048576: cache responses. May be repeated.",
        "cache_config",
    ),
    ignored("cache-directory", "<string>"),
)
_RATE_LIMITER = (
    single(
        "rate-limit",
        "<string>",
        values.one_of("execution_count", "off", name="rate-limit", fold=True),
        "How instances are chosen: execution_count or off. Shown at start.",
    ),
    repeated(
        "rate-limit-resource",
        "<<string>:<integer>:<integer>>",
        values.rate_limit_resource,
        "<resource>:<count>[:<device>]: the amount of a resource. May be repeated.",
        "rate_limit_resources",
    ),
)
_MEMORY = (
    ignored("pinned-memory-pool-byte-size", "<integer>", values.int64),
    ignored(
        "cuda-memory-pool-byte-size", "<<integer>:<integer>>", values.pair(":", values.int32, values.uint64)
    ),
    ignored(
        "cuda-virtual-address-size", "<<integer>:<integer>>", values.pair(":", values.int32, values.uint64)
    ),
    ignored("min-supported-compute-capability", "<float>", values.double),
    ignored_integer("buffer-manager-thread-count"),
    ignored(
        "host-policy",
        "<<string>,<string>=<string>>",
        values.generic_setting("host-policy", "policy name", ","),
    ),
    ignored(
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
        use=use("response-cache-byte-size"),
    ),
    deprecated_trace("trace-file", "<string>", values.text, "triton,file", "<filepath>"),
    deprecated_trace("trace-level", "<string>", values.trace_level, "level", "<OFF|TIMESTAMPS|TENSORS>"),
    deprecated_trace("trace-rate", "<integer>", values.int32, "rate", "<rate value>"),
    deprecated_trace("trace-count", "<integer>", values.int32, "count", "<count value>"),
    deprecated_trace(
        "trace-log-frequency", "<integer>", values.int32, "triton,log-frequency", "<log frequency value>"
    ),
)
_OURS = (
    ours(
        "triton-version",
        "<string>",
        values.one_of("2.51.0", name="triton-version"),
        "The version of tritonserver to emulate. 2.51.0 (the default) is the only one.",
    ),
    ours("strict-routes", "", bool, "Serve only Triton's own routes, not /generate, /infer and /embeddings."),
    ours(
        "default-generate-model",
        "<string>",
        values.text,
        "The model that answers at /generate. The default is the one that fits best.",
    ),
    ours(
        "default-infer-model",
        "<string>",
        values.text,
        "The model that answers at /infer. The default is the one that fits best.",
    ),
    ours(
        "default-embeddings-model",
        "<string>",
        values.text,
        "The model that answers at /embeddings. The default is the one that fits best.",
    ),
    ours(
        "emulator-config",
        "<file>",
        values.text,
        "Settings of the models that cannot run here. The default is emulator.yaml in each repository.",
    ),
    ours(
        "seed",
        "<integer>",
        values.int64,
        "Seed of the simulated GPUs' metrics. Answers are seeded in emulator.yaml.",
    ),
    ours(
        "simulated-gpus",
        "<integer>",
        values.int32,
        "Serve the metrics of this many simulated GPUs; no device is read. The default is 0.",
    ),
    ours(
        "http-max-input-size",
        "<integer>",
        values.int64,
        "The largest request body in bytes. The default is 64 MiB.",
    ),
    ours(
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
