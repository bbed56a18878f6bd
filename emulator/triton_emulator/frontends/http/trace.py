"""GET and POST /v2/trace/setting and /v2/models/<model>/trace/setting."""

from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import invalid_arg, unsupported
from triton_emulator.protocol.json_access import Absent, find
from triton_emulator.protocol.personality import Personality
from triton_emulator.session.one_process import TRACE_CHANGE
from triton_emulator.session.trace import Level, parse_count, parse_level, parse_unsigned
from triton_emulator.wire.reply import Reply, json_reply


def setting(request: Request) -> Reply:
    """Return the settings of a model, or of all. A POST changes them first."""
    model = request.captures.name
    if model and not request.session.repository.is_ready(model):
        raise invalid_arg(f"Request for unknown model : {model}")
    trace = request.session.trace
    if request.method == "POST":
        request.session.require_one_process(*TRACE_CHANGE)
        trace.update(_changes(request.document(), request.session.personality), model)
    return json_reply(js.write(dict(trace.show(model))))


def _changes(document: js.Value, rules: Personality) -> dict[str, Level | int | str | None]:
    """The changes that a body makes. The checks have 2.51's order, whatever the order of the document."""
    changes: dict[str, Level | int | str | None] = {}
    file = find(document, "trace_file")
    if not isinstance(file, Absent):
        if rules.fixed_files:
            raise unsupported("trace file location can not be updated through network protocol")
        changes["file"] = None if file is None else js.as_string(file)
    _read_level(find(document, "trace_level"), changes)
    for name, field, parse in (
        ("trace_rate", "rate", parse_unsigned),
        ("trace_count", "count", _count),
        ("log_frequency", "log_frequency", parse_unsigned),
    ):
        value = find(document, name)
        if not isinstance(value, Absent):
            changes[field] = None if value is None else parse(name, js.as_string(value))
    return changes


def _read_level(value: js.Value | Absent, changes: dict[str, Level | int | str | None]) -> None:
    if isinstance(value, Absent):
        return
    if value is None:
        changes["level"] = None
    elif (level := parse_level(_names(value))) is not None:
        changes["level"] = level


def _names(value: js.Value) -> list[str]:
    listed = js.as_array(value)
    names: list[str] = []
    for item in listed:
        names.append(js.as_string(item))
        if names[-1] == "OFF" and len(listed) > 1:  # 2.51 stops here: a later fault is not reached
            break
    return names + [""] * (len(listed) - len(names))


def _count(name: str, text: str) -> int:
    count = parse_count(name, text)
    if count < -1:
        # 2.51: no space before the number over HTTP, one over gRPC
        raise invalid_arg(f"Unable to parse 'trace_count'. Expecting value >= -1, got:{text}")
    return count
