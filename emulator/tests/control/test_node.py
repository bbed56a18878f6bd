"""The control API as a test in JavaScript uses it: the example of the documents, run by Node."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from triton_contract.reference.pytest_support import in_ci
from triton_emulator import Emulator

PAGE = Path(__file__).parents[3] / "docs" / "control.md"


def node() -> str:
    """The program. Where there is none the test is skipped, or fails if CI=true."""
    program = shutil.which("node")
    if program is None:
        message = "no Node: install it from the distribution (nodejs)"
        if in_ci():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return program


def test_the_test_in_javascript_of_the_documents_passes(tmp_path: Path) -> None:
    program = node()
    found = re.search(
        r'^```javascript title="([^"\n]+)"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    file = tmp_path / found[1]
    file.write_text(found[2])
    with Emulator(model_control_mode="explicit", control=True) as emulator:
        done = subprocess.run(
            [program, "--test", "--test-reporter=tap", str(file)],
            env={**os.environ, "CONTROL": emulator.control_url},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 3" in done.stdout
    assert "# fail 0" in done.stdout
