"""The model repository extension: index, load, unload."""

from triton_emulator.cxx import base64
from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg, unsupported
from triton_emulator.protocol.json_access import Absent, find
from triton_emulator.wire.reply import Reply, json_reply


def index(request: Request) -> Reply:
    ready = False
    if request.has_body:
        wanted = find(request.document(), "ready")
        if not isinstance(wanted, Absent):
            refusal = request.session.personality.index_ready_no_boolean
            if refusal and not isinstance(wanted, bool):
                raise invalid_arg(refusal)
            ready = js.as_bool(wanted)
    return json_reply(
        js.write([dict(row.as_dict()) for row in request.session.repository.index(ready=ready)])
    )


def load(request: Request) -> Reply:
    """Blocks until the model is loaded."""
    _refuse_repository_name(request)
    parameters: dict[str, str | bytes] = {}
    if request.has_body:
        held = find(request.document(), "parameters")
        if not isinstance(held, Absent):
            parameters = _load_parameters(held, request.session.personality.max_file_text)
    request.session.require_model_control()
    request.session.repository.load(request.captures.name, parameters)
    return json_reply(b"")


def unload(request: Request) -> Reply:
    """Returns once the unload has begun; the model's last requests may finish later."""
    _refuse_repository_name(request)
    dependents = False
    try:
        held = find(request.document(), "parameters") if request.has_body else None
        dependents = isinstance(held, dict) and find(held, "unload_dependents") is True
    except TritonError:
        if request.session.personality.reports_unload_faults:
            raise
    request.session.require_model_control()
    request.session.repository.unload(request.captures.name, unload_dependents=dependents)
    return json_reply(b"")


def _refuse_repository_name(request: Request) -> None:
    if request.captures.repository is not None:
        raise unsupported("'repository_name' specification is not supported")


def _load_parameters(held: js.Value, most: int) -> dict[str, str | bytes]:
    if not isinstance(held, dict):
        raise internal("attempt to get members for non-object")
    found: dict[str, str | bytes] = {}
    for key, value in js.members(held):
        text = js.as_string(value)
        if key == "config":
            found[key] = text
        elif key.startswith("file:"):
            if len(text) > most:
                raise invalid_arg(f"'{key}' exceeds the maximum allowed data size limit INT_MAX")
            found[key] = base64.decode(text)
        else:
            raise internal("unexpected error on creating Triton parameter")
    return found
