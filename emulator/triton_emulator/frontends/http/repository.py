"""The model repository extension: index, load, unload."""

from triton_emulator.cxx import base64
from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import TritonError, internal, unsupported
from triton_emulator.protocol.json_access import Absent, find, parse_document
from triton_emulator.wire.reply import Reply, json_reply


def index(request: Request) -> Reply:
    ready = False
    if request.body:
        wanted = find(parse_document(request.body), "ready")
        if not isinstance(wanted, Absent):
            ready = js.as_bool(wanted)
    return json_reply(
        js.write([dict(row.as_dict()) for row in request.session.repository.index(ready=ready)])
    )


def load(request: Request) -> Reply:
    """Blocks until the model is loaded."""
    _refuse_repository_name(request)
    parameters: dict[str, str | bytes] = {}
    if request.body:
        held = find(parse_document(request.body), "parameters")
        if not isinstance(held, Absent):
            parameters = _load_parameters(held)
    request.session.repository.load(request.captures.name, parameters)
    return json_reply(b"")


def unload(request: Request) -> Reply:
    """Returns once the unload has begun; the model's last requests may finish later."""
    _refuse_repository_name(request)
    dependents = False
    try:
        held = find(parse_document(request.body), "parameters")
        dependents = isinstance(held, dict) and find(held, "unload_dependents") is True
    except TritonError:
        pass  # 2.51 does not report faults of an unload's body
    request.session.repository.unload(request.captures.name, unload_dependents=dependents)
    return json_reply(b"")


def _refuse_repository_name(request: Request) -> None:
    if request.captures.repository is not None:
        raise unsupported("'repository_name' specification is not supported")


def _load_parameters(held: js.Value) -> dict[str, str | bytes]:
    if not isinstance(held, dict):
        raise internal("attempt to get members for non-object")
    found: dict[str, str | bytes] = {}
    for key, value in js.members(held):
        text = js.as_string(value)
        if key == "config":
            found[key] = text
        elif key.startswith("file:"):
            found[key] = base64.decode(text)
        else:
            raise internal("unexpected error on creating Triton parameter")
    return found
