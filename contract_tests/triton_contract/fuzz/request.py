"""A generated request, and the case that sends exactly the same bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import yaml

from triton_contract.cases.case import Case, Step
from triton_contract.cases.encoding import HEADER_LENGTH, dump, request_bytes
from triton_contract.cases.operations import operation_of

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A request without Host and Content-Length, which every case adds. `after` is sent next on the same connection.

    `config` is what the model's `config.pbtxt` holds when the request is sent; None leaves it as it is.
    """

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    after: tuple[Request, ...] = ()
    config: bytes | None = None


def case_of(request: Request, repository: str) -> Case:
    """The case that sends the request. Its id contains the operation and a digest of the request."""
    digest = hashlib.sha256(repr(request).encode()).hexdigest()[:8]
    steps = tuple(Step(**step_of(each)) for each in (request, *request.after))
    operation = operation_of(Case(id="a/draft", repository=repository, steps=steps[:1]))
    return Case(
        id=f"{operation.replace(' ', '_')}/fuzzed/{digest}",
        repository=repository,
        steps=steps,
        operation=operation,
        statistics=False,
    )


def yaml_of(request: Request, repository: str, note: str = "") -> str:
    """The case as a person would write it, to be pasted under `cases:`."""
    case = case_of(request, repository)
    steps = [step_of(each) for each in (request, *request.after)]
    node: Node = {"id": case.id, "repository": repository}
    if note:
        node["note"] = note
    node |= steps[0] if len(steps) == 1 else {"steps": steps}
    text = yaml.safe_dump([node], sort_keys=False, width=110, default_flow_style=None)
    if not _says_the_same(text, steps):
        hexed = [step_of(each, readable=False) for each in (request, *request.after)]
        node = {name: node[name] for name in ("id", "repository", "note") if name in node}
        node |= hexed[0] if len(hexed) == 1 else {"steps": hexed}
        text = yaml.safe_dump([node], sort_keys=False, width=110)
    return text


def _says_the_same(text: str, steps: list[Node]) -> bool:
    """Whether the YAML, read again, makes the same bytes. Some texts are changed by YAML."""
    try:
        (node,) = yaml.safe_load(text)
        read = node.get("steps") or [{n: v for n, v in node.items() if n not in ("id", "repository", "note")}]
        return [request_bytes(Step(**step)) for step in read] == [
            request_bytes(Step(**step)) for step in steps
        ]
    except (yaml.YAMLError, ValueError):
        return False


def step_of(request: Request, *, readable: bool = True) -> Node:
    """The fields of a step that makes exactly these bytes, with the body in the most readable form."""
    node: Node = {"method": request.method, "path": request.path}
    if request.body or request.method not in ("GET", "POST"):
        form = _infer_form(request) if readable else None
        if form is not None:
            headers = tuple(pair for pair in request.headers if pair[0] != HEADER_LENGTH)
            return node | _headers(headers) | {"infer": form}
        node |= _headers(request.headers)
        return node | (_body_form(request.body, readable=readable) if request.body else {})
    return node | _headers(request.headers)


def _headers(headers: tuple[tuple[str, str], ...]) -> Node:
    names = [name for name, _ in headers]
    if not headers:
        return {}
    return {"headers": dict(headers) if len(set(names)) == len(names) else [list(pair) for pair in headers]}


def _infer_form(request: Request) -> Node | None:
    """JSON header and binary data separately, if the last header of the request is a correct header length."""
    if not request.headers or request.headers[-1][0] != HEADER_LENGTH:
        return None
    length = request.headers[-1][1]
    if not length.isdecimal() or str(int(length)) != length or not 0 < int(length) <= len(request.body):
        return None
    cut = int(length)
    header = _exact_json(request.body[:cut])
    if header is None:
        return None
    blob = request.body[cut:]
    return {"header": header[0], **({"binary": [{"hex": blob.hex()}]} if blob else {})}


def _body_form(body: bytes, *, readable: bool) -> Node:
    if not readable:
        return {"hex": body.hex()}
    exact = _exact_json(body)
    if exact is not None and isinstance(exact[0], dict | list):
        return {"json": exact[0]}
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"hex": body.hex()}


def _exact_json(text: bytes) -> tuple[Any] | None:
    """The value that `dump` writes as exactly this text, in a tuple because it may be null; None if there is none."""
    try:
        value = json.loads(text)
        return (value,) if dump(value) == text and "\\ud" not in repr(value) else None
    except (ValueError, RecursionError):
        return None
