"""A faithful NVIDIA Triton Inference Server without a GPU and without Docker.

`with Emulator("models") as triton:` serves a model repository at `triton.http_url` while its block runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triton_emulator.emulator import Emulator, Session
    from triton_emulator.harness import fault
    from triton_emulator.harness.cassettes.reading import CassetteError
    from triton_emulator.harness.fault import Fault
    from triton_emulator.harness.journal import JournalEntry, Undecodable
    from triton_emulator.harness.plans import Plan
    from triton_emulator.harness.requests import Requests
    from triton_emulator.harness.stubs import Stub
    from triton_emulator.options import EmulatorOptions, SessionOptions
    from triton_emulator.protocol.errors import Code, TritonError
    from triton_emulator.server import ModelFailure, PortInUse, StartupError
    from triton_emulator.settings import RestrictedApis, Settings
    from triton_emulator.yaml_nodes import SettingsError

#: Where each public name is defined.
_MODULES = {
    "CassetteError": "harness.cassettes.reading",
    "Code": "protocol.errors",
    "Emulator": "emulator",
    "EmulatorOptions": "options",
    "Fault": "harness.fault",
    "JournalEntry": "harness.journal",
    "ModelFailure": "server",
    "Plan": "harness.plans",
    "PortInUse": "server",
    "Requests": "harness.requests",
    "RestrictedApis": "settings",
    "Session": "emulator",
    "SessionOptions": "options",
    "Settings": "settings",
    "SettingsError": "yaml_nodes",
    "StartupError": "server",
    "Stub": "harness.stubs",
    "TritonError": "protocol.errors",
    "Undecodable": "harness.journal",
}

__all__ = [
    "CassetteError",
    "Code",
    "Emulator",
    "EmulatorOptions",
    "Fault",
    "JournalEntry",
    "ModelFailure",
    "Plan",
    "PortInUse",
    "Requests",
    "RestrictedApis",
    "Session",
    "SessionOptions",
    "Settings",
    "SettingsError",
    "StartupError",
    "Stub",
    "TritonError",
    "Undecodable",
    "fault",
]


def __getattr__(name: str) -> object:
    # Imported on first use: a test run that only has the pytest plugin installed must not pay for a server.
    if name == "fault":  # a module: `fault.error(503)`
        return import_module(f"{__name__}.harness.fault")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
