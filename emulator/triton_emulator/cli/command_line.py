"""Reads a command line into Settings, with tritonserver's checks in tritonserver's order. It prints nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from triton_emulator.cli import values
from triton_emulator.cli.flag import Flag, Use
from triton_emulator.cli.flags import FLAGS
from triton_emulator.cxx.getopt_long import Argument, Option, OptionError, scan
from triton_emulator.settings import Settings

_BY_NAME = {flag.name: flag for flag in FLAGS}
# Our own flags cannot be abbreviated, so that every abbreviation that tritonserver takes keeps its meaning.
_OPTIONS = tuple(
    Option(
        flag.name,
        Argument.REQUIRED if flag.hint else Argument.NONE,
        abbreviated=flag.use is not Use.OURS,
        meaning="model_repositories" if flag.setting == "model_repositories" else "",
    )
    for flag in FLAGS
)
_RESTRICTED_NOUNS = {"http_restricted_apis": "api", "grpc_restricted_protocols": "protocol"}
_TRACE_FIELDS = {"file": "trace_file", "log-frequency": "trace_log_frequency"}
_FIELDS = frozenset(field.name for field in fields(Settings))


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The settings that a command line asks for, and the deprecation notes to print before anything else."""

    settings: Settings
    notes: tuple[str, ...] = ()


class HelpAsked(Exception):
    """--help comes before any mistake."""


class UsageError(Exception):
    """A command line that is refused.

    tritonserver prints getopt's message (`before`, without the program's name), its usage text, and its own message
    (`after`); one of the two is "". `notes` are the deprecation notes that come first.
    """

    def __init__(self, *, before: str = "", after: str = "", notes: Sequence[str] = ()) -> None:
        super().__init__(before or after.strip())
        self.before = before
        self.after = after
        self.notes = tuple(notes)


def parse(arguments: Sequence[str]) -> CommandLine:
    """Read a command line (without the program's name). Raises UsageError and HelpAsked."""
    notes: list[str] = []
    try:
        found = _collect(arguments, notes)
        return CommandLine(_settings(found), tuple(notes))
    except OptionError as error:
        raise UsageError(before=str(error), notes=notes) from None
    except _Refused as error:
        raise UsageError(after=str(error), notes=notes) from None


class _Refused(Exception):
    pass


def _collect(arguments: Sequence[str], notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"ignored_flags": []}
    for item in scan(arguments, _OPTIONS):
        if isinstance(item, str):
            raise _Refused(f"Unexpected argument: {item}")
        option, text = item
        flag = _BY_NAME[option.name]
        if flag.name == "help":
            raise HelpAsked
        if flag.deprecated:
            notes.append(flag.deprecated)
        _apply(flag, text, found)
        if flag.name == "response-cache-byte-size":
            notes.append(_cache_note(found["response_cache_byte_size"]))
    return found


def _apply(flag: Flag, text: str, found: dict[str, Any]) -> None:
    try:
        value = flag.convert(text) if flag.hint else True
        if flag.setting in _RESTRICTED_NOUNS:
            taken = frozenset[str]().union(*(group.apis for group in found.get(flag.setting, ())))
            for api in text.partition(":")[0].split(","):
                if api in taken:
                    raise values.BadValue(values.in_two_groups(_RESTRICTED_NOUNS[flag.setting], api))
    except values.BadValue as error:
        raise _Refused(_bad_option(f"--{flag.name}", error)) from None
    if flag.use is Use.IGNORED and flag.name not in found["ignored_flags"]:
        found["ignored_flags"].append(flag.name)
    if flag.repeats:
        found.setdefault(flag.setting, []).append(value)
    elif flag.setting:
        found[flag.setting] = value


def _bad_option(name: str, error: Exception) -> str:
    return f'Bad option: "{name}".\n{error}\n'


def _cache_note(size: int) -> str:
    return (
        "Warning: '--response-cache-byte-size' has been deprecated! This will default to the 'local' cache "
        "implementation with the provided byte size for its config. Please use '--cache-config' instead. "
        f"The equivalent --cache-config CLI args would be: '--cache-config=local,size={size}'"
    )


def _settings(found: dict[str, Any]) -> Settings:
    """Make the settings, after the checks that follow the last flag, in tritonserver's order."""
    if found.get("load_models") and found.get("model_control_mode") != "explicit":
        raise _Refused(
            "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
        )
    _fold_trace(found)
    settings = Settings(**{name: _frozen(value) for name, value in found.items() if name in _FIELDS})
    _check_ports(settings)
    if "response_cache_byte_size" in found:
        if settings.cache_config:
            raise _Refused(
                "Error: Incompatible flags --response-cache-byte-size and --cache-config both provided. "
                "Please provide one or the other."
            )
        found["cache_config"] = [("local", "size", str(found["response_cache_byte_size"]))]
        settings = Settings(**{name: _frozen(value) for name, value in found.items() if name in _FIELDS})
    return settings


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _fold_trace(found: dict[str, Any]) -> None:
    """Move the settings of --trace-config to where the deprecated --trace-* flags put theirs."""
    config: list[tuple[str, str, str]] = found.get("trace_config", [])
    for mode, key, text in config:
        convert = values.TRACE_SETTINGS.get(key)
        if mode or convert is None:
            continue
        try:
            value = convert(text)
        except values.BadValue as error:
            raise _Refused(_bad_option(f"--trace-config {key}", error)) from None
        if key == "level":
            found.setdefault("trace_level", []).append(value)
        else:
            found[f"trace_{key}"] = value
    active = found.get("trace_mode", "triton")
    own = [(key, text) for mode, key, text in config if mode == active]
    for key, text in own:
        number = values.TRACE_MODE_NUMBERS.get((active, key))
        try:
            value = text if number is None else number(text)
        except values.BadValue as error:
            raise _Refused(_bad_option(f"--trace-config {active},{key}", error)) from None
        if active == "triton" and key in _TRACE_FIELDS:
            found[_TRACE_FIELDS[key]] = value
        else:
            found.setdefault("trace_mode_settings", {})[key] = str(value)
    if "trace_mode_settings" in found:
        found["trace_mode_settings"] = list(found["trace_mode_settings"].items())


def _check_ports(settings: Settings) -> None:
    listeners = [
        (what, address, port)
        for what, allowed, address, port in (
            ("HTTP", settings.allow_http, settings.http_address, settings.http_port),
            ("GRPC", settings.allow_grpc, settings.grpc_address, settings.grpc_port),
            (
                "metrics",
                settings.allow_metrics,
                settings.metrics_address or settings.http_address,
                settings.metrics_port,
            ),
        )
        if allowed and port != 0  # 0 means a free port here, another one for each listener
    ]
    for index, (what, address, port) in enumerate(listeners):
        for other, other_address, other_port in listeners[index + 1 :]:
            if (address, port) == (other_address, other_port):
                raise _Refused(
                    f"The server cannot listen to {what} requests and {other} requests "
                    f"at the same address and port {address}:{port}\n"
                )
