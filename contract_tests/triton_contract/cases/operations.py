"""The operation that a case is about: one table of paths. Reports count cases by operation."""

from __future__ import annotations

import re

from .case import Case

OPERATIONS = (
    "health",
    "server metadata",
    "model metadata",
    "model ready",
    "model config",
    "statistics",
    "infer",
    "generate",
    "generate_stream",
    "repository index",
    "model load",
    "model unload",
    "logging",
    "trace",
    "system shared memory",
    "cuda shared memory",
    "metrics",
    "routing",
    "wire",
)

_MODEL = r"/v2/models/[^/?]+(?:/versions/[0-9]+)?"
_ROUTES = tuple(
    (re.compile(pattern + r"(?:\?.*)?\Z"), operation)
    for pattern, operation in (
        (r"/v2/models/stats", "statistics"),
        (_MODEL + "/infer", "infer"),
        (_MODEL + "/generate", "generate"),
        (_MODEL + "/generate_stream", "generate_stream"),
        (_MODEL + "/ready", "model ready"),
        (_MODEL + "/config", "model config"),
        (_MODEL + "/stats", "statistics"),
        (_MODEL + "/trace/setting", "trace"),
        (_MODEL, "model metadata"),
        (r"/v2", "server metadata"),
        (r"/v2/health/(?:live|ready)", "health"),
        (r"/v2/logging", "logging"),
        (r"/v2/trace/setting", "trace"),
        (r"/v2/repository(?:/[^/?]+)?/index", "repository index"),
        (r"/v2/repository(?:/[^/?]+)?/models/[^/?]+/load", "model load"),
        (r"/v2/repository(?:/[^/?]+)?/models/[^/?]+/unload", "model unload"),
        (r"/v2/systemsharedmemory(?:/.*)?", "system shared memory"),
        (r"/v2/cudasharedmemory(?:/.*)?", "cuda shared memory"),
    )
)
COUNTED = frozenset({"infer", "generate", "generate_stream", "grpc/ModelInfer", "grpc/ModelStreamInfer"})


def operation_of(case: Case) -> str:
    """The operation of a case: the one that it names, else that of its last request's path.

    A case that sends literal bytes is about the "wire".
    """
    if case.operation:
        return case.operation
    if any(step.is_raw for step in case.steps):
        return "wire"
    step = next(step for step in reversed(case.steps) if step.path is not None)
    if step.port == "metrics":
        return "metrics"
    for pattern, operation in _ROUTES:
        if pattern.match(step.path or ""):
            return operation
    return "routing"
