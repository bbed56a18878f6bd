"""A server that is stopped while it starts: by another thread, before it has a process, and between two attempts."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from triton_contract.cases.load import MODELS
from triton_contract.process import Ports, ServerFailed, ServerProcess
from triton_contract.running.pair import Pair
from triton_contract.running.sides import LiveSide
from triton_contract.targets import EmulatorTarget

STOPPED = "server was stopped while it started"
NEVER_ANSWERS = """
import signal, sys
open(sys.argv[1], "w").write("up")
signal.pause()
"""
REFUSES = """
import sys
open(sys.argv[1]).read()
sys.exit("no GPU here")
"""


def answering(ports: Ports) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(ports.http)]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe: who opens it waits for the other end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_start_that_another_thread_stops_is_an_error(pipe: Path) -> None:
    def command(ports: Ports) -> list[str]:
        return [sys.executable, "-c", NEVER_ANSWERS, str(pipe)]

    server = ServerProcess("server", command, start_timeout=30.0)
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(server.start)
        assert pipe.read_text() == "up"
        server.stop()
        with pytest.raises(ServerFailed, match=f"^{STOPPED}$"):
            start.result()
    assert server.state == "not running"


def test_a_stop_before_there_is_a_process_ends_the_start() -> None:
    def command(ports: Ports) -> list[str]:
        server.stop()
        return answering(ports)

    server = ServerProcess("server", command, has_metrics=False)
    with pytest.raises(ServerFailed, match=STOPPED):
        server.start()
    assert server.state == "not running"


def test_a_stop_before_the_first_start_ends_that_start_alone() -> None:
    server = ServerProcess("server", answering, has_metrics=False)
    server.stop()
    with pytest.raises(ServerFailed, match=STOPPED):
        server.start()
    for again in (server.start, server.restart):
        again()
        assert server.alive()
        server.stop()


def test_a_start_that_failed_by_chance_is_not_tried_again_after_a_stop(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    fails = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit('unlucky')"

    def command(ports: Ports) -> list[str]:
        return [sys.executable, "-c", fails, str(seen)]

    def cleanup() -> None:
        server.stop()

    server = ServerProcess("server", command, chance=["unlucky"], cleanup=cleanup)
    with pytest.raises(ServerFailed, match=STOPPED):
        server.start()
    assert seen.read_text() == "x"


def test_a_restart_that_is_stopped_before_its_start_is_an_error() -> None:
    stops: list[Callable[[], None]] = []
    server = ServerProcess(
        "server", answering, has_metrics=False, cleanup=lambda: stops.pop()() if stops else None
    )
    server.start()
    stops.append(server.stop)  # called after restart has ended the old process
    with pytest.raises(ServerFailed, match=STOPPED):
        server.restart()
    assert server.state == "not running"


@pytest.mark.parametrize("order", [1, -1], ids=["the first refuses", "the second refuses"])
def test_a_pair_fails_at_once_when_one_side_refuses_to_start(pipe: Path, order: int) -> None:
    targets = [
        EmulatorTarget([sys.executable, "-c", program, str(pipe)]) for program in (REFUSES, NEVER_ANSWERS)
    ][::order]
    pair = Pair(LiveSide(targets[0]), LiveSide(targets[1]))
    with pytest.raises(ServerFailed, match=r"^emulator did not start: exited with code 1\n  no GPU here$"):
        pair.begin(str(MODELS / "small"), ())
    assert [target.alive() for target in targets] == [False, False]
