"""Runs tests that are written in JavaScript, with the test runner of Node."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from triton_contract.reference.pytest_support import in_ci

OLDEST = 20


def node() -> str:
    """The program. Where there is none, or an old one, the test is skipped, or fails if CI=true."""
    program = shutil.which("node")
    if program is None:
        unavailable("no Node: install it from the distribution (nodejs)")
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST:
        unavailable(f"Node {OLDEST} or newer is needed, and {program} is {version}")
    return program


def unavailable(reason: str) -> NoReturn:
    """Skip the test; fail it if CI=true."""
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def assert_passes(file: Path, count: int, **variables: str) -> None:
    """Assert that all tests of a file pass, and how many there are. `variables` are added to the environment."""
    done = subprocess.run(
        [node(), "--test", "--test-reporter=tap", str(file)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert f"# pass {count}" in told, told
    assert "# fail 0" in told, told
