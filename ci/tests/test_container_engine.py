"""`ci/engine` gives a command a container engine, and `ci/server_image.py` builds an image of the real server in it."""

import os
import subprocess
from pathlib import Path

import pytest

from contract_tests.tests.containers import require_engine, require_server_image, unavailable

ENGINE = Path(__file__).resolve().parents[1] / "engine"


def engine(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it as on a machine where no variable names an engine."""
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    return subprocess.run(
        [ENGINE, *words], env={**environment, **variables}, capture_output=True, text=True, check=False
    )


def test_without_a_command_it_prints_its_usage() -> None:
    run = engine()
    assert (run.returncode, run.stderr) == (2, "usage: ci/engine [--if-possible] COMMAND...\n")


def test_where_there_is_no_engine_it_says_what_to_install(tmp_path: Path) -> None:
    run = engine("true", PATH=programs(tmp_path))
    reason = "there is no docker (ci/programs installs it)"
    told = f"ci/engine: no container engine answers, and none can be started: {reason}\n"
    assert (run.returncode, run.stderr) == (125, told)


def test_the_command_runs_without_an_engine_where_that_is_allowed(tmp_path: Path) -> None:
    run = engine("--if-possible", "bash", "-c", "exit 7", PATH=programs(tmp_path))
    assert run.returncode == 7
    assert "none can be started" in run.stderr


def programs(folder: Path) -> str:
    """A PATH with what the script itself needs, and no docker."""
    for name in ("bash", "dirname", "env"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    return str(folder)


def test_the_command_has_an_engine_and_its_exit_code_is_kept() -> None:
    run = engine("bash", "-c", "docker version --format '{{.Server.Os}}' && echo $DOCKER_HOST && exit 7")
    if run.returncode == 125:
        unavailable(run.stderr.strip())
    assert run.returncode == 7, run.stderr
    system, address = run.stdout.splitlines()
    assert system == "linux"
    assert not address or not Path(address.removeprefix("unix://")).exists()


@pytest.fixture(scope="module")
def image() -> str:
    """An image of the real server."""
    require_engine()
    return require_server_image()


def test_the_image_of_the_server_has_the_version_and_the_folders_of_the_real_one(image: str) -> None:
    script = "echo /opt/tritonserver/*; python3 -c 'import numpy; print(numpy.__name__)'"
    run = subprocess.run(
        ["docker", "run", "--rm", image, "bash", "-c", script], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert image == "triton-emulator-tests/tritonserver:2.51.0"
    folders = " ".join(f"/opt/tritonserver/{name}" for name in ("backends", "bin", "caches", "lib"))
    assert run.stdout.splitlines() == [folders, "numpy"]
