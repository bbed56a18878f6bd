"""The model repository extension: index, load, unload."""

from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import internal, unsupported
from triton_emulator.protocol.json_access import Absent, find, parse_document, read
from triton_emulator.wire.reply import Reply, json_reply


def index(request: Request) -> Reply:
    ready = False
    if request.body:
        wanted = find(parse_document(request.body), "ready")
        if not isinstance(wanted, Absent):
            ready = read(js.as_bool, wanted, "ready")
    return json_reply(js.write([dict(row.as_dict()) for row in request.world.repository.index(ready=ready)]))


def load(request: Request) -> Reply:
    """Blocks until the model is loaded."""
    _refuse_repository_name(request)
    parameters: dict[str, str] = {}
    if request.body:
        held = find(parse_document(request.body), "parameters")
        if not isinstance(held, Absent):
            parameters = _load_parameters(held)
    request.world.repository.load(request.groups[1] or "", parameters)
    return json_reply(b"")


def unload(request: Request) -> Reply:
    """Returns once the unload has begun; the model's last requests finish behind it."""
    _refuse_repository_name(request)
    dependents = False
    if request.body:
        held = find(parse_document(request.body), "parameters")
        if not isinstance(held, Absent):
            wanted = find(held, "unload_dependents")
            if not isinstance(wanted, Absent):
                dependents = read(js.as_bool, wanted, "unload_dependents")
    request.world.repository.unload(request.groups[1] or "", unload_dependents=dependents)
    return json_reply(b"")


def _refuse_repository_name(request: Request) -> None:
    if request.groups[0] is not None:
        raise unsupported("'repository_name' specification is not supported")


def _load_parameters(held: js.Value) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in js.members(js.as_object(held)):
        if key != "config" and not key.startswith("file:"):
            raise internal("unexpected error on creating Triton parameter")
        found[key] = read(js.as_string, value, key)
    return found
