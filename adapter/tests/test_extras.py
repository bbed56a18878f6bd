"""What is said where a package of an extra is not installed."""

import subprocess
import sys

import pytest

PYTHON = """
import sys
sys.modules[{package!r}] = None  # as if it was not installed
{code}
"""
CASES = {
    "triton-proxy without fastapi": (
        "fastapi",
        "from triton_adapter.cli import main; sys.exit(main(['--config', 'x.yaml']))",
        "triton-proxy needs fastapi, which is not installed: pip install 'triton-emulator[proxy]'",
    ),
    "triton-proxy without orjson": (
        "orjson",
        "from triton_adapter.cli import main; sys.exit(main(['--check', 'x.yaml']))",
        "triton-proxy needs orjson, which is not installed: pip install 'triton-emulator[proxy]'",
    ),
    "the SDK without orjson": (
        "orjson",
        "from triton_adapter import completion",
        (
            "triton_adapter.extras.MissingExtra: triton_adapter needs orjson, which is not installed: "
            "pip install 'triton-emulator[adapter]'"
        ),
    ),
    "the proxy's API without orjson": (
        "orjson",
        "from triton_adapter.proxy import Proxy",
        (
            "triton_adapter.extras.MissingExtra: triton_adapter.proxy needs orjson, which is not installed: "
            "pip install 'triton-emulator[proxy]'"
        ),
    ),
    "a module of our own": (
        "triton_adapter.client",
        "from triton_adapter import Client",
        "ModuleNotFoundError: import of triton_adapter.client halted; None in sys.modules",
    ),
}


@pytest.mark.parametrize(("package", "code", "told"), CASES.values(), ids=CASES.keys())
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package: str, code: str, told: str) -> None:
    words = [sys.executable, "-c", PYTHON.format(package=package, code=code)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, told)


def test_a_program_may_import_the_command_without_the_extra() -> None:
    code = "import triton_adapter.cli; print('it goes on')"
    words = [sys.executable, "-c", PYTHON.format(package="fastapi", code=code)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "it goes on\n")
