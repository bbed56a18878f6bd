"""A server under attack: its process, what it holds, and what a client beside the attack gets from it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triton_contract.launching import launch
from triton_contract.targets import EmulatorTarget

MIB = 1 << 20
#: what an attack did and saw, as JSON
Did = dict[str, Any]
#: seconds that a server gets to free what an attack held
_SETTLE = 30
#: descriptors and threads that gRPC may make of its own once it needs them
_OF_GRPC = 5
#: an identity model in Python, which the client beside an attack asks
_IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUTPUT0", pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy())]
            )
            for request in requests
        ]
"""
_CONFIG = """
backend: "python"
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [-1] }]
"""


def add_model(repository: Path, name: str, code: str = _IDENTITY, config: str = _CONFIG) -> None:
    """Write a Python model into a repository, by default one that returns its input."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(code)


@dataclass(frozen=True)
class Held:
    """What a process holds: memory now and at most (MiB), descriptors, threads."""

    resident_mib: float
    peak_mib: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Held":
        folder = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return cls(
            round(int(status["VmRSS"].split()[0]) / 1024, 1),
            round(int(status["VmHWM"].split()[0]) / 1024, 1),
            sum(1 for _ in (folder / "fd").iterdir()),
            int(status["Threads"]),
        )


class Watched:
    """A running emulator with a client beside it. `end` stops it and returns how it ended."""

    def __init__(self, target: EmulatorTarget, beside: "subprocess.Popen[str]") -> None:
        self.target = target
        self.pid = target.process.pid
        self._beside = beside

    @property
    def address(self) -> tuple[str, int]:
        return self.target.http.host, self.target.http.port

    @property
    def grpc(self) -> str:
        return self.target.grpc or ""

    @property
    def held(self) -> Held:
        return Held.of(self.pid)

    def settled(self, before: Held, within: float = _SETTLE) -> Held:
        """What the server holds when it has about as few descriptors and threads as before, or does not get there."""
        end = time.monotonic() + within
        while True:
            now = self.held
            if now.descriptors <= before.descriptors + _OF_GRPC and now.threads <= before.threads + _OF_GRPC:
                break
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        return now

    def beside(self) -> Any:
        """What the client beside got since the last call of this."""
        assert self._beside.stdin is not None
        assert self._beside.stdout is not None
        self._beside.stdin.write("\n")
        self._beside.stdin.flush()
        return json.loads(self._beside.stdout.readline())

    def leave(self) -> None:
        """End the client beside the attack."""
        assert self._beside.stdin is not None
        assert self._beside.stdout is not None
        if not self._beside.stdin.closed:
            self._beside.stdin.close()
            self._beside.wait()
            self._beside.stdout.close()

    def end(self, within: float = 60) -> dict[str, Any]:
        """Send SIGTERM; how the server ended, after how many seconds, and the tracebacks and last lines of its log."""
        self.leave()
        begin = time.monotonic()
        if self.target.alive():
            os.kill(self.pid, signal.SIGTERM)
        death = self.target.death(within)
        seconds = time.monotonic() - begin
        log = self.target.process.log.read_text(errors="replace")
        ended: Did = {
            "code": None if death is None else death.exit_code if death.signal is None else death.signal,
            "seconds": round(seconds, 1),
            "tracebacks": log.count("Traceback (most recent call last)"),
            "log_bytes": len(log),
        }
        if ended["code"] != 0:
            ended["last"] = [line[:300] for line in log.splitlines()[-4:]]
        return ended


@contextmanager
def watched(repository: Path, flags: Sequence[str]) -> Iterator[Watched]:
    """Run an emulator on a repository, to which a model `identity` is added."""
    if not (repository / "identity").exists():
        add_model(repository, "identity")
    target = EmulatorTarget(launch=launch)
    target.start(repository, ("--log-info=false", *flags))
    words = [sys.executable, "-m", "benchmarks.attacks.beside", target.http.host, str(target.http.port)]
    beside = subprocess.Popen(
        [*words, (target.grpc or "").rpartition(":")[2]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    server = Watched(target, beside)
    try:
        yield server
    finally:
        server.leave()
        target.stop()


def report(before: Held, after: Held, beside: Any, did: Mapping[str, Any]) -> dict[str, Any]:
    """The result of an attack as JSON."""
    return {
        "did": dict(did),
        "beside": beside,
        "before": asdict(before),
        "after": asdict(after),
    }


def under(
    repository: Path,
    attack: Callable[[Watched], Coroutine[Any, Any, Did]],
    flags: Sequence[str] = (),
    *,
    settle: float = _SETTLE,
) -> Did:
    """Run an attack on a fresh server, wait until it has freed what it held, end it; the result as JSON."""
    with watched(repository, flags) as server:
        time.sleep(1)
        server.beside()
        before = server.held
        did: Did = asyncio.run(attack(server))
        beside = server.beside()
        return report(before, server.settled(before, settle), beside, did) | {"ended": server.end()}
