"""Targets by the name that a command line gives them."""

from __future__ import annotations

from triton_contract.reference import DEFAULT_VERSION

from .emulator import EmulatorTarget
from .target import Target, TargetUnavailable
from .triton import TritonTarget
from .url import UrlTarget


def target_of(name: str, *, version: str = DEFAULT_VERSION) -> Target:
    """Make the target `triton`, `emulator`, or that of an http:// URL; `version` is the real server's.

    Raises TargetUnavailable for any other name.
    """
    if name == "triton":
        return TritonTarget(version)
    if name == "emulator":
        return EmulatorTarget()
    if "://" in name:
        return UrlTarget(name)
    raise TargetUnavailable(f"unknown target {name!r}; it is triton, emulator or an http:// URL")
