"""A server process on ports of its own: started, awaited, watched and stopped without a trace.

The rules of this file: a server is signalled only by a process id that we were given when we started it,
its log is a file that outlives it, and a death is a value that the caller can look at.
"""

from __future__ import annotations

import atexit
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_LINES_SHOWN, _LINE_SHOWN = 5, 200
_COMPLAINTS = ("E1", "E0", "error", "Error", "Traceback", "Signal")
"""How the lines of a log begin that say why a server ended (tritonserver's errors begin with E and the month)."""
POLL_SECONDS = 0.02
BIND_ATTEMPTS = 4
_BIND_FAILURES = ("address already in use", "failed to bind", "' already in use")


class ServerFailed(Exception):
    """The server ended, or did not answer, while it was awaited. The text holds the last log lines."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The three TCP ports of a Triton server."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> Ports:
        """Three ports that nothing listens on now (another program may take one before the server does)."""
        with Reservation() as reserved:
            return reserved.ports


class Reservation:
    """Three ports that no other program is given until it is closed, but that a server can be told to listen on.

    Linux lets a socket listen on a port that another one is bound to, when both have SO_REUSEADDR and the other does
    not listen, as servers' sockets have it. Yet it gives the port to nobody who asks for any port, neither to listen
    nor to connect. Elsewhere nothing is held, and two servers that start at the same time may meet.
    """

    def __init__(self) -> None:
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(3)]
        try:
            for each in self._sockets:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind(("127.0.0.1", 0))
            self.ports = Ports(*(each.getsockname()[1] for each in self._sockets))
        except BaseException:
            self.close()
            raise
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Let anybody have the ports."""
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Death:
    """How a server ended: its exit code, or the signal that killed it, and the last lines it wrote."""

    exit_code: int | None
    signal: str | None
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        how = f"killed by {self.signal}" if self.signal else f"exited with code {self.exit_code}"
        told = [line for line in self.last_lines if line.startswith(_COMPLAINTS)]
        told += [line for line in self.last_lines[-1:] if line not in told]
        return "\n  ".join((how, *(line[:_LINE_SHOWN] for line in told[-_LINES_SHOWN:])))


class ServerProcess:
    """One running server; `command` is asked for the argument list once the ports are known.

    `cleanup` is called after every stop, for what the server leaves behind (child processes, shared memory).
    Should we be killed ourselves, the server dies with us, and files whose path begins with `leftovers` go.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[Ports], Sequence[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ports: Ports | None = None,
        start_timeout: float = 300.0,
        stop_timeout: float = 15.0,
        has_metrics: bool = True,
        leftovers: str = "",
        cleanup: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._command = command
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._fixed_ports = ports
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._has_metrics = has_metrics
        self._leftovers = leftovers
        self._cleanup = cleanup
        self._watchdog: _Watchdog | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reservation: Reservation | None = None
        self.ports = ports or Ports(0, 0, 0)
        handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".log")
        os.close(handle)
        self.log = Path(path)
        weakref.finalize(self, self.log.unlink, missing_ok=True)

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        if self._process is None:
            raise ServerFailed(f"{self.name} has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until HTTP (and metrics) answer; ServerFailed when that does not happen."""
        for attempt in range(BIND_ATTEMPTS):
            self.ports = self._fixed_ports or self._reserve()
            try:
                self._start_once()
                return
            except ServerFailed as failure:
                lost_port = any(text in str(failure).lower() for text in _BIND_FAILURES)
                if self._fixed_ports or not lost_port or attempt == BIND_ATTEMPTS - 1:
                    raise

    def _reserve(self) -> Ports:
        self._release()
        self._reservation = Reservation()
        return self._reservation.ports

    def _release(self) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.close()

    def _start_once(self) -> None:
        command = [str(word) for word in self._command(self.ports)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _RUNNING.add(self)
        self._watchdog = _Watchdog(self._process.pid, self._leftovers)
        deadline = time.monotonic() + self._start_timeout
        awaited = [self.ports.http, self.ports.metrics] if self._has_metrics else [self.ports.http]
        try:
            for port in awaited:
                while not answers_http(port):
                    self._check_start(deadline)
        except BaseException:
            self.stop(gently=False)
            raise

    def _check_start(self, deadline: float) -> None:
        death = self.death()
        if death is not None:
            raise ServerFailed(f"{self.name} did not start: {death}")
        if time.monotonic() > deadline:
            tail = "\n  ".join(self.last_lines())
            raise ServerFailed(f"{self.name} did not answer within {self._start_timeout:g} s\n  {tail}")
        time.sleep(POLL_SECONDS)

    def alive(self) -> bool:
        """Whether the process that was started last still runs."""
        return self._process is not None and self._process.poll() is None

    def death(self, within: float = 0.0) -> Death | None:
        """How the process ended, waiting up to `within` seconds for it to end; None while it runs."""
        if self._process is None:
            return None
        try:
            code = self._process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            return None
        name = signal.Signals(-code).name if code < 0 else None
        return Death(None if name else code, name, tuple(self.last_lines(60)))

    def last_lines(self, count: int = 12) -> list[str]:
        """The last lines of the log."""
        return self.log.read_text(errors="replace").splitlines()[-count:]

    def restart(self) -> None:
        """Stop (when it still runs) and start again, on the same ports when they were given."""
        self.stop(gently=False)
        self.start()

    def stop(self, *, gently: bool = True) -> None:
        """End the process with SIGTERM (SIGKILL when not `gently`, or when it does not end in time)."""
        process, self._process = self._process, None
        watchdog, self._watchdog = self._watchdog, None
        _RUNNING.discard(self)
        if watchdog is not None:
            watchdog.dismiss()
        if process is None:
            self._release()
            return
        if process.poll() is None:
            if gently:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=self._stop_timeout)
            if process.poll() is None:
                # The leader is not reaped yet, so its group id cannot belong to anyone else.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._release()
        self._cleanup()


class _Watchdog:
    """Ends a server's process group when this process ends without doing so: it waits for the end of a pipe
    that only we hold, and so notices even SIGKILL.
    """

    _SCRIPT = 'read -r _; kill -s KILL -- "-$1"; [ -z "$2" ] || rm -f -- "$2"*'

    def __init__(self, group: int, leftovers: str) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", self._SCRIPT, "watchdog", str(group), leftovers],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Nothing to watch any more."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def answers_http(port: int, host: str = "127.0.0.1", timeout: float = 5.0) -> bool:
    """Whether anything on that port answers an HTTP request, with whatever status."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/v2/health/live")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


_RUNNING: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


@atexit.register
def _stop_everything_at_exit() -> None:
    for server in list(_RUNNING):
        server.stop(gently=False)
