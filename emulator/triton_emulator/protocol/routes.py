"""Which operation a request line asks for: the route expressions of Triton's HTTP server, in its order.

The path is matched raw: nothing is percent-decoded, nothing is normalised, a trailing slash is another path.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Route:
    """An operation of the server; `methods` are the HTTP methods that it takes.

    `category` is the name under which `--http-restricted-api` knows it. `typed` says whether a wrong method is
    answered as application/json or, where the handler had set no type yet, as text/plain.
    """

    operation: str
    methods: frozenset[str]
    category: str
    typed: bool = True


class Captures(NamedTuple):
    """What a path names, undecoded as on the wire: "" or None for what it leaves out.

    `name` is a model's, `region` a shared memory region's.
    """

    name: str = ""
    version: str = ""
    repository: str | None = None
    region: str | None = None


def _route(operation: str, methods: str, category: str, *, typed: bool = True) -> Route:
    return Route(operation, frozenset(methods.split()), category, typed)


_MODEL = re.compile(
    r"/v2/models/([^/]+)(?:/versions/([0-9]+))?(?:/(infer|generate|generate_stream|ready|config|stats|trace/setting))?"
)
_SERVER = re.compile(r"/v2(?:/health/(live|ready))?")
_REPOSITORY = re.compile(r"/v2/repository(?:/([^/]+))?/(index|models/([^/]+)/(load|unload))")
_SHARED_MEMORY = re.compile(r"/v2/(system|cuda)sharedmemory(?:/region/([^/]+))?/(status|register|unregister)")

SERVER = {
    None: _route("server_metadata", "GET", "metadata"),
    "live": _route("server_live", "GET", "health", typed=False),
    "ready": _route("server_ready", "GET", "health", typed=False),
}
MODEL = {
    None: _route("model_metadata", "GET", "metadata"),
    "ready": _route("model_ready", "GET", "health", typed=False),
    "infer": _route("infer", "POST", "inference", typed=False),
    "generate": _route("generate", "POST", "inference"),
    "generate_stream": _route("generate_stream", "POST", "inference"),
    "config": _route("model_config", "GET", "model-config"),
    "stats": _route("model_statistics", "GET", "statistics"),
    "trace/setting": _route("trace_setting", "GET POST", "trace"),
}
REPOSITORY = {
    "index": _route("repository_index", "POST", "model-repository"),
    "load": _route("repository_load", "POST", "model-repository"),
    "unload": _route("repository_unload", "POST", "model-repository"),
}
SHARED_MEMORY = {
    (kind, action): _route(
        f"{kind}_shared_memory_{action}", "GET" if action == "status" else "POST", "shared-memory"
    )
    for kind in ("system", "cuda")
    for action in ("status", "register", "unregister")
}
_EXACT = {
    "/v2/models/stats": _route("model_statistics", "GET", "statistics"),
    "/v2/logging": _route("logging", "GET POST", "logging"),
    "/v2/trace/setting": _route("trace_setting", "GET POST", "trace"),
}

_NOTHING = Captures()


def match(path: str) -> tuple[Route, Captures] | None:
    """The route of a path without its query, and what the path names; None is a 404."""
    if (exact := _EXACT.get(path)) is not None:
        return exact, _NOTHING
    if (found := _MODEL.fullmatch(path)) is not None:
        if found[2] and found[3] == "trace/setting":  # a model's trace settings have no version
            return None
        return MODEL[found[3]], Captures(found[1], found[2] or "")
    if (found := _SERVER.fullmatch(path)) is not None:
        return SERVER[found[1]], _NOTHING
    if (found := _SHARED_MEMORY.fullmatch(path)) is not None:
        return SHARED_MEMORY[found[1], found[3]], Captures(region=found[2])
    if (found := _REPOSITORY.fullmatch(path)) is not None:
        return REPOSITORY[found[4] or "index"], Captures(found[3] or "", repository=found[1])
    return None
