"""What a test does when there is no real server (it is skipped on a laptop, and fails in CI), or when that dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

from triton_contract.process import DEATH_SECONDS

from .installation import Installation, install
from .wheel import DEFAULT_VERSION, ReferenceUnavailable

#: what a failing test raises; what pytest's own `fail` and `raises` raise is not an Exception
FAILURES = (Exception, pytest.fail.Exception)


class ReferenceDied(Exception):
    """The real server ended while a test used it. Only then is a test run again, with a new server.

    2.51 sometimes aborts while it answers a gRPC stream (an assertion in proto_buffer_writer.h:65).
    """


class Mortal(Protocol):
    """A real server, or a target that is one."""

    def death(self, within: float = 0.0) -> object | None:
        """How the server ended, waiting up to `within` seconds; None while it runs."""


#: runs a test again whose real server has died
RERUN = pytest.mark.flaky(reruns=5, only_rerun=[ReferenceDied.__name__])


@contextmanager
def telling_deaths(*servers: Mortal) -> Iterator[None]:
    """Raise ReferenceDied in place of a failure in this `with` if a server has ended, because that explains it."""
    try:
        yield
    except FAILURES as failure:
        for server in servers:
            if (death := server.death(within=DEATH_SECONDS)) is not None:
                raise ReferenceDied(str(death)) from failure
        raise


def in_ci() -> bool:
    """Whether this is a CI run, according to the variable CI that every CI service sets."""
    return os.environ.get("CI", "").lower() == "true"


def require_reference(version: str = DEFAULT_VERSION) -> Installation:
    """The installed reference. When it is not available, the test is skipped, or fails if CI=true.

    CI must fail: a comparison that silently did not run would look like one that passed.
    """
    try:
        return install(version)
    except ReferenceUnavailable as unavailable:
        message = f"no real tritonserver: {unavailable}"
        if in_ci():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
