"""The project's own files: locks name no host, entry points exist, and the extra `all` holds all others."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "ci" / "constraints").glob("*.txt"))
DISTRIBUTION = importlib.metadata.distribution("triton-emulator")


def locked(path: Path) -> dict[str, set[str]]:
    """The versions that a lock names for each package. There are several where Python versions need different ones."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_names_versions_markers_and_hashes_and_no_host(lock: Path) -> None:
    line_of_a_lock = re.compile(r"[a-z0-9-]+==[^ ]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lock.read_text().splitlines() if not line_of_a_lock.fullmatch(line)] == []


def test_the_lock_of_the_tests_in_javascript_holds_hashes_and_no_host() -> None:
    text = (ROOT / "examples/javascript/package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    project = packages.pop("")
    assert project["devDependencies"].keys() == {"openai"}
    assert [
        name for name, package in packages.items() if not package["integrity"].startswith("sha512-")
    ] == []
    assert "://" not in text


@pytest.mark.parametrize("name", ["build.txt", "core.txt", "image.txt", "test.txt"])
def test_the_smaller_locks_have_the_versions_of_the_largest(name: str) -> None:
    part, whole = locked(ROOT / "ci/constraints" / name), locked(ROOT / "ci/constraints/dev.txt")
    assert part == {package: versions for package, versions in whole.items() if package in part}


def test_the_extra_all_holds_all_extras() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert everything == f"triton-emulator[{','.join(name for name in extras if name != 'all')}]"


@pytest.mark.parametrize("program", DISTRIBUTION.entry_points, ids=lambda program: program.name)
def test_an_entry_point_names_an_existing_object(program: importlib.metadata.EntryPoint) -> None:
    assert program.load() is not None


def test_an_isolated_command_reaches_only_the_loopback_interface() -> None:
    script = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
try:
    socket.create_connection(("192.0.2.1", 9), timeout=1)
except OSError as error:
    print(error.strerror)
"""
    run = subprocess.run(
        [ROOT / "ci" / "isolate", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    if run.returncode == 125:
        pytest.skip(run.stderr.strip())
    assert run.stdout == "Network is unreachable\n"


def test_isolate_without_a_command_prints_its_usage() -> None:
    run = subprocess.run([ROOT / "ci" / "isolate"], capture_output=True, text=True, check=False)
    assert (2, "usage: ci/isolate [--if-possible] COMMAND...\n") == (run.returncode, run.stderr)


def test_every_action_of_a_workflow_is_pinned_by_commit_and_says_its_version() -> None:
    lines = [
        line.strip()
        for workflow in (ROOT / ".github/workflows").glob("*.yml")
        for line in workflow.read_text().splitlines()
        if "uses:" in line
    ]
    pinned = re.compile(r"- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert lines
    assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_the_wheel_is_built_and_tested_on_every_python_of_the_classifiers() -> None:
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    listing = subprocess.run([ROOT / "ci" / "build", "--pythons"], capture_output=True, text=True, check=True)
    assert [line.split(" ")[0] for line in listing.stdout.splitlines()] == supported
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert [version for version in supported if workflow.count(version) < 2] == []
