"""A faithful NVIDIA Triton Inference Server without a GPU and without Docker.

`with Emulator("models") as triton:` serves a model repository at `triton.http_url` while its block runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triton_emulator.backends.standins import SettingsError
    from triton_emulator.emulator import Emulator, Session
    from triton_emulator.options import EmulatorOptions, SessionOptions
    from triton_emulator.protocol.errors import Code, TritonError
    from triton_emulator.server import ModelFailure, PortInUse, StartupError
    from triton_emulator.settings import RestrictedApis, Settings

#: Where each public name is defined.
_MODULES = {
    "Code": "protocol.errors",
    "Emulator": "emulator",
    "EmulatorOptions": "options",
    "ModelFailure": "server",
    "PortInUse": "server",
    "RestrictedApis": "settings",
    "Session": "emulator",
    "SessionOptions": "options",
    "Settings": "settings",
    "SettingsError": "backends.standins",
    "StartupError": "server",
    "TritonError": "protocol.errors",
}

__all__ = [
    "Code",
    "Emulator",
    "EmulatorOptions",
    "ModelFailure",
    "PortInUse",
    "RestrictedApis",
    "Session",
    "SessionOptions",
    "Settings",
    "SettingsError",
    "StartupError",
    "TritonError",
]


def __getattr__(name: str) -> object:
    # Imported on first use: a test run that only has the pytest plugin installed must not pay for a server.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
