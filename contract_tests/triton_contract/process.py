"""A server process on its own ports: started, waited for, watched, and stopped so that nothing of it is left.

The rules of this file: a server is signalled only by the process id that we got when we started it. Its log is a
file that is still there after it has ended. How it ended is a value (`Death`) that the caller can look at.
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .launching import Launch, Running, launch

_LINES_SHOWN, _LINE_SHOWN = 5, 200
_COMPLAINTS = ("E1", "E0", "error", "Error", "Traceback", "Signal", "terminate called")
"""How the lines of a log begin that say why a server ended (tritonserver's errors begin with E and the month; C++ names
an exception that nothing has caught)."""
DEATH_SECONDS = 5.0
"""How long (seconds) to wait for a server's end after it cut a connection."""
POLL_SECONDS = 0.02
START_ATTEMPTS = 4
_BIND_FAILURES = ("address already in use", "failed to bind", "' already in use")


class ServerFailed(Exception):
    """The server ended, or did not answer, before it was ready. The text holds the last log lines."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The three TCP ports of a Triton server."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> Ports:
        """Three ports that nothing listens on now. Another program may take one before the server does."""
        with Reservation() as reserved:
            return reserved.ports

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def grpc_url(self) -> str:
        """host:port, as `tritonclient.grpc` takes it."""
        return f"127.0.0.1:{self.grpc}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics}/metrics"


class Reservation:
    """Holds three free ports until it is closed. A server that is told their numbers can listen on them meanwhile.

    On Linux a socket may listen on a port to which another socket is bound, if both have SO_REUSEADDR and the other one
    does not listen. Linux does not assign a bound port to a program that asks for any free port. On other systems
    nothing is held, so two servers that start at the same time may get the same port.
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
        """Release the ports."""
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Death:
    """How a server ended: its exit code, or the name of the signal that killed it, and its last log lines.

    Of a server that we did not start neither is known.
    """

    exit_code: int | None
    signal: str | None
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        told = [line for line in self.last_lines if line.startswith(_COMPLAINTS)]
        told += [line for line in self.last_lines[-1:] if line not in told]
        shown = [line[:_LINE_SHOWN] for line in told[-_LINES_SHOWN:]]
        if self.signal:
            shown.insert(0, f"killed by {self.signal}")
        elif self.exit_code is not None:
            shown.insert(0, f"exited with code {self.exit_code}")
        return "\n  ".join(shown)


class ServerProcess:
    """One server process. `command` makes the argument list when the ports are known; without `ports` free ones.

    `launch` starts the command. `cleanup` is called after every stop and removes what the server leaves (child
    processes, shared memory).
    A start that ends with one of the texts `chance` in the log's last lines is tried again.
    If our own process is killed, the server is killed too, and files whose path begins with `leftovers` are removed.
    Timeouts are in seconds.

    Any thread may call `stop`, also while another one is in `start` or `restart`: these raise ServerFailed then. There
    is no lock, because a signal handler may call `stop` too. `stop` replaces `_wanted` and then ends the process; a
    start notes `_wanted` first and looks, after it has made the process, whether it is still the same. So one of the
    two ends the process. If both do, that does no harm.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[Ports], Sequence[str]],
        *,
        ports: Ports | None = None,
        start_timeout: float = 300.0,
        stop_timeout: float = 15.0,
        has_metrics: bool = True,
        chance: Sequence[str] = (),
        leftovers: str = "",
        cleanup: Callable[[], None] = lambda: None,
        launch: Launch = launch,
    ) -> None:
        self.name = name
        self._command = command
        self._fixed_ports = ports
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._has_metrics = has_metrics
        self._chance = tuple(chance)
        self._leftovers = leftovers
        self._cleanup = cleanup
        self._launch = launch
        self._watchdog: _Watchdog | None = None
        self._process: Running | None = None
        self._wanted = object()
        self._first: object | None = self._wanted
        """What the first start notes: a stop that came before it ends it too."""
        self._reservation: Reservation | None = None
        self.ports = ports or Ports(0, 0, 0)
        handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".log")
        os.close(handle)
        self.log = Path(path)
        weakref.finalize(self, self.log.unlink, missing_ok=True)

    def __repr__(self) -> str:
        return f"<ServerProcess {self.name}, {self.state}>"

    @property
    def state(self) -> str:
        """What the process is doing, for people: not running, running (address and process id), or how it ended."""
        if self._process is None:
            return "not running"
        death = self.death()
        if death is not None:
            return str(death).partition("\n")[0]
        return f"running at {self.ports.http_url} (pid {self._process.pid})"

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        if self._process is None:
            raise ServerFailed(f"{self.name} has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until HTTP (and metrics) answer. Raises ServerFailed when they do not.

        When another program has taken a free port in the meantime, other free ports are tried. A start that failed by
        chance is tried again too. ServerFailed is also raised when `stop` is called meanwhile, or was called before the
        first start.
        """
        first, self._first = self._first, None
        self._start(first or self._wanted)

    def _start(self, wanted: object) -> None:
        if self._fixed_ports is not None:
            self._check_free(self._fixed_ports)
        by_chance = self._chance if self._fixed_ports else (*self._chance, *_BIND_FAILURES)
        for attempt in range(START_ATTEMPTS):
            self._check_wanted(wanted)
            self.ports = self._fixed_ports or self._reserve()
            try:
                self._start_once(wanted)
                return
            except ServerFailed as failure:
                told = str(failure).lower()
                if not any(text in told for text in by_chance) or attempt == START_ATTEMPTS - 1:
                    raise

    def _check_free(self, ports: Ports) -> None:
        """Raise ServerFailed if another program listens on a port: its answers would be taken for our server's."""
        for port in (ports.http, ports.grpc, ports.metrics):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    reason = (error.strerror or str(error)).lower()
                    raise ServerFailed(f"{self.name} did not start: port {port}: {reason}") from None

    def _reserve(self) -> Ports:
        self._release()
        self._reservation = Reservation()
        return self._reservation.ports

    def _release(self) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.close()

    def _start_once(self, wanted: object) -> None:
        command = [str(word) for word in self._command(self.ports)]
        try:
            with self.log.open("ab") as log:
                process = self._process = self._launch(command, log)
            _RUNNING.add(self)
            self._watchdog = _Watchdog(process.pid, self._leftovers)
            self._await_answers(process, wanted)
        except BaseException:
            self._end(gently=False)
            raise

    def _await_answers(self, process: Running, wanted: object) -> None:
        deadline = time.monotonic() + self._start_timeout
        self._check_wanted(wanted)
        for port in [self.ports.http, self.ports.metrics] if self._has_metrics else [self.ports.http]:
            while not answers_http(port):
                self._check_start(process, wanted, deadline)
        self._check_wanted(wanted)

    def _check_wanted(self, wanted: object) -> None:
        if self._wanted is not wanted:
            raise ServerFailed(f"{self.name} was stopped while it started")

    def _check_start(self, process: Running, wanted: object, deadline: float) -> None:
        self._check_wanted(wanted)
        death = self._death_of(process, 0.0)
        self._check_wanted(wanted)  # it was stopped in between, and did not die by itself
        if death is not None:
            raise ServerFailed(f"{self.name} did not start: {death}")
        if time.monotonic() > deadline:
            tail = "\n  ".join(self.last_lines())
            raise ServerFailed(f"{self.name} did not answer within {self._start_timeout:g} s\n  {tail}")
        time.sleep(POLL_SECONDS)

    def alive(self) -> bool:
        """Whether the process that was started last is still running."""
        process = self._process
        return process is not None and process.poll() is None

    def death(self, within: float = 0.0) -> Death | None:
        """How the process ended, waiting up to `within` seconds for it to end; None while it runs."""
        process = self._process
        return None if process is None else self._death_of(process, within)

    def _death_of(self, process: Running, within: float) -> Death | None:
        try:
            code = process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            return None
        name = signal.Signals(-code).name if code < 0 else None
        return Death(None if name else code, name, tuple(self.last_lines(60)))

    def last_lines(self, count: int = 12) -> list[str]:
        """The last lines of the log."""
        return self.log.read_text(errors="replace").splitlines()[-count:]

    def restart(self) -> None:
        """Stop the server if it is running, and start it again: on the ports that were given, else on free ones.

        Raises ServerFailed as `start` does.
        """
        wanted, self._first = self._wanted, None
        self._end(gently=False)
        self._start(wanted)

    def stop(self, *, gently: bool = True) -> None:
        """End the process with SIGTERM; with SIGKILL when not `gently`, or when it does not end in time."""
        self._wanted = object()
        self._end(gently=gently)

    def _end(self, *, gently: bool) -> None:
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
                # We have not yet waited for the group's leader, so the group id cannot belong to other processes.
                # Another thread may wait for it just now: then there is no such group.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._release()
        self._cleanup()


class _Watchdog:
    """Kills a server's process group if our own process ends without stopping the server.

    It is a shell that reads from a pipe of which only we hold the other end. The pipe ends with our process, even when
    that is killed by SIGKILL.
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
        """End the watchdog: the server is being stopped."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def answers_http(port: int, host: str = "127.0.0.1", timeout: float = 5.0) -> bool:
    """Whether a server on that port answers an HTTP request, with any status. `timeout` is in seconds."""
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
