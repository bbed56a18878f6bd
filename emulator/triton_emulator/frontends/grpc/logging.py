"""LogSettings: what is logged and how."""

from dataclasses import replace

from triton_emulator.frontends.grpc.messages import mapping, message_class
from triton_emulator.protocol.errors import invalid_arg, unsupported
from triton_emulator.repository.schema import Proto
from triton_emulator.session.log_settings import FORMATS, clamp_level
from triton_emulator.session.one_process import LOG_CHANGE
from triton_emulator.session.state import SessionState

#: setting name -> the field of LogSettings, the kind of its value, and the kind's name in errors, in 2.51's order of
#: checks
_SETTINGS = {
    "log_info": ("info", "bool_param", "boolean"),
    "log_warning": ("warning", "bool_param", "boolean"),
    "log_error": ("error", "bool_param", "boolean"),
    "log_verbose_level": ("verbose_level", "uint32_param", "int32"),
    "log_format": ("format", "string_param", "string"),
}


def settings(session: SessionState, request: Proto) -> Proto:
    """Change the settings that the request names, then return all of them."""
    # 2.51 applies one setting after the other: those before a fault stay changed
    given_settings = mapping(request.settings)
    if given_settings:
        session.require_one_process(*LOG_CHANGE)
    if (file := given_settings.get("log_file")) is not None:
        if session.personality.fixed_files:
            raise unsupported("log file location can not be updated through network protocol")
        if file.WhichOneof("parameter_choice") != "string_param":
            raise invalid_arg("expect string for 'log_file'")
        session.log_settings = replace(session.log_settings, file=file.string_param)
    for name, (field, kind, noun) in _SETTINGS.items():
        given = given_settings.get(name)
        if given is None:
            continue
        if given.WhichOneof("parameter_choice") != kind:
            raise invalid_arg(f"expect {noun} for '{name}'")
        value = getattr(given, kind)
        if field == "format" and value not in FORMATS:
            raise invalid_arg(f"invalid argument for log_format, got: {value}")
        if field == "verbose_level":
            value = clamp_level(value)
        session.log_settings = replace(session.log_settings, **{field: value})
    current = session.log_settings
    reply = message_class("LogSettingsResponse")()
    reply.settings["log_file"].string_param = current.file
    for name, (field, kind, _) in _SETTINGS.items():
        setattr(reply.settings[name], kind, getattr(current, field))
    return reply
