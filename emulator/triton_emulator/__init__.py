"""A faithful NVIDIA Triton Inference Server without a GPU and without Docker.

`with Emulator("models") as triton:` serves a model repository at `triton.url` while its block runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triton_emulator.emulator import Emulator, Session
    from triton_emulator.server import PortInUse, StartupError
    from triton_emulator.settings import Settings

_HOMES = {
    "Emulator": "triton_emulator.emulator",
    "PortInUse": "triton_emulator.server",
    "Session": "triton_emulator.emulator",
    "Settings": "triton_emulator.settings",
    "StartupError": "triton_emulator.server",
}

__all__ = ["Emulator", "PortInUse", "Session", "Settings", "StartupError"]


def __getattr__(name: str) -> object:
    # imported when asked for: a test run that only has the pytest plugin installed should not pay for a server
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
