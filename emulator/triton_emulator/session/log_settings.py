"""What is logged and how: the settings that the logging extension shows and changes."""

from dataclasses import dataclass

from triton_emulator.cxx.numbers import to_int32
from triton_emulator.settings import Settings

FORMATS = ("default", "ISO8601")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The settings of the log. `file` is "" for the console.

    The log goes to the file that the server started with. A client of a version before 2.45 can change the setting,
    not the file: no client may choose a file of this machine.
    """

    file: str = ""
    info: bool = True
    warning: bool = True
    error: bool = True
    verbose_level: int = 0
    format: str = "default"

    @classmethod
    def of(cls, settings: Settings) -> "LogSettings":
        """What a server with these settings starts with."""
        return cls(
            settings.log_file,
            settings.log_info,
            settings.log_warning,
            settings.log_error,
            clamp_level(settings.log_verbose),
            settings.log_format,
        )


def clamp_level(level: int) -> int:
    """The level that 2.51 keeps when it is given `level`: a signed 32-bit number, 0 where that is negative."""
    return max(to_int32(level), 0)
