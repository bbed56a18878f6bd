"""Targets by the name that a command line gives them."""

from __future__ import annotations

from triton_contract.process import Ports
from triton_contract.reference import DEFAULT_VERSION

from .emulator import EmulatorTarget
from .target import Target, UnknownTarget
from .triton import TritonTarget
from .url import UrlTarget


def is_triton(name: str) -> bool:
    """Whether the name of a target is that of the real server, of whatever version."""
    return name.partition("==")[0] == "triton"


def is_emulator(name: str) -> bool:
    """Whether the name of a target is that of the emulator, of whatever version."""
    return name.partition("==")[0] == "emulator"


def is_url(name: str) -> bool:
    """Whether the name of a target is the URL of a server that runs already."""
    return "://" in name


def version_of(name: str) -> str | None:
    """The version in the name of a target, such as `emulator==2.72.0`; None where there is none."""
    return name.partition("==")[2] or None


def target_of(name: str, *, version: str = DEFAULT_VERSION, ports: Ports | None = None) -> Target:
    """Make the target `triton`, `triton==<version>`, `emulator`, `emulator==<version>`, or that of an http:// URL.

    `version` is that of a real server whose name gives none; an emulator without one has its own default. `ports` are
    those of a server that is started here; None takes free ones. Raises UnknownTarget for any other name and for an
    address that is no URL, TargetUnavailable for one that is not plain http://.
    """
    _, equals, asked = name.partition("==")
    if is_triton(name):
        return TritonTarget(asked if equals else version, ports)
    if is_emulator(name):
        return EmulatorTarget(ports=ports, version=asked)
    if is_url(name):
        return UrlTarget(name)
    raise UnknownTarget(
        f"unknown target {name!r}; it is triton, triton==<version>, emulator, emulator==<version> or an http:// URL"
    )
