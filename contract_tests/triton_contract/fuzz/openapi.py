"""Requests that Schemathesis makes from `openapi.yaml`: those that the document allows, and those that it forbids.

Schemathesis' own checks are not used, because "no 5xx" does not hold for the real server. What is checked is that both
servers agree.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
import yaml
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from .model import Model
from .request import Request
from .routes import with_undo

DOCUMENT = Path(__file__).with_name("openapi.yaml")
_HOST = "http://triton"
_OURS = ("host", "content-length", "user-agent", "accept", "connection", "x-schemathesis-testcaseid")
_LEGAL = frozenset(map(chr, (9, *range(32, 127))))


def document(models: Sequence[Model] = ()) -> dict[str, Any]:
    """The OpenAPI document. With `models`, the only names of models are theirs and one that does not exist."""
    content: dict[str, Any] = copy.deepcopy(yaml.safe_load(DOCUMENT.read_text(encoding="utf-8")))
    if models:
        known = content["components"]["parameters"]
        known["ModelName"]["schema"] = {"enum": [*(model.name for model in models), "unknown"]}
        known["ModelVersion"]["schema"] = {"enum": ["1", "3", "9"]}
        known["RepositoryName"]["schema"] = known["Region"]["schema"] = {"enum": ["x"]}
    return content


def schemathesis_requests(
    models: list[Model], operations: tuple[str, ...] = ()
) -> st.SearchStrategy[Request]:
    """A strategy over all operations of the document, or over those whose path ends with one of `operations`."""
    schema = schemathesis.openapi.from_dict(document(models))
    made = []
    for found in schema.get_all_operations():
        operation = found.ok() if isinstance(found, Ok) else None
        if operation is None or (operations and not operation.path.endswith(operations)):
            continue
        made += [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
    return st.one_of(made).map(_request)


def _request(case: schemathesis.Case[Any]) -> Request:
    """The request that Schemathesis would send, without the headers that only its HTTP client adds."""
    wanted = case.as_transport_kwargs(base_url=_HOST)
    known = {"method", "url", "headers", "params", "cookies", "json", "data", "files"}
    made = requests.Request(**{name: value for name, value in wanted.items() if name in known}).prepare()
    parts = urlsplit(made.url or "")
    body = made.body.encode() if isinstance(made.body, str) else made.body
    headers = tuple(
        (name, _text(value))
        for name, value in made.headers.items()
        if name.lower() not in _OURS and _LEGAL.issuperset(_text(value))
    )
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return with_undo(
        Request(made.method or "GET", path or "/", body if isinstance(body, bytes) else b"", headers)
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
