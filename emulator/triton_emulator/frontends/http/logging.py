"""GET and POST /v2/logging."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import unavailable, unsupported
from triton_emulator.protocol.json_access import Absent, find
from triton_emulator.session.log_settings import FORMATS, LogSettings, clamp_level
from triton_emulator.session.one_process import LOG_CHANGE
from triton_emulator.wire.reply import Reply, json_reply

T = TypeVar("T")


def settings(request: Request) -> Reply:
    """Return the settings. A POST changes them first."""
    if request.method == "POST":
        request.session.require_one_process(*LOG_CHANGE)
        _update(request)
    return json_reply(js.write(_shown(request.session.log_settings)))


def _shown(current: LogSettings) -> dict[str, js.Value]:
    return {
        "log_file": current.file,
        "log_info": current.info,
        "log_warning": current.warning,
        "log_error": current.error,
        "log_verbose_level": current.verbose_level,
        "log_format": current.format,
    }


def _update(request: Request) -> None:
    # 2.51 applies one setting after the other: those before a fault stay changed. null means that a setting is absent.
    session = request.session
    document = request.document()
    if (file := _given(document, "log_file")) is not None:
        if session.personality.fixed_files:
            raise unsupported("log file location can not be updated through network protocol")
        session.log_settings = replace(session.log_settings, file=js.as_string(file))
    if (info := _read(js.as_bool, document, "log_info")) is not None:
        session.log_settings = replace(session.log_settings, info=info)
    if (warning := _read(js.as_bool, document, "log_warning")) is not None:
        session.log_settings = replace(session.log_settings, warning=warning)
    if (error := _read(js.as_bool, document, "log_error")) is not None:
        session.log_settings = replace(session.log_settings, error=error)
    if (level := _read(js.as_uint, document, "log_verbose_level")) is not None:
        session.log_settings = replace(session.log_settings, verbose_level=clamp_level(level))
    if (format_ := _read(js.as_string, document, "log_format")) is not None:
        if format_ not in FORMATS:
            # 2.51: UNAVAILABLE over HTTP, INVALID_ARG and without the dashes over gRPC
            raise unavailable(f"invalid argument for --log_format, got: {format_}")
        session.log_settings = replace(session.log_settings, format=format_)


def _given(document: js.Value, key: str) -> js.Value:
    value = find(document, key)
    return None if isinstance(value, Absent) else value


def _read(read_as: Callable[[js.Value], T], document: js.Value, key: str) -> T | None:
    value = _given(document, key)
    return None if value is None else read_as(value)
