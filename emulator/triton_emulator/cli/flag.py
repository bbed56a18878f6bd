"""A flag of the command line as a value, and a constructor for each kind of flag in the table of `flags`."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from triton_emulator.cli import values
from triton_emulator.protocol.personality import Personality


class Use(Enum):
    """What a flag does here."""

    HONOURED = "honoured"
    #: A flag of tritonserver without a meaning here: its value is checked, and a warning says that it has no effect.
    IGNORED = "ignored"
    #: A flag that tritonserver does not have.
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `hint` is what the usage text shows for its argument; a flag with an empty hint takes none.

    `convert` makes the setting's value from the argument's text, or raises BadValue. `setting` names the field of
    Settings that the flag sets, or appends to if `repeats`. `deprecated` is what tritonserver prints when the flag is
    used. `since` names the field of Personality that says whether tritonserver has the flag, where not every version
    has it. A flag of our own that tritonserver has later names that field as `until`.
    """

    name: str
    hint: str
    convert: Callable[[str], object]
    help: str
    setting: str = ""
    repeats: bool = False
    use: Use = Use.HONOURED
    deprecated: str = ""
    since: str = ""
    until: str = ""

    def known(self, rules: Personality) -> bool:
        """Whether the version has the flag."""
        return not (self.since and not getattr(rules, self.since)) and not (
            self.until and getattr(rules, self.until)
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Flags under one heading of the usage text."""

    title: str
    flags: tuple[Flag, ...]


#: Flags whose setting is shown but changes nothing: a warning says so.
_WITHOUT_EFFECT = frozenset(
    {
        "backend-directory",
        "rate-limit",
        "rate-limit-resource",
    }
)


def use(name: str) -> Use:
    """Whether a flag of tritonserver that fills a setting has an effect here."""
    return Use.IGNORED if name in _WITHOUT_EFFECT else Use.HONOURED


def single(
    name: str,
    hint: str,
    convert: Callable[[str], object],
    help_: str,
    setting: str = "",
    *,
    since: str = "",
) -> Flag:
    return Flag(name, hint, convert, help_, setting or name.replace("-", "_"), use=use(name), since=since)


def repeated(name: str, hint: str, convert: Callable[[str], object], help_: str, setting: str) -> Flag:
    return Flag(name, hint, convert, help_, setting, repeats=True, use=use(name))


def boolean(name: str, help_: str) -> Flag:
    return single(name, "<boolean>", values.boolean, help_)


def integer(name: str, help_: str, *, since: str = "") -> Flag:
    return single(name, "<integer>", values.int32, help_, since=since)


def string(name: str, help_: str) -> Flag:
    return single(name, "<string>", values.text, help_)


def ignored(name: str, hint: str, convert: Callable[[str], object] = values.text, *, since: str = "") -> Flag:
    return Flag(name, hint, convert, "", use=Use.IGNORED, since=since)


def ignored_integer(name: str) -> Flag:
    return ignored(name, "<integer>", values.int32)


def ignored_boolean(name: str, *, since: str = "") -> Flag:
    return ignored(name, "<boolean>", values.boolean, since=since)


def ours(name: str, hint: str, convert: Callable[[str], object], help_: str, setting: str = "") -> Flag:
    return Flag(name, hint, convert, help_, setting or name.replace("-", "_"), use=Use.OURS)


def deprecated_trace(
    name: str, hint: str, convert: Callable[[str], object], config: str, placeholder: str
) -> Flag:
    return Flag(
        name,
        hint,
        convert,
        f"Deprecated: use --trace-config {config}=....",
        "trace_" + name.removeprefix("trace-").replace("-", "_"),
        repeats=name == "trace-level",
        deprecated=f"Warning: '--{name}' has been deprecated and will be removed in future releases. "
        f"Please use '--trace-config {config}={placeholder} instead.",
    )
