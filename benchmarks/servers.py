"""The two measured servers, each in its own processes, and their memory and processor time."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import Unmeasured
from triton_contract.launching import launch
from triton_contract.process import ServerFailed
from triton_contract.targets import EmulatorTarget, Target, TargetUnavailable, TritonTarget

NAMES = ("emulator", "triton")
MIB = 1 << 20


@contextmanager
def running(name: str, repository: Path, flags: Sequence[str] = ()) -> Iterator[Target]:
    """Run a server and stop it at the end; `flags` are the emulator's. Raises Unmeasured if it is not available."""
    target: Target = EmulatorTarget(launch=launch) if name == "emulator" else TritonTarget()
    try:
        target.start(repository, ("--log-info=false", *(flags if name == "emulator" else ())))
    except (ServerFailed, TargetUnavailable) as fault:
        raise Unmeasured(str(fault)) from None
    try:
        yield target
    finally:
        target.stop()


def url(target: Target) -> str:
    return f"http://{target.http.host}:{target.http.port}"


def resident_mib(target: Target) -> float:
    """The memory in MiB of the server and of the processes that it has started (the real server's stubs)."""
    return sum(_resident(pid) for pid in _family(_pid(target))) / MIB


def cpu_seconds(target: Target) -> float:
    """The processor time in seconds that these processes have used."""
    return sum(_cpu_ticks(pid) for pid in _family(_pid(target))) / os.sysconf("SC_CLK_TCK")


def _pid(target: Target) -> int:
    process = target.process if isinstance(target, EmulatorTarget) else target.server  # type: ignore[attr-defined]
    pid: int = process.pid
    return pid


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # the process has just ended
            children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
