"""What each version of Triton does: one table of changes, and the personality that it makes of a version.

How it works
------------
`Personality` has one field for each thing that versions do differently: a flag, a limit or a text. The defaults of the
fields are what the oldest version of `RELEASES` does. `CHANGES` is the history: each row gives a field the value that
it has from one version on. `personality(version)` applies the rows up to that version, oldest first, once when a server
starts. The code that serves requests reads fields and never compares versions:

    raise internal(rules.too_few_elements)

To add a change, add a field, its rows and the cases that prove them. `docs/upgrades.md` is made from the table.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from triton_emulator.cxx.numbers import INT32_MAX, INT64_MAX

#: Releases by version, oldest first, with the tag of their container images.
RELEASES = {
    "2.41.0": "23.12",
    "2.42.0": "24.01",
    "2.43.0": "24.02",
    "2.44.0": "24.03",
    "2.45.0": "24.04",
    "2.46.0": "24.05",
    "2.47.0": "24.06",
    "2.48.0": "24.07",
    "2.49.0": "24.08",
    "2.50.0": "24.09",
    "2.51.0": "24.10",
    "2.52.0": "24.11",
    "2.53.0": "24.12",
    "2.54.0": "25.01",
    "2.55.0": "25.02",
    "2.56.0": "25.03",
    "2.57.0": "25.04",
    "2.58.0": "25.05",
    "2.59.0": "25.06",
    "2.59.1": "25.07",
    "2.60.0": "25.08",
    "2.61.0": "25.09",
    "2.62.0": "25.10",
    "2.63.0": "25.11",
    "2.64.0": "25.12",
    "2.65.0": "26.01",
    "2.66.0": "26.02",
    "2.67.0": "26.03",
    "2.68.0": "26.04",
    "2.69.0": "26.05",
    "2.70.0": "26.06",
    "2.71.0": "26.07",
    "2.72.0": "26.08",
    "2.73.0": "26.09",
    "2.74.0": "26.10",
}
#: The versions whose real server has been asked all cases. The others take the rows by their first version.
PROVED = ("2.41.0", "2.44.0", "2.48.0", "2.50.0", "2.51.0", "2.72.0")
DEFAULT_VERSION = "2.51.0"

#: a number of bytes that no request has
NO_LIMIT = INT64_MAX
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Personality:
    """What one version does. The defaults are those of the oldest version; `CHANGES` says what each field is about."""

    version: str

    # The bodies and heads of requests over HTTP
    http_max_input_size: int = NO_LIMIT
    json_too_large: str = ""
    limits_decompressed: bool = False
    http_max_chunks: int = NO_LIMIT
    drains_connections: bool = False
    numeric_header_length: bool = False
    reserved_headers: frozenset[str] = frozenset()
    load_metrics_header: bool = False
    status_by_code: bool = False
    forwarding_ignores_case: bool = False
    double_parameters: bool = False

    # Their JSON
    iterative_json: bool = False
    json_nesting_limit: int = NO_LIMIT
    checks_shapes: bool = False
    too_few_elements: str = "Unable to parse 'data': Shape does not match true shape of 'data' field"
    no_strings: str = ""

    # What generate makes of it
    generate_checks_size: bool = False
    generate_arrays: bool = False
    generate_empty_outputs: bool = False
    generate_head: tuple[tuple[bytes, bytes], ...] = ((b"Content-Type", b"application/json"),)
    generate_request_id: bool = False

    # Outputs
    duplicate_outputs: bool = True
    classification_limit: int = NO_LIMIT
    wrong_output_size: str = "output tensor shape does not match size of output for '{name}'"

    # The model repository over HTTP
    max_file_text: int = NO_LIMIT
    reports_unload_faults: bool = False
    index_ready_no_boolean: str = ""
    # The core: requests
    missing_inputs_named: bool = False
    input_sizes_checked: bool = False
    string_counts_named: bool = False
    late_requests_refused_at_once: bool = False
    ensembles_cached: bool = False
    ensemble_outputs_optional: bool = False
    ensemble_errors_wait: bool = False
    ensemble_limits_shared: bool = False
    checks_element_counts: bool = False
    checks_sequence_id_types: bool = False
    compares_whole_batch_sizes: bool = False
    measures_sequence_names: bool = False

    # The core: models
    config_override_lasts: bool = False
    request_files_last: bool = False
    no_backend: str = (
        "unable to find 'libtriton_{backend}.so' or '{backend}/model.py' for model '{model}', in "
        "/opt/tritonserver/backends/{backend}"
    )
    label_files_inside: bool = False
    label_paths_exact: bool = False
    tensors_named: bool = False
    unknown_config_fields: frozenset[str] = frozenset(
        {"runtime", "is_non_linear_format_io", "model_metrics", "max_inflight_requests"}
    )
    versions_reload_alone: bool = False
    allows_dots_in_model_names: bool = False
    empty_model_name: str = ""
    no_model_name: str = ""
    tells_why_no_model_is_ready: bool = False

    # Python models
    stub_names_checked: bool = False
    text_sequence_ids: bool = False
    trace_contexts: bool = False
    decoupled_coroutines: bool = False
    decoupled_outputs_chosen: bool = False
    senders_everywhere: bool = False
    execute_failed: str = "Failed to process the request(s) for model instance '{instance}', message: {text}"
    decoupled_execute_failed: str = "{text}"
    error_responses_succeed: bool = False
    failed_executions_count: bool = False
    backend_checks_strings: bool = False
    bf16_tensors: bool = False
    histograms: bool = False

    # gRPC
    refuses_while_stopping: bool = False
    strict_streams: bool = False

    # Statistics, metrics, trace and log settings
    failure_reasons: bool = False
    fixed_files: bool = False
    other_metrics_paths: int = 400
    namespaces_in_metrics: bool = False
    pinned_memory_metrics: bool = False
    response_statistics: bool = False
    trace_mode_shown: bool = False

    # Flags
    has_allow_client_shm: bool = False
    has_enable_peer_access: bool = False
    has_grpc_infer_thread_count: bool = False
    has_grpc_max_connection_age: bool = False
    has_grpc_max_response_pool_size: bool = False
    has_http_max_input_size: bool = False
    has_model_config_name: bool = False
    has_model_load_retry_count: bool = False
    load_model_needs_explicit: bool = False

    # Shared memory of clients
    region_ends_checked: bool = False
    region_offsets_checked: bool = False
    region_sizes_checked: bool = False
    regions_held: bool = False
    cuda_noun: str = "system"
    cuda_not_opened: str = (
        "failed to register CUDA shared memory region '{name}': failed to open CUDA IPC handle: "
        "CUDA driver version is insufficient for CUDA runtime version"
    )
    allows_client_shared_memory: bool = True
    opens_shared_objects_again: bool = False
    reads_nothing_at_the_start: bool = False
    refuses_own_shared_objects: bool = False
    skips_slashes_of_shared_keys: bool = False
    tells_overflow_of_ranges: bool = False
    unregisters_in_use: bool = False
    preserves_ordering: bool = True
    # The core: metrics
    has_first_response_histogram: bool = False
    has_load_duration: bool = False
    times_every_first_response: bool = False
    asks_models_whether_ready: bool = False
    asks_is_ready: bool = False
    server_asks_models: bool = False
    # The Python backend
    iterators_cancel: bool = False
    keeps_codes_of_inner_errors: bool = False
    responses_have_parameters: bool = False
    dead_stubs_answer: bool = False
    dead_stubs_restart: bool = True
    unreadable_inputs_end_stubs: bool = False
    responses_sent_singly: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One row: from `first` on, the field `field` has `value`.

    `what` says in a sentence what a client sees. `proof` is the glob of the cases whose recorded answers show it, or
    the source that it was read in, as `source: <repository> <tag>, <file>`.
    """

    field: str
    first: str
    value: Any
    what: str
    proof: str

    @property
    def of_core(self) -> bool:
        """Whether the core or the Python backend does it, so that no frontends can show it."""
        return self.proof.startswith(("source: core ", "source: python_backend "))


CHANGES: tuple[Change, ...] = (
    Change(
        "status_by_code",
        "2.42.0",
        True,
        "Over HTTP an error has the status of its code: 500, 404, 503 or 501. Before, every error is a 400.",
        "infer/error-code/not-found",
    ),
    Change(
        "pinned_memory_metrics",
        "2.42.0",
        True,
        "The metrics have `nv_pinned_memory_pool_total_bytes` and `nv_pinned_memory_pool_used_bytes`.",
        "metrics/at-first",
    ),
    Change(
        "generate_head",
        "2.42.0",
        (),
        "The answer of generate has one content type. Before, it has `application/json` and then its own.",
        "generate/arrival/one-response",
    ),
    Change(
        "config_override_lasts",
        "2.42.0",
        True,
        "A load without a config keeps the config that a load before it has given. Before, it goes back to the file.",
        "model_load/override/config",
    ),
    Change(
        "request_files_last",
        "2.42.0",
        True,
        "A load without files keeps a model whose files came with the load before it.",
        "model_load/files/in-place-of-the-folder",
    ),
    Change(
        "has_model_load_retry_count",
        "2.42.0",
        True,
        "The flag `--model-load-retry-count` is there.",
        "source: server r24.01, src/command_line_parser.cc",
    ),
    Change(
        "has_grpc_max_connection_age",
        "2.42.0",
        True,
        "The flags `--grpc-max-connection-age` and `--grpc-max-connection-age-grace` are there.",
        "source: server r24.01, src/command_line_parser.cc",
    ),
    Change(
        "no_backend",
        "2.42.0",
        "unable to find backend library for backend '{backend}', try specifying runtime on the model configuration.",
        "The error for a model whose backend is not there has another text.",
        "model_load/override/another-backend",
    ),
    Change(
        "other_metrics_paths",
        "2.42.0",
        200,
        "Any path but `/metrics` of the metrics port is answered with an empty 200. Before, with a 400.",
        "metrics/any-other-path-is-empty",
    ),
    Change(
        "unknown_config_fields",
        "2.42.0",
        frozenset({"is_non_linear_format_io", "model_metrics", "max_inflight_requests"}),
        "A model's configuration has the field `runtime`.",
        "model_config/two",
    ),
    Change(
        "double_parameters",
        "2.43.0",
        True,
        "A parameter of a request may be a double. Before, it is refused.",
        "infer/parameters/custom-of-each-kind",
    ),
    Change(
        "generate_empty_outputs",
        "2.43.0",
        True,
        "An output without elements is an empty list in the answer of generate. Before, it is an error.",
        "generate/plan/no-floats",
    ),
    Change(
        "response_statistics",
        "2.44.0",
        True,
        "An entry of the statistics has `response_stats`.",
        "statistics/after-one-inference",
    ),
    Change(
        "forwarding_ignores_case",
        "2.44.0",
        True,
        "The patterns of the headers to forward match without regard to case.",
        "infer/forward/case-does-not-matter",
    ),
    Change(
        "trace_contexts",
        "2.44.0",
        True,
        "A Python model can ask for the context of a trace (`get_context`).",
        "source: python_backend r24.03, src/pb_stub.cc",
    ),
    Change(
        "late_requests_refused_at_once",
        "2.44.0",
        True,
        "A request that waits too long in a queue that rejects such requests is answered while the model is busy. "
        "Before, when the model asks for its next batch.",
        "infer/batching/queue/timeout-rejects",
    ),
    Change(
        "region_offsets_checked",
        "2.44.0",
        True,
        "An offset behind a shared memory region is refused.",
        "systemsharedmemory/infer/input/an-offset-at-the-end",
    ),
    Change(
        "missing_inputs_named",
        "2.44.0",
        True,
        "The error for a wrong number of inputs names those that came and those that are missing.",
        "infer/inputs/only-the-*",
    ),
    Change(
        "fixed_files",
        "2.45.0",
        True,
        "A client can change neither the trace file nor the log file.",
        "trace/trace_file/refused/*",
    ),
    Change(
        "drains_connections",
        "2.45.0",
        True,
        "A stopping server answers all requests on open HTTP connections, as long as one is at work, and resets new "
        "connections. Before, it takes new connections, but refuses requests as it is exiting.",
        "source: server r24.04, src/http_server.cc",
    ),
    Change(
        "trace_mode_shown",
        "2.45.0",
        True,
        "The trace settings show `trace_mode` and what belongs to the mode.",
        "trace/get",
    ),
    Change(
        "region_ends_checked",
        "2.45.0",
        True,
        "A tensor that reaches behind the end of its shared memory region is refused.",
        "systemsharedmemory/infer/input/over-the-end",
    ),
    Change(
        "region_sizes_checked",
        "2.45.0",
        True,
        "A region that is larger than its shared memory object cannot be registered.",
        "systemsharedmemory/register/bounds/one-byte-too-*",
    ),
    Change(
        "text_sequence_ids",
        "2.45.0",
        True,
        "The Python backend takes requests whose sequence id is a text, and a model may send such requests.",
        "infer/nul/sequence-id-is-cut",
    ),
    Change(
        "decoupled_coroutines",
        "2.45.0",
        True,
        "`execute` of a decoupled Python model may be a coroutine, and may call `async_exec`.",
        "generate_stream/decoupled/coroutine*",
    ),
    Change(
        "cuda_not_opened",
        "2.46.0",
        "failed to register shared memory region: invalid args",
        "The error for a CUDA region that cannot be opened tells no reason.",
        "cudasharedmemory/register/handle/of-64-bytes",
    ),
    Change(
        "ensembles_cached",
        "2.46.0",
        True,
        "The response cache serves ensembles whose configuration enables it.",
        "infer/cache/ensemble",
    ),
    Change(
        "namespaces_in_metrics",
        "2.46.0",
        True,
        "With `--model-namespacing` the metrics of a model have the label `namespace`, the path of its repository.",
        "metrics/namespacing/on",
    ),
    Change(
        "has_model_config_name",
        "2.46.0",
        True,
        "The flag `--model-config-name` is there.",
        "source: server r24.05, src/command_line_parser.cc",
    ),
    Change(
        "has_enable_peer_access",
        "2.47.0",
        True,
        "The flag `--enable-peer-access` is there.",
        "source: server r24.06, src/command_line_parser.cc",
    ),
    Change(
        "input_sizes_checked",
        "2.47.0",
        True,
        "An input whose bytes do not fit its shape is refused. Before, a model gets the first bytes of a long one, and "
        "what lies behind a short one in memory; strings in a wrong number are an error of the backend.",
        "infer/binary/order/size-unlike-the-shape",
    ),
    Change(
        "senders_everywhere",
        "2.47.0",
        True,
        "A Python model that is not decoupled may send its response by `get_response_sender`.",
        "generate/sender/response-*",
    ),
    Change(
        "execute_failed",
        "2.47.0",
        "Failed to process the request(s) for model '{instance}', message: {text}",
        "The error of a Python model that raises says `model` where it said `model instance`.",
        "infer/error-code/raise",
    ),
    Change(
        "decoupled_execute_failed",
        "2.47.0",
        "Failed to process the request(s) for model '{instance}', message: {text}",
        "The error of a decoupled Python model that raises names the model.",
        "generate_stream/decoupled/exception-after-two-responses",
    ),
    Change(
        "decoupled_outputs_chosen",
        "2.47.0",
        True,
        "A response of a decoupled Python model has only the outputs that were asked for. Before, it has all, and one "
        "that the configuration does not have is an error.",
        "generate_stream/decoupled/output-nobody-asked-for",
    ),
    Change(
        "failed_executions_count",
        "2.47.0",
        True,
        "The execution of a Python model that raises counts in the statistics.",
        "infer/error-code/raise",
    ),
    Change(
        "error_responses_succeed",
        "2.47.0",
        True,
        "A request that a Python model answers with a `TritonError` counts as a success. Before, as a failure.",
        "infer/error-code/unavailable",
    ),
    Change(
        "load_model_needs_explicit",
        "2.47.0",
        True,
        "`--load-model` without `--model-control-mode=explicit` is refused. Before, it has no effect.",
        "source: server r24.06, src/command_line_parser.cc",
    ),
    Change(
        "unreadable_inputs_end_stubs",
        "2.47.0",
        True,
        "An input that the stub process cannot read ends it, until the backend itself refuses such an input (2.49). "
        "Before, it ends only the stub process of a decoupled model; other models answer with an error.",
        "infer/datatype/*/bf16",
    ),
    Change(
        "dead_stubs_restart",
        "2.47.0",
        False,
        "A Python model that has ended its process is not started again, and requests to it are never answered. "
        "Before, that was so for decoupled models; others answer with an error and start again.",
        "infer/model-ends/*",
    ),
    Change(
        "responses_sent_singly",
        "2.47.0",
        True,
        "Responses that `execute` returns for a batch are sent one by one: those before a wrong one reach their "
        "clients.",
        "infer/python/batch/a-text-for-one",
    ),
    Change(
        "failure_reasons",
        "2.48.0",
        True,
        "The metric of failures has the reason as a label. Requests that are cancelled, or refused in a queue, count "
        "as failures, and so does the error that an ensemble sends.",
        "metrics/rejected-requests",
    ),
    Change(
        "tensors_named",
        "2.48.0",
        True,
        "The error for a faulty input or output of a configuration names it.",
        "model_load/override/bad-dims",
    ),
    Change(
        "versions_reload_alone",
        "2.49.0",
        True,
        "A load reloads only the versions whose files have changed. Before, a change in one version, or of the version "
        "policy, reloads all versions.",
        "infer/poll/nothing-to-load",
    ),
    Change(
        "request_files_last",
        "2.49.0",
        False,
        "A load without files goes back to the repository, if the files of the load before it came with the request. "
        "Before, it kept the model.",
        "model_load/files/in-place-of-the-folder",
    ),
    Change(
        "unknown_config_fields",
        "2.49.0",
        frozenset({"model_metrics", "max_inflight_requests"}),
        "An input or output of a model's configuration has the field `is_non_linear_format_io`.",
        "model_config/two",
    ),
    Change(
        "backend_checks_strings",
        "2.49.0",
        True,
        "The Python backend refuses a BYTES input whose last element is cut off. Before, the stub process reads it.",
        "systemsharedmemory/infer/strings/cut-in-an-element",
    ),
    Change(
        "strict_streams",
        "2.49.0",
        True,
        "A gRPC stream with the metadata `triton_grpc_error: true` ends with the first error.",
        "grpc/stream/error-codes/strict/*",
    ),
    Change(
        "histograms",
        "2.49.0",
        True,
        "A Python model can make histograms.",
        "metrics/python/counter-gauge-and-histogram",
    ),
    Change(
        "bf16_tensors",
        "2.49.0",
        True,
        "The Python backend takes BF16 tensors.",
        "infer/datatype/raw/bf16",
    ),
    Change(
        "generate_request_id",
        "2.49.0",
        True,
        "The key `id` of a generate request is its id, which the answer has too. Before, it is a parameter.",
        "generate/key/id",
    ),
    Change(
        "cuda_noun",
        "2.50.0",
        "cuda",
        "The error for the status of an unknown CUDA region says `cuda` where it said `system`.",
        "cudasharedmemory/status/unknown-region",
    ),
    Change(
        "regions_held",
        "2.50.0",
        True,
        "A shared memory region cannot be unregistered while a request uses it.",
        "systemsharedmemory/unregister/not-while-a-request-uses-it",
    ),
    Change(
        "string_counts_named",
        "2.50.0",
        True,
        "The error for a wrong number of strings names the model, and comes at the first string too many.",
        "infer/strings/an-element-after-the-last",
    ),
    Change(
        "ensemble_outputs_optional",
        "2.51.0",
        True,
        "An ensemble answers without the outputs that its members have not made. Before, that is an error.",
        "infer/ensemble/member/fails/*-output",
    ),
    Change(
        "generate_arrays",
        "2.51.0",
        True,
        "An input of a generate request may be a list of several numbers. Before, only strings may.",
        "generate/key/vector",
    ),
    Change(
        "dead_stubs_answer",
        "2.51.0",
        True,
        "A request to a Python model that has ended its process is answered with an error.",
        "infer/model-ends/*",
    ),
    Change(
        "responses_sent_singly",
        "2.51.0",
        False,
        "Responses that `execute` returns for a batch are sent together: a wrong one makes an error of all.",
        "infer/python/batch/a-text-for-one",
    ),
    Change(
        "has_load_duration",
        "2.52.0",
        True,
        "The metrics show how long each model took to load: `nv_model_load_duration_secs`.",
        "source: core r24.11, src/metrics.cc",
    ),
    Change(
        "has_first_response_histogram",
        "2.52.0",
        True,
        "With `--metrics-config histogram_latencies=true`, the metrics show how long requests to decoupled models "
        "waited for their first response: `nv_inference_first_response_histogram_ms`.",
        "source: core r24.11, src/metric_model_reporter.cc",
    ),
    Change(
        "unknown_config_fields",
        "2.52.0",
        frozenset({"max_inflight_requests"}),
        "A model's configuration may have `model_metrics`: the buckets of its histogram of first responses. Before, it "
        "is an unknown field, and the configuration is refused.",
        "source: core r24.11, src/model_config_utils.cc",
    ),
    Change(
        "max_file_text",
        "2.53.0",
        INT32_MAX,
        "A load request whose base64 text of a file is longer than 2,147,483,647 bytes is refused.",
        "source: server r24.12, src/common.cc",
    ),
    Change(
        "unregisters_in_use",
        "2.53.0",
        True,
        "A shared memory region that a request uses can be unregistered: it goes when that request has ended. Before, "
        "unregistering it was refused.",
        "source: server r24.12, src/shared_memory_manager.cc",
    ),
    Change(
        "checks_sequence_id_types",
        "2.54.0",
        True,
        "The sequence id of a request must be of the type of the model's control `CONTROL_SEQUENCE_CORRID`: a text "
        "for a text, a number for a number.",
        "source: core r25.01, src/infer_request.cc",
    ),
    Change(
        "measures_sequence_names",
        "2.54.0",
        True,
        "A sequence id that is a text reaches the model as it is. Before, the model got 128 bytes for it, whatever its "
        "length.",
        "source: core r25.01, src/sequence_batch_scheduler/sequence_batch_scheduler.cc",
    ),
    Change(
        "responses_have_parameters",
        "2.55.0",
        True,
        "A Python model may give a response parameters, `InferenceResponse(parameters={...})`, and read those of a "
        "response to its own request. They are in the answer over HTTP, in generate and over gRPC.",
        "source: python_backend r25.02, src/pb_stub.cc",
    ),
    Change(
        "load_metrics_header",
        "2.56.0",
        True,
        "The request header `endpoint-load-metrics-format` (`text` or `json`) makes generate and generate_stream "
        "answer with the header `endpoint-load-metrics`, if there is the metric `nv_trt_llm_kv_cache_block_metrics`.",
        "generate/versions/load-metrics/*",
    ),
    Change(
        "has_grpc_max_response_pool_size",
        "2.56.0",
        True,
        "The flag `--grpc-max-response-pool-size` is there.",
        "source: server r25.03, src/command_line_parser.cc",
    ),
    Change(
        "has_grpc_infer_thread_count",
        "2.57.0",
        True,
        "The flag `--grpc-infer-thread-count` is there.",
        "source: server r25.04, src/command_line_parser.cc",
    ),
    Change(
        "iterators_cancel",
        "2.57.0",
        True,
        "A Python model may cancel its own request to a decoupled model: `cancel()` of the iterator of its responses.",
        "source: python_backend r25.04, src/pb_stub.cc",
    ),
    Change(
        "keeps_codes_of_inner_errors",
        "2.57.0",
        True,
        "A Python model gets the error of its own request with the code that the other model gave. Before, it was "
        "INTERNAL.",
        "source: python_backend r25.04, src/request_executor.cc",
    ),
    Change(
        "checks_shapes",
        "2.58.0",
        True,
        "The shape of an input with JSON data is checked before the data is read: a dim of 2^63 or more is refused, "
        "and so is such a product of dims or number of bytes. A dim of 0 makes the input empty, whatever follows.",
        "infer/versions/shape/*",
    ),
    Change(
        "json_nesting_limit",
        "2.58.0",
        100,
        "The lists of an input's JSON data may nest up to 100 deep.",
        "*/versions/nesting/*",
    ),
    Change(
        "compares_whole_batch_sizes",
        "2.58.0",
        True,
        "A batch size of 2^31 or more is refused as too large. Before, it counted as negative, which only the backend "
        "refused.",
        "source: core r25.05, src/infer_request.cc",
    ),
    Change(
        "refuses_while_stopping",
        "2.58.0",
        True,
        "While the server stops, a request on an open stream gets the error `GRPC server is shutting down and has "
        "stopped accepting new requests.` The stream ends when the client ends it, or with the exit timeout.",
        "source: server r25.05, src/grpc/stream_infer_handler.cc",
    ),
    Change(
        "tells_overflow_of_ranges",
        "2.58.0",
        True,
        "A tensor in shared memory whose offset and size together need more than 64 bits is refused with a text of its "
        "own.",
        "source: server r25.05, src/shared_memory_manager.cc",
    ),
    Change(
        "http_max_input_size",
        "2.59.0",
        64 * _MIB,
        "An input that is JSON data may have 64 MiB of elements, and so may the body of a raw binary request. "
        "`--http-max-input-size` changes the limit.",
        "infer/versions/size/*",
    ),
    Change(
        "has_http_max_input_size",
        "2.59.0",
        True,
        "The flag `--http-max-input-size` is there.",
        "source: server r25.06, src/command_line_parser.cc",
    ),
    Change(
        "reports_unload_faults",
        "2.59.1",
        True,
        "A body of an unload request that is no JSON is refused. Before, it was ignored.",
        "model_unload/versions/body/*",
    ),
    Change(
        "refuses_own_shared_objects",
        "2.59.1",
        True,
        "A shared memory object of the Python backend can not be registered: its key begins with "
        "`triton_python_backend_shm_region_`.",
        "source: server r25.07, src/shared_memory_manager.cc",
    ),
    Change(
        "stub_names_checked",
        "2.60.0",
        True,
        "A Python model does not load if its name, or the name of an instance, has a character that means something to "
        "a shell, such as `;`, `$`, a quote or a bracket.",
        "source: python_backend r25.08, src/stub_launcher.cc",
    ),
    Change(
        "skips_slashes_of_shared_keys",
        "2.60.0",
        True,
        "The key of a shared memory object is judged without the slashes before it, and one of slashes only is refused "
        "with a text of its own.",
        "source: server r25.08, src/common.cc",
    ),
    Change(
        "reads_nothing_at_the_start",
        "2.60.0",
        True,
        "A tensor without bytes may lie at the very start of a shared memory region.",
        "source: server r25.08, src/shared_memory_manager.cc",
    ),
    Change(
        "preserves_ordering",
        "2.61.0",
        False,
        "Responses leave in the order in which they come, though the config says `preserve_ordering`: a response takes "
        "its place in the queue when it is made, and no longer when its request comes.",
        "source: core r25.09, src/dynamic_batch_scheduler.cc",
    ),
    Change(
        "json_too_large",
        "2.62.0",
        "Request JSON size of {size} bytes exceeds the maximum allowed value of {limit} bytes. "
        "Use --http-max-input-size to increase the limit.",
        "The JSON of a request may have 64 MiB, or what `--http-max-input-size` says.",
        "source: server r25.10, src/http_server.cc",
    ),
    Change(
        "unknown_config_fields",
        "2.63.0",
        frozenset(),
        "An ensemble's configuration may have `max_inflight_requests`: how many requests of one step may be in flight "
        "for one request to the ensemble. Before, it is an unknown field, and the configuration is refused.",
        "source: core r25.11, src/ensemble_scheduler/ensemble_scheduler.cc",
    ),
    Change(
        "asks_models_whether_ready",
        "2.64.0",
        True,
        "A Python model whose process has ended is not ready.",
        "source: core r25.12, src/server.cc",
    ),
    Change(
        "limits_decompressed",
        "2.65.0",
        True,
        "A compressed body may have 64 MiB after decompression, or what `--http-max-input-size` says.",
        "infer/versions/decompressed/*",
    ),
    Change(
        "times_every_first_response",
        "2.65.0",
        True,
        "The histogram of first responses is there for every model, not only for decoupled ones.",
        "source: core r26.01, src/metric_model_reporter.cc",
    ),
    Change(
        "classification_limit",
        "2.66.0",
        1_000_000,
        "The classification of an output of more than a million elements is refused.",
        "infer/versions/classification/*",
    ),
    Change(
        "label_files_inside",
        "2.66.0",
        True,
        "A model whose `label_filename` leads out of its folder does not load.",
        "source: core r26.02, src/model.cc",
    ),
    Change(
        "ensemble_errors_wait",
        "2.66.0",
        True,
        "An ensemble sends the error of a step when no other step is at work any more. The error names the ensemble "
        "once more for each response that came meanwhile. Before, the error is sent at once. But if a step is refused, "
        "as by a full queue, while others are at work, the request is never answered.",
        "source: core r26.02, src/ensemble_scheduler/ensemble_scheduler.cc",
    ),
    Change(
        "asks_is_ready",
        "2.67.0",
        True,
        "A Python model may have the function `is_ready`, which may be a coroutine. The model is ready if it returns "
        "True within five seconds. All that asks whether the model is ready calls it, and so does a request of another "
        "Python model to it.",
        "source: python_backend r26.03, src/pb_stub.cc",
    ),
    Change(
        "checks_element_counts",
        "2.67.0",
        True,
        "A shape with a negative dim, or one whose elements or bytes need more than 63 bits, is refused with a text of "
        "its own. Before, the product was compared with the data that came, after it had wrapped.",
        "source: core r26.03, src/model_config_utils.h",
    ),
    Change(
        "empty_model_name",
        "2.67.0",
        "model name must not be empty",
        "A model without a name can not be loaded.",
        "source: core r26.03, src/model_repository_manager/model_repository_manager.cc",
    ),
    Change(
        "no_model_name",
        "2.67.0",
        "model name must not contain only whitespace characters",
        "A model whose name is only spaces can not be loaded.",
        "source: core r26.03, src/model_repository_manager/model_repository_manager.cc",
    ),
    Change(
        "generate_checks_size",
        "2.68.0",
        True,
        "The inputs of a generate request may have 64 MiB together, or what `--http-max-input-size` says; those in "
        "`parameters` are counted by themselves. An empty list becomes an input of the shape `[]`, whatever the dims "
        "and the datatype are. Before, it took the shape of the dims with 0 elements.",
        "generate/versions/size/*",
    ),
    Change(
        "json_too_large",
        "2.68.0",
        "request JSON size of {size} bytes exceeds the maximum allowed input size of {limit} bytes. "
        "Use --http-max-input-size to increase the limit.",
        "The refusal of a JSON that is too large has another text.",
        "*/versions/json-size/*",
    ),
    Change(
        "no_strings",
        "2.68.0",
        "Failed to parse 'data' field: output buffer unavailable",
        "A BYTES input without a string in its JSON data is refused with another text, unless a dim is 0.",
        "infer/versions/elements/no-strings*",
    ),
    Change(
        "too_few_elements",
        "2.68.0",
        "Failed to parse 'data' field: shape does not match true shape",
        "An input with fewer elements than its shape has is refused with another text.",
        "*/versions/elements/too-few*",
    ),
    Change(
        "wrong_output_size",
        "2.68.0",
        "Failed to write 'data' field: output tensor shape does not match size of output for '{name}'",
        "An output whose elements are not as many as its shape says has another text.",
        "*/versions/output-size/*",
    ),
    Change(
        "allows_dots_in_model_names",
        "2.68.0",
        True,
        "A model whose name has two dots in it can be loaded, unless its name is two dots. In 2.67 it could not.",
        "source: core r26.04, src/model_repository_manager/model_repository_manager.cc",
    ),
    Change(
        "server_asks_models",
        "2.68.0",
        True,
        "With strict readiness the server is not ready while a Python model is not: its process has ended, or its "
        "`is_ready` says so.",
        "source: core r26.04, src/server.cc",
    ),
    Change(
        "ensemble_limits_shared",
        "2.68.0",
        True,
        "`max_inflight_requests` limits the requests of one step for all requests to the ensemble together.",
        "source: core r26.04, src/ensemble_scheduler/ensemble_scheduler.cc",
    ),
    Change(
        "allows_client_shared_memory",
        "2.68.0",
        False,
        "Clients may not register or unregister shared memory (501, UNIMPLEMENTED) unless the server is started with "
        "`--allow-client-shm=true`.",
        "source: server r26.04, src/http_server.cc",
    ),
    Change(
        "empty_model_name",
        "2.68.0",
        "Model name cannot be empty. Please enter a valid name to deploy.",
        "The refusal to load a model without a name has another text.",
        "source: core r26.04, src/model_repository_manager/model_repository_manager.cc",
    ),
    Change(
        "no_model_name",
        "2.68.0",
        "Model name cannot be empty. Please enter a valid name to deploy.",
        "The refusal to load a model whose name is only spaces has another text.",
        "source: core r26.04, src/model_repository_manager/model_repository_manager.cc",
    ),
    Change(
        "has_allow_client_shm",
        "2.68.0",
        True,
        "The flag `--allow-client-shm` is there.",
        "source: server r26.04, src/command_line_parser.cc",
    ),
    Change(
        "duplicate_outputs",
        "2.69.0",
        False,
        "A request that names a requested output twice is refused.",
        "source: core r26.05, src/infer_request.cc",
    ),
    Change(
        "http_max_chunks",
        "2.69.0",
        1 << 16,
        "A chunked request body may have 65,536 chunks. With more the answer is a 400, and the connection is closed.",
        "infer/versions/chunks/*",
    ),
    Change(
        "index_ready_no_boolean",
        "2.69.0",
        "Invalid value for 'ready': expected a boolean",
        "A `ready` of the repository index that is no boolean is a 400. Before, it was a 500 with another text.",
        "repository_index/versions/ready/*",
    ),
    Change(
        "iterative_json",
        "2.69.0",
        True,
        "JSON is parsed without recursion: it may nest as deep as it likes. A body that begins with a comma, a colon "
        "or a closing bracket is reported as an empty document.",
        "*/versions/json/*",
    ),
    Change(
        "reserved_headers",
        "2.69.0",
        frozenset(
            {
                "sequence_id",
                "sequence_start",
                "sequence_end",
                "priority",
                "timeout",
                "headers",
                "binary_data_output",
            }
        ),
        "A header that is forwarded to the model may not have the name of a parameter that Triton reads itself.",
        "*/versions/forward/*",
    ),
    Change(
        "opens_shared_objects_again",
        "2.69.0",
        True,
        "Two regions can be registered of one shared memory object by the same key.",
        "source: server r26.05, src/shared_memory_manager.cc",
    ),
    Change(
        "label_paths_exact",
        "2.70.0",
        True,
        "A `label_filename` that leads to a folder whose name only begins as the model's is refused too.",
        "source: core r26.06, src/filesystem/api.cc",
    ),
    Change(
        "numeric_header_length",
        "2.70.0",
        True,
        "An `Inference-Header-Content-Length` that is no number is refused. Before, it counted as 0, which makes the "
        "body a raw binary request.",
        "infer/versions/header-length/*",
    ),
    Change(
        "tells_why_no_model_is_ready",
        "2.71.0",
        True,
        "To ask whether a model is ready that is unknown, or has no such version, is an error (404, NOT_FOUND). "
        "Before, it was not ready (400 over HTTP, `ready: false` over gRPC). A Python model that asks gets an "
        "exception.",
        "source: core main 73aad7c, src/tritonserver.cc",
    ),
)


@cache
def personality(version: str, core: str = "") -> Personality:
    """What that version of `RELEASES` does. Raises KeyError for another version.

    `core` is the version of the core and of the Python backend that its frontends run on, where it is another one.
    """
    order = {release: at for at, release in enumerate(RELEASES)}
    found = Personality(version=version)
    for change in CHANGES:
        if order[change.first] <= order[(core or version) if change.of_core else version]:
            found = replace(found, **{change.field: change.value})
    return found
