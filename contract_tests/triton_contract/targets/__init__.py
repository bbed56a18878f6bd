"""Targets: the servers that cases run against. The real Triton, the emulator, or any server at a URL."""

from .emulator import EmulatorTarget, emulator_command
from .named import is_emulator, is_triton, is_url, target_of, version_of
from .target import Target, TargetUnavailable, UnknownTarget
from .triton import TritonTarget
from .url import UrlTarget

__all__ = [
    "EmulatorTarget",
    "Target",
    "TargetUnavailable",
    "TritonTarget",
    "UnknownTarget",
    "UrlTarget",
    "emulator_command",
    "is_emulator",
    "is_triton",
    "is_url",
    "target_of",
    "version_of",
]
