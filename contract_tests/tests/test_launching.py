"""A fork of the fork server: it is to its program what a new process would be, and to its starter what Popen is."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from triton_contract.launching import Fork, ForkServers, Launch, Running, launch
from triton_contract.targets import emulator_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every start is a new program")

MODEL = """
import json, os, signal, sys

class TritonPythonModel:
    def initialize(self, args):
        seen = {
            "words": sys.argv,
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "path": sys.path,
            "flags": list(sys.flags),
            "program": sys.modules["__main__"].__file__,
            "leads a session": os.getsid(0) == os.getpid(),
            "input": os.readlink("/proc/self/fd/0"),
            "outputs": [os.readlink(f"/proc/self/fd/{n}") for n in (1, 2)],
            "encoding": [sys.stdout.encoding, sys.stderr.encoding, sys.stdout.line_buffering],
            "descriptors": len(os.listdir("/proc/self/fd")),
            "signals": {int(s): str(signal.getsignal(s)).split(" at ")[0] for s in signal.valid_signals()},
        }
        with open("seen.json", "w") as file:
            json.dump(seen, file)
"""
CONFIG = """
backend: "python"
output { name: "OUT" data_type: TYPE_FP32 dims: 1 }
"""
Start = Callable[..., Running]


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServers]:
    servers = ForkServers()
    yield servers
    servers.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.chdir(tmp_path)

    def start(how: Launch, *flags: str) -> Running:
        with Path("log").open("ab") as log:
            return how([*emulator_command(()), *flags], log)

    return start


@pytest.fixture
def models(tmp_path: Path) -> str:
    """A folder, relative to the current one, with a model that writes down what it sees."""
    version = tmp_path / "models" / "looks" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return "--model-repository=models"


def test_a_fork_gives_its_program_what_a_new_process_would(
    start: Start, forks: ForkServers, models: str
) -> None:
    test = os.environ["PYTEST_CURRENT_TEST"]
    seen: list[dict[str, Any]] = []
    for how in (partial(launch, env=os.environ), forks.launch):
        process = start(how, "--check", models)
        assert process.wait(60.0) == 0, Path("log").read_text()
        seen.append(json.loads(Path("seen.json").read_text()))
    assert isinstance(process, Fork)
    assert {name: (a, seen[1][name]) for name, a in seen[0].items() if a != seen[1][name]} == {}
    assert seen[0]["environment"]["PYTEST_CURRENT_TEST"] == test


def test_the_output_and_the_exit_code_of_a_fork_are_the_programs(start: Start, forks: ForkServers) -> None:
    said = []
    for how in (launch, forks.launch):
        assert start(how, "--nonsense").wait(60.0) == 1
        said.append(Path("log").read_text())
    assert said[1] == said[0] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_that_ends_a_fork_is_its_exit_code(
    start: Start, forks: ForkServers, tmp_path: Path, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "loads")
    process = start(forks.launch, f"--model-repository={waiting_model(tmp_path)}")
    (tmp_path / "loads").read_bytes()
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.0)
    os.killpg(process.pid, number)
    assert process.wait(60.0) == -number
    assert process.poll() == -number
    process.terminate()


def waiting_model(folder: Path) -> Path:
    version = folder / "waits" / "stays" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(
        f"import threading\nopen({str(folder / 'loads')!r}, 'w').close()\nthreading.Event().wait()\n"
    )
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return folder / "waits"


def test_many_threads_start_forks_and_each_gets_its_own(start: Start, forks: ForkServers) -> None:
    with ThreadPoolExecutor(4) as pool:
        processes = list(pool.map(lambda flag: start(forks.launch, flag), ["--version", "--nonsense"] * 4))
        codes = list(pool.map(lambda process: process.wait(60.0), processes))
    assert codes == [0, 1] * 4
    assert len({process.pid for process in processes}) == 8


@pytest.mark.parametrize(
    "words",
    [[sys.executable, "-c", "print('hello')"], ["/bin/sh", "-c", "echo hello"]],
    ids=["not a console script", "not beside this Python"],
)
def test_another_command_is_a_new_program(forks: ForkServers, tmp_path: Path, words: list[str]) -> None:
    with (tmp_path / "log").open("ab") as log:
        process = forks.launch(words, log)
    assert isinstance(process, subprocess.Popen)
    assert process.wait(60.0) == 0
    assert (tmp_path / "log").read_text() == "hello\n"


def test_in_another_environment_the_command_is_a_new_program(
    start: Start, forks: ForkServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(forks.launch, "--version")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    second = start(forks.launch, "--version")
    assert [first.wait(60.0), second.wait(60.0)] == [0, 0]
    assert isinstance(first, Fork)
    assert isinstance(second, subprocess.Popen)


def test_a_fork_server_ends_with_the_process_that_made_it() -> None:
    program = (
        "import os, signal, subprocess, sys\n"
        "from triton_contract.launching import ForkServers\n"
        "from triton_contract.targets import emulator_command\n"
        "servers = ForkServers()\n"
        "process = servers.launch([*emulator_command(()), '--version'], open(os.devnull, 'wb'))\n"
        "process.wait()\n"
        "(server,) = servers._servers.values()\n"
        "print(server._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    descriptor = pidfd(int(killed.stdout))
    if descriptor is not None:
        ended, _, _ = select.select([descriptor], [], [], 60.0)
        os.close(descriptor)
        assert ended


def pidfd(process: int) -> int | None:
    try:
        return os.pidfd_open(process)
    except ProcessLookupError:
        return None
