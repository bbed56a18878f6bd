"""The command line as a table: every flag of tritonserver, in the order of its usage text, and our own.

A version of tritonserver has the flags that are in it by then: `groups` and `flags` give those.
"""

from functools import cache

from triton_emulator.cli import values
from triton_emulator.cli.flag import (
    Flag,
    Group,
    Use,
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
from triton_emulator.protocol.personality import DEFAULT_VERSION, RELEASES, Personality
from triton_emulator.settings import RESTRICTED_CATEGORIES

_FIRST, *_, _LAST = RELEASES

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
        since="has_model_config_name",
    ),
    integer("model-load-thread-count", "How many models may load at the same time."),
    integer(
        "model-load-retry-count",
        "How many times to try again to load a model that failed.",
        since="has_model_load_retry_count",
    ),
    boolean(
        "model-namespacing",
        "Whether each repository is a namespace, so that two models may have the same name.",
    ),
    ignored_boolean("enable-peer-access", since="has_enable_peer_access"),
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
    Flag(
        "http-max-input-size",
        "<integer>",
        values.positive("http-max-input-size", values.int64),
        "The largest request body over HTTP in bytes, also of a compressed one when it is decompressed. The default is "
        "64 MiB.",
        "http_max_input_size",
        since="has_http_max_input_size",
    ),
    repeated(
        "http-restricted-api",
        "<<string>:<string>=<string>>",
        values.restricted("http-restricted-api", "api"),
        "<apis>:<header>=<value>: require this header for these APIs. APIs: "
        + ", ".join(RESTRICTED_CATEGORIES)
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
    ignored("grpc-infer-thread-count", "<integer>", values.thread_count, since="has_grpc_infer_thread_count"),
    ignored_integer("grpc-infer-allocation-pool-size"),
    ignored(
        "grpc-max-response-pool-size",
        "<integer>",
        values.positive("grpc-max-response-pool-size", values.int32),
        since="has_grpc_max_response_pool_size",
    ),
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
    integer(
        "grpc-max-connection-age",
        "Milliseconds until a connection is closed; 0 means never.",
        since="has_grpc_max_connection_age",
    ),
    integer(
        "grpc-max-connection-age-grace",
        "Milliseconds that calls may still take after their connection's age is over.",
        since="has_grpc_max_connection_age",
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
        "[<backend>,]<setting>=<value>: a setting of one backend or of all. Only default-max-batch-size has an effect "
        "here. May be repeated.",
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
_SHARED_MEMORY = (
    Flag(
        "allow-client-shm",
        "<boolean>",
        values.boolean,
        "Whether clients may register and unregister shared memory. The default is false.",
        "allow_client_shm",
        since="has_allow_client_shm",
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
        "check",
        "",
        bool,
        "Load the models as at a start, report which load, as what and with which inputs and outputs, unload them and "
        "exit. No port is opened. The exit code is 0 if all models load, 1 if one does not, 2 for a wrong flag.",
    ),
    ours(
        "output-format",
        "<string>",
        values.one_of("text", "json", name="output-format", own=True),
        "The form of the report of --check: text (the default) or json.",
    ),
    ours(
        "triton-version",
        "<string>",
        values.triton_version("triton-version"),
        f"The version of tritonserver to emulate, {_FIRST} to {_LAST}. The default is {DEFAULT_VERSION}.",
    ),
    ours(
        "triton-core-version",
        "<string>",
        values.triton_version("triton-core-version"),
        "The version of the core and of the Python backend that the frontends of --triton-version run on. The default "
        "is the same version. Servers of two versions exist for comparison only.",
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
    Flag(
        "fault",
        "<fault>",
        values.fault,
        'A fault on purpose and the requests that meet it, such as \'error(503, "overloaded") operation=generate '
        "model=llama times=2'. May be repeated. docs/faults.md lists the faults and the fields.",
        "faults",
        repeats=True,
        use=Use.OURS,
    ),
    Flag(
        "control-port",
        "<integer>",
        values.int32,
        "Serve the control API (sessions, plans, stubs, the journal) on this port; 0 chooses a free port. The default "
        "is not to serve it. docs/control.md describes it.",
        "control_port",
        use=Use.OURS,
    ),
    ours(
        "control-address",
        "<string>",
        values.text,
        "The address of the control API. The default is 127.0.0.1. Another one needs a token.",
    ),
    ours(
        "control-token",
        "<string>",
        values.text,
        "What requests to the control API have to have as their bearer token. The default is the environment variable "
        "TRITON_EMULATOR_CONTROL_TOKEN.",
    ),
    ours(
        "seed",
        "<integer>",
        values.int64,
        "Seed of the simulated GPUs' metrics. Answers are seeded in emulator.yaml.",
    ),
    ours(
        "clock",
        "<real|virtual|number>",
        values.clock,
        "The time of what is modelled: the latencies of stand-ins, timeouts of queues, faults. A number is how many "
        "real seconds one second of it takes, 0.01 for example. With virtual, latencies pass at once.",
    ),
    ours(
        "simulated-gpus",
        "<integer|auto>",
        values.simulated_gpus,
        "How many GPUs the machine pretends to have, 0 to 64: models of KIND_GPU load, and there are metrics of GPUs. "
        "0 refuses KIND_GPU as a machine without a GPU does. The default, auto, gives each model the GPUs that its "
        "config asks for. No device is read.",
    ),
    ours(
        "stand-ins",
        "<string>",
        values.one_of("all", "configured", name="stand-ins", own=True),
        "Which models of a backend that cannot run here get a stand-in: all (the default), or those to which "
        "emulator.yaml gives a behaviour. The others are refused as by a tritonserver without that backend, and so is "
        "a Python model whose EXECUTION_ENV_PATH is missing.",
    ),
    ours(
        "python-process-per-model",
        "",
        bool,
        "Run each instance of a Python model in a process of its own, as Triton does. The default is a thread for "
        "each. Threads load faster and need less memory. The key own_process of emulator.yaml says it for one model.",
    ),
    ours(
        "workers",
        "<integer>",
        values.workers,
        "How many processes serve, so that a load test of a client uses several processor cores; the default is 1. "
        "They share the ports; a connection stays with one of them. Statistics and metrics are the sums of all. Only "
        "for models that stand-ins answer for. docs/workers.md says what is refused, and why.",
    ),
    ours(
        "upstream",
        "<URL>",
        str,
        "A real Triton to stand in front of, as http://host:8000: every request passes to it, and every answer back, "
        "byte for byte. No model is loaded.",
    ),
    ours(
        "upstream-grpc", "<host:port>", str, "The gRPC port of that Triton, with https:// before it for TLS."
    ),
    ours("upstream-metrics", "<URL>", str, "The metrics of that Triton, as http://host:8002/metrics."),
    ours(
        "upstream-timeout",
        "<integer>",
        values.positive("upstream-timeout", values.int32),
        "For how many seconds that Triton may be silent in the middle of a request over HTTP, or take for a call over "
        "gRPC with one answer. The default is 300.",
    ),
    ours(
        "record",
        "<directory>",
        str,
        "Record what passes to --upstream into a cassette, whose files a person can review and --replay answers from.",
    ),
    ours(
        "replay",
        "<directory>",
        str,
        "Answer requests from a cassette of --record. No model is loaded.",
    ),
    ours(
        "replay-timing",
        "<none|recorded|factor>",
        values.replay_timing,
        "The times of replayed answers: none (the default), as recorded, or a factor for the recorded ones, as 0.5.",
    ),
    ours(
        "on-miss",
        "<string>",
        values.one_of("error", "emulate", "upstream", name="on-miss", own=True),
        "What becomes of a request that no recording answers: an error that names the nearest recordings (the "
        "default), emulate (the models of the repository answer), or upstream (--upstream does).",
    ),
    ours(
        "shadow",
        "<directory>",
        str,
        "A model repository whose models answer the same requests as --upstream. Clients get the answers of the "
        "server; at the end, a report says which requests the emulator would have answered otherwise.",
    ),
    Flag(
        "http-max-input-size",
        "<integer>",
        values.body_size,
        "The largest input of a request over HTTP in bytes. The default is that of the version: no limit before 2.59, "
        "then 64 MiB. Before 2.59 the limit is for the whole body, and 0 is none.",
        "http_max_input_size",
        use=Use.OURS,
        until="has_http_max_input_size",
    ),
    Flag(
        "max-request-size",
        "<integer>",
        values.body_size,
        "The same as --http-max-input-size.",
        "http_max_input_size",
        use=Use.OURS,
        until="has_http_max_input_size",
    ),
    Flag(
        "max-request-size",
        "<integer>",
        values.positive("max-request-size", values.int64),
        "The same as --http-max-input-size.",
        "http_max_input_size",
        use=Use.OURS,
        since="has_http_max_input_size",
    ),
)

_GROUPS = (
    Group(
        "",
        (
            Flag("help", "", bool, "Print this text."),
            Flag(
                "version",
                "",
                bool,
                "Print this program's version, and the version of Triton that it acts as.",
                use=Use.OURS,
            ),
        ),
    ),
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
    Group("Shared Memory", _SHARED_MEMORY),
    Group("DEPRECATED", _DEPRECATED),
    Group("Emulator (not in tritonserver)", _OURS),
)
#: the flags of all versions
FLAGS: tuple[Flag, ...] = tuple(flag for group in _GROUPS for flag in group.flags)


@cache
def groups(rules: Personality) -> tuple[Group, ...]:
    """The flags that a version has, under their headings."""
    known = [(group.title, tuple(flag for flag in group.flags if flag.known(rules))) for group in _GROUPS]
    return tuple(Group(title, flags) for title, flags in known if flags)


def flags(rules: Personality) -> tuple[Flag, ...]:
    """The flags that a version has."""
    return tuple(flag for group in groups(rules) for flag in group.flags)
