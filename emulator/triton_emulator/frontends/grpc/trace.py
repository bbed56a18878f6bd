"""TraceSetting: the trace settings of a model, or of all."""

from collections.abc import Mapping

from triton_emulator.frontends.grpc.messages import mapping, message_class
from triton_emulator.protocol.errors import invalid_arg, unsupported
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.schema import Proto
from triton_emulator.session.one_process import TRACE_CHANGE
from triton_emulator.session.state import SessionState
from triton_emulator.session.trace import Level, parse_count, parse_level, parse_unsigned


def setting(session: SessionState, request: Proto) -> Proto:
    """Change the settings that the request names, then return all of them."""
    model = request.model_name
    if model and not session.repository.is_ready(model):
        raise invalid_arg(f"Request for unknown model : {model}")
    if request.settings:
        session.require_one_process(*TRACE_CHANGE)
        session.trace.update(_changes(mapping(request.settings), session.personality), model)
    reply = message_class("TraceSettingResponse")()
    for name, value in session.trace.show(model).items():
        reply.settings[name].value.extend([value] if isinstance(value, str) else value)
    return reply


def _changes(settings: Mapping[str, Proto], rules: Personality) -> dict[str, Level | int | str | None]:
    """The changes that the request makes. A setting without a value is reset to that of the level above."""
    changes: dict[str, Level | int | str | None] = {}
    if "trace_file" in settings:
        if rules.fixed_files:
            raise unsupported("trace file location can not be updated through network protocol")
        changes["file"] = _single(settings, "trace_file")
    if "trace_level" in settings:
        names = list(settings["trace_level"].value)
        if not names:
            changes["level"] = None
        elif (level := parse_level(names)) is not None:
            changes["level"] = level
    for name, field, parse in (
        ("trace_rate", "rate", parse_unsigned),
        ("trace_count", "count", _count),
        ("log_frequency", "log_frequency", parse_unsigned),
    ):
        if name in settings:
            value = _single(settings, name)
            changes[field] = None if value is None else parse(name, value)
    return changes


def _single(settings: Mapping[str, Proto], name: str) -> str | None:
    """The one value of a setting, None where it has none."""
    values = settings[name].value
    if len(values) > 1:
        raise invalid_arg(f"expect only 1 value for '{name}'")
    return values[0] if values else None


def _count(name: str, text: str) -> int:
    count = parse_count(name, text)
    if count < -1:
        # 2.51: a space before the number over gRPC, none over HTTP
        raise invalid_arg(f"Unable to parse 'trace_count'. Expecting value >= -1, got: {text}")
    return count
