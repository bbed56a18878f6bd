"""Requests to all other routes, and to paths similar to them. A changed setting is read back and undone."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from triton_contract.cases.encoding import dump

from .model import Model
from .mutations import mutated
from .request import Request
from .values import junk, texts

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
_MODEL_ROUTES = (
    "",
    "/ready",
    "/config",
    "/stats",
    "/trace/setting",
    "/infer",
    "/generate",
    "/generate_stream",
    "/nope",
)
_SERVER_ROUTES = (
    *(
        "/v2",
        "/v2/",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/health",
        "/v2/models",
        "/v2/models/stats",
        "/v2/logging",
    ),
    *(
        "/v2/trace/setting",
        "/v2/repository/index",
        "/v2/repository/x/index",
        "/metrics",
        "/",
        "/v1/models",
        "/v2/nope",
    ),
    *(
        "/v2/systemsharedmemory/status",
        "/v2/systemsharedmemory/unregister",
        "/v2/systemsharedmemory/register",
    ),
    *("/v2/systemsharedmemory/region/r/status", "/v2/systemsharedmemory/region/r/register"),
    *("/v2/systemsharedmemory/region/r/unregister", "/v2/cudasharedmemory/region/r/register"),
    *(
        "/v2/cudasharedmemory/status",
        "/v2/cudasharedmemory/region/r/status",
        "/v2/cudasharedmemory/unregister",
    ),
)
_ENDS = ("", "", "", "", "", "", "/", "?", "?a=b", "?/", "#x", "//", "%20", ";a", "/x")
_KEYS = {
    "logging": (
        "log_info",
        "log_warning",
        "log_error",
        "log_verbose_level",
        "log_format",
        "log_file",
        "nope",
    ),
    "trace": (
        "trace_level",
        "trace_rate",
        "trace_count",
        "log_frequency",
        "trace_mode",
        "trace_file",
        "nope",
    ),
    "sharedmemory": ("key", "offset", "byte_size", "raw_handle", "device_id", "nope"),
    "index": ("ready", "nope"),
    "load": ("parameters", "config", "nope"),
}
_LIKELY = (
    *(
        True,
        False,
        0,
        1,
        2,
        "0",
        "1",
        "-1",
        "100",
        "default",
        "ISO8601",
        "OFF",
        "TIMESTAMPS",
        "TENSORS",
        "MIN",
    ),
    *(["OFF"], ["TIMESTAMPS"], ["TENSORS", "TIMESTAMPS"], ["NOPE"], "triton", "opentelemetry", "/nope", 64),
    *({"unload_dependents": True}, {"config": "{}"}, {"b64": "AAAA"}, None),
)
_UNDO = (
    (
        re.compile(r"/v2/logging"),
        b'{"log_info":true,"log_warning":true,"log_error":true,"log_verbose_level":0,"log_format":"default"}',
    ),
    (
        re.compile(r"/v2/(?:models/[^/]+/)?trace/setting"),
        b'{"trace_level":["OFF"],"trace_rate":"1000","trace_count":"-1","log_frequency":"0"}',
    ),
)


def with_undo(request: Request) -> Request:
    """The request. If it may change a setting, requests follow that read the setting and undo the change.

    A model's trace settings are cleared, so that they follow the global ones again.
    """
    path = request.path.partition("?")[0]
    for route, body in _UNDO:
        if request.method == "POST" and route.fullmatch(path):
            cleared = b'{"trace_level":null,"trace_rate":null,"trace_count":null,"log_frequency":null}'
            undo = Request("POST", path, cleared if "/models/" in path else body)
            return Request(
                request.method, request.path, request.body, request.headers, (Request("GET", path), undo)
            )
    return request


@st.composite
def _paths(draw: st.DrawFn, models: list[Model]) -> str:
    if draw(st.booleans()):
        return draw(st.sampled_from(_SERVER_ROUTES)) + draw(st.sampled_from(_ENDS))
    name = draw(st.sampled_from([*(model.name for model in models), "nope", "%74wo", "stats", "a+b"]))
    if draw(st.integers(0, 4)) == 4:
        repository, verb = draw(st.sampled_from(["", "/x"])), draw(st.sampled_from(["load", "unload"]))
        return f"/v2/repository{repository}/models/{name}/{verb}"
    version = draw(st.sampled_from(["", "", "1", "9", "0", "01", "x", "-1", "9223372036854775807", "9" * 20]))
    at = f"/versions/{version}" if version else ""
    return f"/v2/models/{name}{at}{draw(st.sampled_from(_MODEL_ROUTES))}{draw(st.sampled_from(_ENDS))}"


@st.composite
def route_requests(draw: st.DrawFn, models: list[Model]) -> Request:
    """Any method on any path of the API, or one similar to it, with a body where the route reads one."""
    path = draw(_paths(models))
    keys = next((names for part, names in _KEYS.items() if part in path), ())
    method = draw(st.sampled_from(("GET", "POST", "POST") if keys else METHODS))
    if draw(st.integers(0, 9)) == 9:
        method = draw(st.sampled_from(METHODS))
    if not keys or method != "POST":
        return with_undo(Request(method, path))
    document = draw(
        st.dictionaries(st.sampled_from(keys), st.one_of(st.sampled_from(_LIKELY), junk), max_size=3)
    )
    body = b"" if draw(st.integers(0, 9)) == 9 else dump(document)
    if draw(st.integers(0, 9)) == 9:
        body = dump(draw(st.one_of(junk, texts)))
    if draw(st.integers(0, 3)) == 3:
        body = draw(mutated(body))
    return with_undo(Request(method, path, body))
