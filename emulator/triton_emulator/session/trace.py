"""Trace settings: one for all models, and what a model has of its own.

The rules are those of 2.51.0's tracer. Nothing is written to a trace file; what a client can see of tracing (the
settings, and the count that goes down with each trace) is kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from triton_emulator.cxx.numbers import stoi
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.personality import Personality
from triton_emulator.settings import Settings

#: In the order in which they are shown. No level at all is shown as OFF.
LEVELS = ("TIMESTAMPS", "TENSORS")
_UINT32 = 1 << 32
#: What opentelemetry mode shows when it was given nothing.
_OPENTELEMETRY = {
    "bsp_max_export_batch_size": "512",
    "bsp_schedule_delay": "5000",
    "bsp_max_queue_size": "2048",
}

Level = frozenset[str]
#: Fields of TraceSetting by name; None clears a field.
Changes = Mapping[str, Level | int | str | None]


@dataclass(frozen=True, slots=True)
class TraceSetting:
    """One row of settings. `specified` are the fields that were set here and not taken over from the level above.

    `file` is None where it is the one that the server started with.
    """

    level: Level = frozenset()
    rate: int = 1000
    count: int = -1
    log_frequency: int = 0
    file: str | None = None
    specified: frozenset[str] = frozenset()

    @property
    def levels(self) -> list[str]:
        return [level for level in LEVELS if level in self.level] or ["OFF"]


@dataclass(slots=True)
class TraceSettings:
    """The settings of one server. `default` is what it started with, `mode_settings` what only its mode knows.

    `shows_mode`: the mode and what only it knows are shown. Otherwise both are left out, and the file is always shown.
    """

    default: TraceSetting = TraceSetting()
    file: str = ""
    mode: str = "triton"
    mode_settings: tuple[tuple[str, str], ...] = ()
    shows_mode: bool = True
    _shared: TraceSetting = field(init=False)
    _models: dict[str, TraceSetting] = field(init=False, default_factory=dict)
    _seen: dict[str, int] = field(init=False, default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, rules: Personality) -> "TraceSettings":
        """What a server with these settings starts with; 2.51 does not check it, and shows it as it is."""
        default = TraceSetting(
            frozenset(settings.trace_level) - {"OFF"},
            settings.trace_rate % _UINT32,
            settings.trace_count,
            settings.trace_log_frequency % _UINT32,
        )
        return cls(
            default,
            settings.trace_file,
            settings.trace_mode,
            settings.trace_mode_settings,
            rules.trace_mode_shown,
        )

    def __post_init__(self) -> None:
        self._shared = replace(self.default, specified=frozenset())

    def show(self, model: str = "") -> dict[str, list[str] | str]:
        """The settings of a model, or of all ("" for `model`), as both protocols show them: all values are text."""
        setting = self._models.get(model, self._shared)
        shown: dict[str, list[str] | str] = {
            "trace_level": setting.levels,
            "trace_rate": str(setting.rate),
            "trace_count": str(setting.count),
        }
        if self.mode == "triton" or not self.shows_mode:
            shown |= {"log_frequency": str(setting.log_frequency), "trace_file": self._file(setting)}
        if not self.shows_mode:
            return shown
        shown["trace_mode"] = self.mode
        given = dict(self.mode_settings)
        return (
            shown
            | given
            | ({k: v for k, v in _OPENTELEMETRY.items() if k not in given} if self.mode != "triton" else {})
        )

    def update(self, changes: Changes, model: str = "") -> None:
        """Change the settings of a model, or of all. Raises INVALID_ARG where they are at odds with each other.

        A change for all reaches the models that have settings of their own, in the fields that they have not set.
        """
        if model:
            setting = _merge(self._shared, self._models.get(model), changes)
            if setting.specified:
                self._check(setting)
                self._models[model] = setting
            else:
                self._models.pop(model, None)
            self._seen.pop(model, None)
            return
        setting = _merge(self.default, self._shared, changes)
        self._check(setting)
        self._shared = setting
        self._seen.pop("", None)
        # 2.51: the first model, by name, that the change does not fit ends it: what has been changed stays changed.
        for name in sorted(self._models):
            merged = _merge(setting, self._models[name], {})
            self._check(merged)
            self._models[name] = merged

    def _check(self, setting: TraceSetting) -> None:
        if fault := self._fault(setting):
            raise invalid_arg(f"Attempting to set invalid trace setting :{fault.text}")

    def sample(self, model: str) -> bool:
        """Whether a request for `model` is traced; counts it where it is."""
        if not self._shared.level and not self._models:
            return False
        owner = model if model in self._models else ""
        setting = self._models.get(model, self._shared)
        if not setting.level or self._fault(setting) is not None:
            return False
        self._seen[owner] = seen = self._seen.get(owner, 0) + 1
        if seen % setting.rate:
            return False
        if setting.count > 0:
            counted = replace(setting, count=setting.count - 1)
            if owner:
                self._models[owner] = counted
            else:
                self._shared = counted
        return True

    def _file(self, setting: TraceSetting) -> str:
        return self.file if setting.file is None else setting.file

    def _fault(self, setting: TraceSetting) -> "_Fault | None":
        """Why tracing could not be on like this; a setting that is off has no fault."""
        if not setting.level:
            return None
        if setting.rate == 0:
            return _Fault("sample rate must be non-zero")
        if self.mode == "triton" and not self._file(setting):
            return _Fault("trace file name is not given")
        return _Fault("") if setting.count == 0 else None


@dataclass(frozen=True, slots=True)
class _Fault:
    # 2.51 gives no reason, an empty text, for a count of 0.
    text: str


def _merge(above: TraceSetting, current: TraceSetting | None, changes: Changes) -> TraceSetting:
    """`above`, overridden by what `current` specifies, overridden by `changes`."""
    own = {name: getattr(current, name) for name in current.specified} if current is not None else {}
    for name, value in changes.items():
        if value is None:
            own.pop(name, None)
        else:
            own[name] = value
    return replace(above, **own, specified=frozenset(own))


def parse_level(names: Iterable[str]) -> Level | None:
    """The level that a list of names stands for; None where no name is known, which changes nothing.

    Raises INVALID_ARG where OFF is one of several.
    """
    listed = list(names)
    if "OFF" in listed:
        if len(listed) > 1:
            raise invalid_arg("Expect only one trace level 'OFF' is specified")
        return frozenset()
    return frozenset(listed) & frozenset(LEVELS) or None


def parse_unsigned(name: str, text: str) -> int:
    """A rate or a frequency: read as a signed number, kept as an unsigned one (2.51: "-1" is 4294967295)."""
    return _parse(name, text, "0, 4294967295") % _UINT32


def parse_count(name: str, text: str) -> int:
    """A count; the caller refuses what is below -1, in its protocol's words."""
    return _parse(name, text, "-1, 2147483647")


def _parse(name: str, text: str, bounds: str) -> int:
    try:
        return stoi(text)
    except ValueError:
        raise invalid_arg(f"Unable to parse '{name}', got: {text}") from None
    except OverflowError:
        raise invalid_arg(
            f"Unable to parse '{name}', value is out of range [ {bounds} ], got: {text}"
        ) from None
