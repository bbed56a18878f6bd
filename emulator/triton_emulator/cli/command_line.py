"""Reads a command line into Settings, with tritonserver's checks in tritonserver's order. It prints nothing."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

from triton_emulator.cli import values
from triton_emulator.cli.flag import Flag, Use
from triton_emulator.cli.flags import FLAGS, flags
from triton_emulator.cxx.getopt_long import Argument, Option, OptionError, scan
from triton_emulator.protocol.personality import (
    CHANGES,
    DEFAULT_VERSION,
    RELEASES,
    Personality,
    personality,
)
from triton_emulator.session.upstream import check_upstream
from triton_emulator.settings import JOURNAL_REQUESTS, OPEN_CONTROL, Settings
from triton_emulator.workers.refusals import check_workers

#: the exit code of a check whose flags are refused
WRONG_FLAGS = 2
_RESTRICTED_NOUNS = {"http_restricted_apis": "api", "grpc_restricted_protocols": "protocol"}
#: The settings of --backend-config that have an effect here.
_BACKEND_SETTINGS = ("default-max-batch-size",)
_TRACE_FIELDS = {"file": "trace_file", "log-frequency": "trace_log_frequency"}
_FIELDS = frozenset(field.name for field in fields(Settings))


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The settings that a command line asks for, and the deprecation notes to print before anything else.

    `check` is whether the models are only to be checked, `output_format` ("text" or "json") the form of that report.
    """

    settings: Settings
    notes: tuple[str, ...] = ()
    check: bool = False
    output_format: str = "text"


class HelpAsked(Exception):
    """--help comes before any mistake."""


class VersionAsked(Exception):
    """--version."""


class UsageError(Exception):
    """A command line that is refused.

    tritonserver prints getopt's message (`before`, without the program's name), its usage text, and its own message
    (`after`); one of the two is "". `notes` are the deprecation notes that come first, `advice` lines of our own that
    come last.
    """

    def __init__(
        self, *, before: str = "", after: str = "", notes: Sequence[str] = (), advice: Sequence[str] = ()
    ) -> None:
        super().__init__(before or after.strip())
        self.before = before
        self.after = after
        self.notes = tuple(notes)
        self.advice = tuple(advice)


def asked_personality(arguments: Sequence[str]) -> Personality:
    """What the version does that --triton-version names; the default one's where it names none, or one that is not."""
    version = DEFAULT_VERSION
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name == "--triton-version":
            version = value if equals else "".join(arguments[at + 1 : at + 2])
    return personality(version if version in RELEASES else DEFAULT_VERSION)


@cache
def _options(rules: Personality) -> tuple[Option, ...]:
    """The options of a version. Ours cannot be abbreviated: every abbreviation of tritonserver keeps its meaning."""
    return tuple(
        Option(
            flag.name,
            Argument.REQUIRED if flag.hint else Argument.NONE,
            abbreviated=flag.use is not Use.OURS,
            meaning="model_repositories" if flag.setting == "model_repositories" else "",
        )
        for flag in flags(rules)
    )


def parse(arguments: Sequence[str]) -> CommandLine:
    """Read a command line (without the program's name). Raises UsageError, HelpAsked and VersionAsked."""
    notes: list[str] = []
    rules = asked_personality(arguments)
    try:
        found = _collect(arguments, rules, notes)
        checks = "check" in found
        if "output_format" in found and not checks:
            raise _Refused("--output-format is for --check")
        return CommandLine(_settings(found, rules), tuple(notes), checks, found.get("output_format", "text"))
    except OptionError as error:
        raise UsageError(before=str(error), notes=notes, advice=_advice(error.written, rules)) from None
    except _Refused as error:
        raise UsageError(after=str(error), notes=notes) from None


def _advice(written: str, rules: Personality) -> list[str]:
    """Advice for a flag that the version does not know; none for one that it does."""
    later = next((flag.since for flag in FLAGS if flag.name == written and flag.since), "")
    if later:
        first = next(change.first for change in CHANGES if change.field == later)
        return [f"tritonserver has --{written} since {first}; this is {rules.version} (--triton-version)."]
    near = get_close_matches(written, [flag.name for flag in flags(rules)], n=1) if written else []
    return [f"Did you mean --{near[0]}?"] if near else []


class _Refused(Exception):
    pass


def _collect(arguments: Sequence[str], rules: Personality, notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"ignored_flags": []}
    by_name = {flag.name: flag for flag in flags(rules)}
    for item in scan(arguments, _options(rules)):
        if isinstance(item, str):
            raise _Refused(f"Unexpected argument: {item}")
        option, text = item
        flag = by_name[option.name]
        if flag.name == "help":
            raise HelpAsked
        if flag.name == "version":
            raise VersionAsked
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
    if not _has_effect(flag, value) and flag.name not in found["ignored_flags"]:
        found["ignored_flags"].append(flag.name)
    if flag.repeats:
        found.setdefault(flag.setting, []).append(value)
    elif flag.setting:
        found[flag.setting] = value


def _has_effect(flag: Flag, value: Any) -> bool:
    if flag.name == "backend-config":
        return value[1] in _BACKEND_SETTINGS
    return flag.use is not Use.IGNORED


def _bad_option(name: str, error: Exception) -> str:
    return f'Bad option: "{name}".\n{error}\n'


def _cache_note(size: int) -> str:
    return (
        "Warning: '--response-cache-byte-size' has been deprecated! This will default to the 'local' cache "
        "implementation with the provided byte size for its config. Please use '--cache-config' instead. "
        f"The equivalent --cache-config CLI args would be: '--cache-config=local,size={size}'"
    )


def _settings(found: dict[str, Any], rules: Personality) -> Settings:
    """Make the settings, after the checks that follow the last flag, in tritonserver's order."""
    _complete_control(found)
    settings = _of(found)
    if rules.load_model_needs_explicit and settings.loads_in_vain:
        raise _Refused(
            "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
        )
    _fold_trace(found)
    settings = _of(found)
    _check_ports(settings)
    try:
        check_upstream(settings, found, partial(_spelt, rules))
    except ValueError as error:
        raise _Refused(f"Error: {error}") from None
    if "response_cache_byte_size" in found:
        if settings.cache_config:
            raise _Refused(
                "Error: Incompatible flags --response-cache-byte-size and --cache-config both provided. "
                "Please provide one or the other."
            )
        found["cache_config"] = [("local", "size", str(found["response_cache_byte_size"]))]
        settings = _of(found)
    try:
        check_workers(settings)
    except ValueError as error:
        raise _Refused(f"Error: {error}") from None
    return settings


def _spelt(rules: Personality, setting: str) -> str:
    """The flag that sets a field of Settings."""
    named = (flag.name for flag in flags(rules) if flag.setting == setting)
    return "--" + next(named, setting.replace("_", "-"))


def _complete_control(found: dict[str, Any]) -> None:
    """Add what the control API needs: its token of the environment, and a journal to look at."""
    if "control_port" not in found:
        for name in ("control_address", "control_token"):
            if name in found:
                raise _Refused(f"--{name.replace('_', '-')} is for --control-port")
        return
    found.setdefault("control_token", os.environ.get("TRITON_EMULATOR_CONTROL_TOKEN", ""))
    found["journal_requests"] = JOURNAL_REQUESTS
    if (settings := _of(found)).control_is_open:
        raise _Refused(OPEN_CONTROL.format(settings.control_address))


def _of(found: dict[str, Any]) -> Settings:
    return Settings(**{name: _frozen(value) for name, value in found.items() if name in _FIELDS})


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
    if shared := settings.on_one_port():
        what, other, where = shared
        raise _Refused(
            f"The server cannot listen to {what} requests and {other} requests "
            f"at the same address and port {where}\n"
        )
