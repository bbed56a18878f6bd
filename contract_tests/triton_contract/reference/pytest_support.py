"""What a test does when the real server cannot be had: skip on a laptop, fail in CI."""

from __future__ import annotations

import os

import pytest

from .installation import Installation, install
from .wheel import DEFAULT_VERSION, ReferenceUnavailable


def in_ci() -> bool:
    """Whether this run is a CI run, by the variable that every CI service sets."""
    return os.environ.get("CI", "").lower() == "true"


def require_reference(version: str = DEFAULT_VERSION) -> Installation:
    """The installed reference; otherwise skips the test, or fails it when CI=true.

    CI fails, because a proof that silently did not run would look like a proof.
    """
    try:
        return install(version)
    except ReferenceUnavailable as unavailable:
        message = f"no real tritonserver: {unavailable}"
        if in_ci():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
