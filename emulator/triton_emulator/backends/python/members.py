"""The members of an instance's own copy of `triton_python_backend_utils`, before and after its model.py is imported."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from triton_emulator.backends.python import triton_python_backend_utils
from triton_emulator.backends.python.binding import MODULE, Bound, incompatible, text_of, truth_of
from triton_emulator.backends.python.bls import iterator_class
from triton_emulator.backends.python.metrics import Metric, MetricFamily, MetricRegistry, OlderMetric
from triton_emulator.backends.python.requests import BlsAccess, InferenceRequest
from triton_emulator.backends.python.responses import InferenceResponseSender, response_class
from triton_emulator.backends.python.server import Server
from triton_emulator.backends.python.tensors import Tensor
from triton_emulator.backends.python.values import (
    REQUIRED,
    InferenceTrace,
    LogLevel,
    MemoryType,
    MetricKind,
    OlderTrace,
    PreferredMemory,
    TritonError,
    TritonModelException,
    bind_arguments,
)
from triton_emulator.protocol import errors
from triton_emulator.protocol.personality import Personality

_LOG = logging.getLogger(__name__)
_LEVELS = {0: logging.INFO, 1: logging.WARNING, 2: logging.ERROR, 3: logging.DEBUG}

#: the members of the C++ module that are the same for every instance
_SHARED: dict[str, Any] = {
    "COUNTER": MetricKind.COUNTER,
    "GAUGE": MetricKind.GAUGE,
    "HISTOGRAM": MetricKind.HISTOGRAM,
    "InferenceResponseSender": InferenceResponseSender,
    "InferenceTrace": InferenceTrace,
    "MemoryType": MemoryType,
    "Metric": Metric,
    "MetricKind": MetricKind,
    "PreferredMemory": PreferredMemory,
    "TRITONSERVER_MEMORY_CPU": MemoryType.TRITONSERVER_MEMORY_CPU,
    "TRITONSERVER_MEMORY_GPU": MemoryType.TRITONSERVER_MEMORY_GPU,
    "Tensor": Tensor,
    "TritonError": TritonError,
    "TritonModelException": TritonModelException,
}
#: what triton_python_backend_utils takes from the C++ module after model.py has been imported
_LATE = (
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "MetricFamily",
    "PreferredMemory",
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "is_model_ready",
    "load_model",
    "unload_model",
)


class Logger(Bound):
    """Writes to the server's log. As with the real one, a log line names the file and line of the caller."""

    __module__ = MODULE
    __slots__ = ()

    LogLevel = LogLevel
    INFO = LogLevel.INFO
    WARNING = LogLevel.WARNING
    ERROR = LogLevel.ERROR
    VERBOSE = LogLevel.VERBOSE

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.Logger: No constructor defined!")

    @staticmethod
    def log(*args: Any, **kwargs: Any) -> None:
        message, level = bind_arguments(args, kwargs, ("message", "level"), (REQUIRED, LogLevel.INFO))
        text = text_of(message)
        if text is None or not isinstance(level, LogLevel):
            signature = (
                "(message: str, level: c_python_backend_utils.Logger.LogLevel = <LogLevel.INFO: 0>) -> None"
            )
            raise incompatible("log", (signature,), args, kwargs)
        _write(_LEVELS[level.value], text)

    @staticmethod
    def log_info(*args: Any, **kwargs: Any) -> None:
        _write(logging.INFO, _message("log_info", args, kwargs))

    @staticmethod
    def log_warn(*args: Any, **kwargs: Any) -> None:
        _write(logging.WARNING, _message("log_warn", args, kwargs))

    @staticmethod
    def log_error(*args: Any, **kwargs: Any) -> None:
        _write(logging.ERROR, _message("log_error", args, kwargs))

    @staticmethod
    def log_verbose(*args: Any, **kwargs: Any) -> None:
        _write(logging.DEBUG, _message("log_verbose", args, kwargs))


def _message(function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    (message,) = bind_arguments(args, kwargs, ("message",), (REQUIRED,))
    text = text_of(message)
    if text is None:
        raise incompatible(function, ("(message: str) -> None",), args, kwargs)
    return text


def _write(level: int, message: str) -> None:
    if _LOG.isEnabledFor(level):
        caller = sys._getframe(2)
        record = _LOG.makeRecord(
            _LOG.name,
            level,
            caller.f_code.co_filename,
            caller.f_lineno,
            "%s",
            (message,),
            None,
            caller.f_code.co_name,
        )
        _LOG.handle(record)


@dataclass(slots=True)
class Members:
    """An instance's own modules, its own request class, and whether it may use BLS now."""

    utils: ModuleType
    c_utils: ModuleType
    request: type[InferenceRequest]
    bls: BlsAccess

    def complete(self, model_directory: Path) -> None:
        """Add the members that triton_python_backend_utils does not have while model.py is imported."""
        for key in _LATE:
            setattr(self.utils, key, self.c_utils.__dict__[key])
        folder = str(model_directory)
        self.utils.__dict__["get_model_dir"] = lambda: folder


def members_of(instance: str, server: Server | None, metrics: MetricRegistry, rules: Personality) -> Members:
    """Make the modules of an instance as the version has them; `instance` is its name."""
    bls = BlsAccess(server)
    own = {"__slots__": (), "__module__": MODULE}
    request = type("InferenceRequest", (InferenceRequest,), {**own, "_bls": bls, "_rules": rules})
    family = _family({**own, "_registry": metrics, "_instance": instance}, rules)
    utils = ModuleType("triton_python_backend_utils")
    for key, value in vars(triton_python_backend_utils).items():
        if (not key.startswith("_") and value is not Any) or key in ("__file__", "__doc__"):
            setattr(utils, key, value)
    c_utils = ModuleType(MODULE)
    c_utils.__dict__.update(
        _SHARED,
        InferenceRequest=request,
        InferenceResponse=response_class(rules),
        Logger=Logger,
        MetricFamily=family,
        ResponseIterator=iterator_class(rules),
    )
    if not rules.histograms:
        c_utils.__dict__.update(Metric=OlderMetric)
        del c_utils.__dict__["HISTOGRAM"]
    if not rules.trace_contexts:
        c_utils.__dict__.update(InferenceTrace=OlderTrace)
    control = _Control(instance, server)
    for function in (control.is_model_ready, control.load_model, control.unload_model):
        c_utils.__dict__[function.__name__] = function
    return Members(utils, c_utils, request, bls)


class _Older(type):
    """The type of a class of an older version: it refuses a member in the words of the real one."""

    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(f"type object '{MODULE}.{cls.__name__}' has no attribute '{name}'")


def _family(own: dict[str, Any], rules: Personality) -> type[MetricFamily]:
    if rules.histograms:
        own = {**own, "_histograms": True, "HISTOGRAM": MetricKind.HISTOGRAM}
        return type("MetricFamily", (MetricFamily,), own)
    made: Any = _Older("MetricFamily", (MetricFamily,), {**own, "_histograms": False})
    return made  # type: ignore[no-any-return]


class _Control:
    """`is_model_ready`, `load_model` and `unload_model` of one instance."""

    def __init__(self, instance: str, server: Server | None) -> None:
        self._instance = instance
        self._server = server

    def is_model_ready(self, *args: Any, **kwargs: Any) -> bool:
        name, version = map(
            text_of, bind_arguments(args, kwargs, ("model_name", "model_version"), (REQUIRED, ""))
        )
        if name is None or version is None:
            signature = "(model_name: str, model_version: str = '') -> bool"
            raise incompatible("is_model_ready", (signature,), args, kwargs)
        return bool(
            self._ask("Failed to check model readiness", lambda server: server.is_ready(name, version))
        )

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        names = ("model_name", "config", "files")
        model, configuration, files = bind_arguments(args, kwargs, names, (REQUIRED, "", None))
        name, config = text_of(model), text_of(configuration)
        if name is None or config is None:
            signature = "(model_name: str, config: str = '', files: object = None) -> None"
            raise incompatible("load_model", (signature,), args, kwargs)
        parameters = _load_parameters(name, config, files)
        self._ask("Failed to load model", lambda server: server.load(name, parameters))

    def unload_model(self, *args: Any, **kwargs: Any) -> None:
        names = ("model_name", "unload_dependents")
        model, whether = bind_arguments(args, kwargs, names, (REQUIRED, False))
        name, dependents = text_of(model), truth_of(whether)
        if name is None or dependents is None:
            signature = "(model_name: str, unload_dependents: bool = False) -> None"
            raise incompatible("unload_model", (signature,), args, kwargs)
        self._ask("Failed to unload model", lambda server: server.unload(name, unload_dependents=dependents))

    def _ask(self, failure: str, step: Callable[[Server], Any]) -> Any:
        """Ask the server; its TritonError becomes the TritonModelException that the real backend raises."""
        try:
            if self._server is None:
                raise errors.unavailable("this model runs without a server")
            return step(self._server)
        except errors.TritonError as error:
            raise TritonModelException(
                f"{failure}: Failed to process the request for model '{self._instance}', message: {error.message}"
            ) from None


def _load_parameters(name: str, config: str, files: Any) -> dict[str, str | bytes]:
    parameters: dict[str, str | bytes] = {"config": config} if config else {}
    if files is not None:
        if not isinstance(files, dict):
            raise TritonModelException(
                f"failed to load model '{name}', files should be a dictionary of file paths and file contents"
            )
        for path, content in files.items():
            if not isinstance(content, bytes):
                raise TypeError(f"Object of type '{type(content).__name__}' is not an instance of 'bytes'")
            parameters[str(path)] = bytes(content)
    return parameters
