"""What a test does when the real server is not available: it is skipped on a laptop, and fails in CI."""

from __future__ import annotations

import os

import pytest

from .installation import Installation, install
from .wheel import DEFAULT_VERSION, ReferenceUnavailable


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
