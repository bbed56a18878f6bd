"""Reads an `api_base`: the server's base URL, and what the path says about the model.

Every form is accepted with or without a trailing slash, a query (kept: gateways put tokens there) and a prefix:
`http://host:8000`, `.../v2`, `.../generate`, `.../generate_stream`, `.../infer`, `.../embeddings`,
`.../v2/models/M[/versions/V][/infer|/generate|/generate_stream]`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from triton_adapter.errors import BadRequestError, MissingParameterError

_MODEL = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>\d+))?$")
# A scheme with a slip: taken as a host, `http//triton:8000` would be the path //triton:8000 of the host `http`.
_SLIP = re.compile(r"https?(//|:/(?!/))", re.IGNORECASE)
_OPERATION = re.compile(r"/(generate|generate_stream|infer|embeddings)$")


@dataclass(frozen=True, slots=True)
class ApiBase:
    """What an `api_base` says: `server` is the server's base URL, the rest is what its path and query add.

    `operation` is what the path ended in (`generate`, `infer`, `embeddings`) or None; `bare` is the whole URL when
    that operation is outside `/v2`, as on LiteLLM's page: it is used only if the server has no such model under `/v2`.
    """

    server: str
    query: str = ""
    operation: str | None = None
    model: str | None = None
    version: str | None = None
    bare: str | None = None

    def url(self, path: str) -> str:
        """Return the URL of a `/v2` path of this server."""
        return f"{self.server}{path}{self.query}"


@lru_cache(maxsize=1024)
def parse_api_base(api_base: str) -> ApiBase:
    """Read an `api_base`. BadRequestError if it is not an http(s) URL; MissingParameterError if it is empty."""
    if not api_base or not api_base.strip():
        raise MissingParameterError("api_base is required: the URL of the Triton server", param="api_base")
    text = api_base.strip()
    if slip := _SLIP.match(text):
        scheme = text[: slip.start(1)].lower()
        raise BadRequestError(
            f"api_base is not an http or https URL: it begins with {slip[0]}, write {scheme}://",
            param="api_base",
        )
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        valid = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        valid = False
    if not valid or any(character in text for character in "\"'<> \t\n"):
        raise BadRequestError("api_base is not an http or https URL", param="api_base")
    if "@" in parts.netloc:
        raise BadRequestError(
            "api_base holds a user and a password, which are not sent: "
            "give them as extra_headers={'Authorization': 'Basic ...'}",
            param="api_base",
        )
    query = f"?{parts.query}" if parts.query else ""
    path = parts.path.rstrip("/")
    operation = None
    bare_path = path
    if found := _OPERATION.search(path):
        operation, path = found[1].removesuffix("_stream"), path[: found.start()].rstrip("/")
    server = f"{parts.scheme}://{parts.netloc}"
    if named := _MODEL.search(path):
        return ApiBase(
            server + path[: named.start()], query, operation, model=named["model"], version=named["version"]
        )
    path = path.removesuffix("/v2")
    bare = server + bare_path.removesuffix("_stream") + query if operation else None
    return ApiBase(server + path, query, operation, bare=bare)
