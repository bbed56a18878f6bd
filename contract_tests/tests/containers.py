"""What tests with containers need: an engine, and an image of the real server that is built here."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from triton_contract.reference.pytest_support import require_reference

ROOT = Path(__file__).parents[2]


def require_engine() -> None:
    """Skip the test where no container engine answers, or fail it if REQUIRE_CONTAINER_TESTS=1."""
    if reason := _why_none():
        unavailable(f"no container engine: {reason}; `make containers` starts one where it can")


def unavailable(reason: str) -> NoReturn:
    """Skip the test; fail it if REQUIRE_CONTAINER_TESTS=1."""
    if os.environ.get("REQUIRE_CONTAINER_TESTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@cache
def _why_none() -> str:
    if shutil.which("docker") is None:
        return "there is no docker"
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return (answer.stderr.strip().splitlines() or ["docker info fails"])[-1] if answer.returncode else ""


def require_server_image() -> str:
    """The tag of an image of the real server. The test is skipped, or fails, where there is no engine or no server."""
    require_engine()
    require_reference()
    return _server_image()


@cache
def _server_image() -> str:
    program = [sys.executable, str(ROOT / "ci" / "server_image.py")]
    return subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
