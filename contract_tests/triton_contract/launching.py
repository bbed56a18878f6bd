"""How a server's process is started: as a new program, or as a fork of a process that has imported it already.

The emulator's imports are most of its start, and a run of the contract starts it more than a hundred times. So one
process per run imports it (`forkserver.py`) and forks for each start. The fork gets the same words, environment,
working directory and output as a new program would. Only the process list shows the difference.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import IO, Protocol

_PROGRAM = Path(__file__).with_name("forkserver.py")
_OF_ONE_TEST = "PYTEST_CURRENT_TEST"
"""An environment variable that changes with each test, and that nothing reads while it is imported."""


class Running(Protocol):
    """A process: the part of `subprocess.Popen` that a server needs, with the same meaning."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...


class Launch(Protocol):
    """Starts a command in a session of its own, without input, with its output in a file. Raises OSError."""

    def __call__(self, words: Sequence[str], output: IO[bytes]) -> Running: ...


def launch(words: Sequence[str], output: IO[bytes], *, env: Mapping[str, str] | None = None) -> Running:
    """Start a command as a new program."""
    return subprocess.Popen(
        words,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def fork(words: Sequence[str], output: IO[bytes]) -> Running:
    """Start a command as a fork, if it is a console script of this Python on Linux; else as a new program."""
    return _SERVERS.launch(words, output)


class Fork:
    """A process that the fork server started: its keeper says on a socket how it ended.

    Its process id belongs to no other process until its end has been read here.
    """

    def __init__(self, news: socket.socket) -> None:
        self._news = news
        self._lines = news.makefile("r")
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = self._told("pid")

    def __repr__(self) -> str:
        return f"<Fork {self.pid}, {'running' if self.returncode is None else self.returncode}>"

    def poll(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same, after the end. Raises subprocess.TimeoutExpired after so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            with self._lock:
                if self.returncode is None and self._has_news(left):
                    self.returncode = self._told("end")
                    self._lines.close()
                    self._news.close()
                if self.returncode is not None:
                    return self.returncode
            if left == 0.0:
                raise subprocess.TimeoutExpired(str(self), timeout or 0.0)

    def _told(self, what: str) -> int:
        word, number = (self._lines.readline() or "end -9").split()
        if word != what:
            raise ValueError(f"the fork ended at once: {number}")
        return int(number)

    def _has_news(self, within: float | None) -> bool:
        ready, _, _ = select.select([self._news], [], [], within)
        return bool(ready)

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class _ForkServer:
    """The process that forks. It ends with our own process, as it reads from a socket whose other end only we hold."""

    def __init__(self, interpreter: str, script: Path, entry: EntryPoint) -> None:
        self.environment = _lasting(os.environ)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(interpreter, str(_PROGRAM), str(theirs.fileno())),
                    *(str(script), entry.module, entry.attr),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self.works = self._control.recv(8) == b"ready"

    def fork(self, words: Sequence[str], output: IO[bytes]) -> Fork:
        """Raises OSError or ValueError if it does not work."""
        asked = {"words": list(words), "environment": dict(os.environ), "folder": str(Path.cwd())}
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(
                    self._control, [json.dumps(asked).encode()], [output.fileno(), theirs.fileno()]
                )
            return Fork(ours)
        except BaseException:
            ours.close()
            raise

    def close(self) -> None:
        self._control.close()
        self._process.wait()


class ForkServers:
    """The fork servers of this process, by console script, each made at the first start that can use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[Path, _ForkServer | None] = {}

    def launch(self, words: Sequence[str], output: IO[bytes]) -> Running:
        """As `fork` says, which is this with the fork servers that live as long as this process."""
        server = self._server(Path(words[0]))
        # What was imported may have read the environment.
        if server is not None and server.works and server.environment == _lasting(os.environ):
            with suppress(OSError, ValueError):
                return server.fork(words, output)
        return launch(words, output)

    def _server(self, script: Path) -> _ForkServer | None:
        with self._lock:
            if script not in self._servers:
                self._servers[script] = _fork_server(script)
            return self._servers[script]

    def close(self) -> None:
        for server in self._servers.values():
            if server is not None:
                server.close()
        self._servers.clear()


def _fork_server(script: Path) -> _ForkServer | None:
    """One for a console script of our own Python; None for any other command."""
    here = Path(sys.executable).parent
    if sys.platform != "linux" or script.parent != here or not script.is_file():
        return None
    with script.open("rb") as file:
        first = os.fsdecode(file.readline().strip())
    interpreter = first.removeprefix("#!")
    if first == interpreter or Path(interpreter).parent.resolve() != here.resolve():
        return None
    with suppress(OSError):
        for entry in entry_points(group="console_scripts", name=script.name):
            return _ForkServer(interpreter, script, entry)
    return None


def _lasting(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != _OF_ONE_TEST}


_SERVERS = ForkServers()
atexit.register(_SERVERS.close)
