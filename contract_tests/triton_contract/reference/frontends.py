"""Starts the frontends of a newer tritonserver on the core of an older one, as one server with tritonserver's flags.

The PyPI package `tritonfrontend` has the real HTTP, gRPC and metrics frontends of newer releases as one extension
module for CPython 3.12. They run on the core of the server that the package `nvidia-pytriton` carries: that core is
made here with its C API (`tritonserver.h`), and the frontends get its address.

This file is a program of its own: a Python 3.12 runs it that has neither this package nor its dependencies. It expects
the core's library in LD_PRELOAD, so that the extension finds the core and not the stub library that it is linked to.

    python3.12 frontends.py --core LIBRARY --bindings MODULE [tritonserver's flags]

Flags that the frontends cannot be given (trace, restricted protocols, client shared memory) are refused.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import signal
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

#: TRITONSERVER_ModelControlMode, TRITONSERVER_RateLimitMode, TRITONSERVER_LogFormat, the frontend's compression levels
CONTROL_MODES = {"none": 0, "poll": 1, "explicit": 2}
RATE_LIMITS = {"off": 0, "execution_count": 1}
LOG_FORMATS = {"default": 0, "ISO8601": 1}
COMPRESSION_LEVELS = {"none": 0, "low": 1, "medium": 2, "high": 3}
_EVERY_DEVICE = -1
_FOREVER = 3600.0


class CoreError(Exception):
    """An error of the core's C API, in its words."""


class Core:
    """The C API of a tritonserver library, with its errors raised as CoreError."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self._message = self._library.TRITONSERVER_ErrorMessage
        self._message.restype = ctypes.c_char_p
        self._message.argtypes = (ctypes.c_void_p,)
        self.options = ctypes.c_void_p()
        self.call("ServerOptionsNew", ctypes.byref(self.options))

    def call(self, name: str, *arguments: Any) -> None:
        """Call `TRITONSERVER_<name>`. Raises CoreError."""
        function = getattr(self._library, f"TRITONSERVER_{name}")
        function.restype = ctypes.c_void_p
        error = function(*arguments)
        if error:
            raise CoreError(self._message(error).decode())

    def set(self, option: str, *values: Any) -> None:
        """Call `TRITONSERVER_ServerOptions<option>`, with texts as C strings."""
        words = [value.encode() if isinstance(value, str) else value for value in values]
        self.call(f"ServerOptions{option}", self.options, *words)

    def start(self) -> ctypes.c_void_p:
        """The address of a new server with the options set. Raises CoreError where it does not start."""
        server = ctypes.c_void_p()
        self.call("ServerNew", ctypes.byref(server), self.options)
        return server


def boolean(text: str) -> bool:
    """A flag's boolean as tritonserver reads it. Raises ValueError."""
    lowered = text.lower()
    if lowered in ("true", "on", "1"):
        return True
    if lowered in ("false", "off", "0"):
        return False
    raise ValueError(text)


def any_case(pattern: str) -> str:
    """A pattern of headers as tritonserver's command line hands it on: upper and lower case are the same."""
    return f"(?i){pattern}" if pattern else ""


def triple(text: str) -> tuple[str, str, str]:
    """`<name>,<setting>=<value>`; the name may be left out."""
    head, equals, value = text.partition("=")
    name, comma, setting = head.rpartition(",")
    if not equals:
        raise ValueError(text)
    return (name if comma else ""), setting, value


def parser() -> argparse.ArgumentParser:
    """The flags. Their defaults are those of tritonserver."""
    flags = argparse.ArgumentParser(prog="frontends.py", allow_abbrev=False)
    flags.add_argument("--core", required=True)
    flags.add_argument("--bindings", required=True)
    for name in ("model-repository", "load-model", "backend-config", "cache-config", "metrics-config"):
        flags.add_argument(f"--{name}", action="append", default=[])
    flags.add_argument("--rate-limit-resource", action="append", default=[])
    for name, default in (
        ("id", "triton"),
        ("backend-directory", ""),
        ("cache-directory", ""),
        ("http-address", "0.0.0.0"),  # noqa: S104  (tritonserver's default)
        ("grpc-address", "0.0.0.0"),  # noqa: S104
        ("metrics-address", "0.0.0.0"),  # noqa: S104
        ("http-header-forward-pattern", ""),
        ("grpc-header-forward-pattern", ""),
    ):
        flags.add_argument(f"--{name}", default=default)
    for name, number in (
        ("http-port", 8000),
        ("grpc-port", 8001),
        ("metrics-port", 8002),
        ("http-thread-count", 8),
        ("metrics-interval-ms", 2000),
        ("repository-poll-secs", 15),
        ("model-load-thread-count", 4),
        ("model-load-retry-count", 0),
        ("exit-timeout-secs", 30),
        ("log-verbose", 0),
        ("grpc-infer-thread-count", 2),
        ("grpc-infer-allocation-pool-size", 8),
        ("grpc-max-response-pool-size", 2**31 - 1),
    ):
        flags.add_argument(f"--{name}", type=int, default=number)
    for name, value in (
        ("exit-on-error", True),
        ("strict-readiness", True),
        ("model-namespacing", False),
        ("allow-metrics", True),
        ("allow-cpu-metrics", True),
        ("allow-gpu-metrics", True),
        ("log-info", True),
        ("log-warning", True),
        ("log-error", True),
    ):
        flags.add_argument(f"--{name}", type=boolean, default=value)
    for name, words, word in (
        ("model-control-mode", CONTROL_MODES, "none"),
        ("rate-limit", RATE_LIMITS, "off"),
        ("log-format", LOG_FORMATS, "default"),
        ("grpc-infer-response-compression-level", COMPRESSION_LEVELS, "none"),
    ):
        flags.add_argument(f"--{name}", choices=list(words), default=word)
    return flags


def configure(core: Core, flags: argparse.Namespace) -> None:
    """Give the core the flags that it decides on, as tritonserver's main does."""
    core.set("SetServerId", flags.id)
    for repository in flags.model_repository:
        core.set("SetModelRepositoryPath", repository)
    core.set("SetModelControlMode", CONTROL_MODES[flags.model_control_mode])
    for model in flags.load_model:
        core.set("SetStartupModel", model)
    core.set("SetStrictModelConfig", False)
    core.set("SetRateLimiterMode", RATE_LIMITS[flags.rate_limit])
    for resource in flags.rate_limit_resource:
        name, count, *device = resource.split(":")
        core.set(
            "AddRateLimiterResource",
            name,
            ctypes.c_size_t(int(count)),
            int(device[0]) if device else _EVERY_DEVICE,
        )
    core.set("SetExitOnError", flags.exit_on_error)
    core.set("SetStrictReadiness", flags.strict_readiness)
    core.set("SetExitTimeout", flags.exit_timeout_secs)
    core.set("SetModelLoadThreadCount", flags.model_load_thread_count)
    core.set("SetModelLoadRetryCount", flags.model_load_retry_count)
    core.set("SetModelNamespacing", flags.model_namespacing)
    core.set("SetLogInfo", flags.log_info)
    core.set("SetLogWarn", flags.log_warning)
    core.set("SetLogError", flags.log_error)
    core.set("SetLogVerbose", flags.log_verbose)
    core.set("SetLogFormat", LOG_FORMATS[flags.log_format])
    core.set("SetMetrics", flags.allow_metrics)
    core.set("SetGpuMetrics", flags.allow_gpu_metrics)
    core.set("SetCpuMetrics", flags.allow_cpu_metrics)
    core.set("SetMetricsInterval", ctypes.c_uint64(flags.metrics_interval_ms))
    for setting in flags.metrics_config:
        core.set("SetMetricsConfig", *triple(setting))
    core.set("SetBackendDirectory", flags.backend_directory)
    caches: dict[str, dict[str, str]] = {}
    for setting in flags.cache_config:
        name, key, value = triple(setting)
        caches.setdefault(name, {})[key] = value
    if caches:
        core.set("SetCacheDirectory", flags.cache_directory)
    for name, settings in caches.items():
        core.set("SetCacheConfig", name, json.dumps(settings))
    for setting in flags.backend_config:
        core.set("SetBackendConfig", *triple(setting))


def frontends(flags: argparse.Namespace, server: int) -> list[Any]:
    """The frontends of the extension module, started: HTTP, gRPC, and metrics where they are allowed."""
    loader = ExtensionFileLoader("tritonfrontend_bindings", flags.bindings)
    spec = spec_from_loader(loader.name, loader)
    if spec is None:
        raise ImportError(flags.bindings)
    bindings = module_from_spec(spec)
    loader.exec_module(bindings)
    http = {
        "address": flags.http_address,
        "port": flags.http_port,
        "reuse_port": False,
        "thread_count": flags.http_thread_count,
        "header_forward_pattern": any_case(flags.http_header_forward_pattern),
    }
    grpc = {
        "address": flags.grpc_address,
        "port": flags.grpc_port,
        "reuse_port": False,
        "use_ssl": False,
        "server_cert": "",
        "server_key": "",
        "root_cert": "",
        "use_mutual_auth": False,
        "keepalive_time_ms": 7_200_000,
        "keepalive_timeout_ms": 20_000,
        "keepalive_permit_without_calls": False,
        "http2_max_pings_without_data": 2,
        "http2_min_recv_ping_interval_without_data_ms": 300_000,
        "http2_max_ping_strikes": 2,
        "max_connection_age_ms": 0,
        "max_connection_age_grace_ms": 0,
        "infer_compression_level": COMPRESSION_LEVELS[flags.grpc_infer_response_compression_level],
        "infer_thread_count": flags.grpc_infer_thread_count,
        "infer_allocation_pool_size": flags.grpc_infer_allocation_pool_size,
        "max_response_pool_size": flags.grpc_max_response_pool_size,
        "forward_header_pattern": any_case(flags.grpc_header_forward_pattern),
    }
    metrics = {"address": flags.metrics_address, "port": flags.metrics_port, "thread_count": 1}
    started = [bindings.TritonFrontendGrpc(server, grpc), bindings.TritonFrontendHttp(server, http)]
    if flags.allow_metrics:
        started.append(bindings.TritonFrontendMetrics(server, metrics))
    for frontend in started:
        frontend.start()
    return started


def complain(text: str) -> None:
    """Write a line to stderr, where tritonserver writes its log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def queue_of_ends() -> queue.SimpleQueue[int]:
    """Let SIGINT and SIGTERM no longer end the process, and return the queue that gets their numbers.

    A handler runs in the middle of other code, which may hold a lock. `SimpleQueue.put` may be called there.
    `threading.Event.set` waits for ever if the signal comes in the middle of a `wait`.
    """
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: ends.put(number))
    return ends


def ended(ends: queue.SimpleQueue[int], *, within: float) -> bool:
    """Whether a signal has come, waiting up to `within` seconds for one."""
    try:
        ends.get(timeout=within)
    except queue.Empty:
        return False
    return True


def main() -> int:
    flags = parser().parse_args()
    # The stub processes of the Python backend inherit the environment: with the core's library they die.
    os.environ.pop("LD_PRELOAD", None)
    ends = queue_of_ends()
    core = Core(flags.core)
    try:
        configure(core, flags)
        server = core.start()
    except CoreError as error:
        complain(f"error: creating server: {error}")
        return 1
    started = frontends(flags, server.value or 0)
    wait = flags.repository_poll_secs if flags.model_control_mode == "poll" else _FOREVER
    while not ended(ends, within=wait):
        if flags.model_control_mode == "poll":
            try:
                core.call("ServerPollModelRepository", server)
            except CoreError as error:
                complain(f"failed to poll model repository: {error}")
    for frontend in reversed(started):
        frontend.stop()
    try:
        core.call("ServerStop", server)
    except CoreError as error:
        complain(f"failed to stop server: {error}")
        return 1
    return 0


if __name__ == "__main__":
    # Not through the interpreter's own end: the extension's threads may still run.
    sys.stdout.flush()
    os._exit(main())
