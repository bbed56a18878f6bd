"""A soak test: a hundred thousand requests of every kind to one emulator, whose memory must not grow.

A resource that grows with the number of requests is a leak. So memory, descriptors and threads are read while all
clients pause. The first tenth of the requests warms up: after it, everything that is made once and kept exists.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.load import Unmeasured
from benchmarks.report import conditions, write
from benchmarks.servers import MIB
from benchmarks.soak_client import IDLE_SEQUENCES, KINDS, SEQUENCES, Client, Send, Unexpected, request
from triton_contract.cases.load import MODELS
from triton_contract.launching import launch
from triton_contract.process import ServerFailed
from triton_contract.targets import EmulatorTarget

PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
REQUESTS = 100_000
CLIENTS = 16
STEPS = 10
#: how much memory may vary without a leak: 50 bytes per request
TOLERATED_MIB = 4.5
_SETTLE_SECONDS = 20


@dataclass(frozen=True)
class Reading:
    """The resources of a server after so many requests, with none in flight."""

    requests: int
    seconds: float
    resident_mib: float
    descriptors: int
    threads: int

    def line(self) -> str:
        return (
            f"{self.requests:8,} requests  {self.seconds:6.1f} s  {self.resident_mib:7.1f} MiB resident  "
            f"{self.descriptors:4} descriptors  {self.threads:4} threads"
        )


class Grown(Unmeasured):
    """The server holds more than it did after warming up."""


def run(requests: int = REQUESTS) -> list[Reading]:
    """Return the readings: one at the start, and one after every tenth of the requests.

    Raises Grown, and Unmeasured if an answer was wrong.
    """
    with _emulator() as target:
        try:
            readings = asyncio.run(_soak(target, requests))
        except (Unexpected, OSError, EOFError) as fault:
            raise Unmeasured(f"{type(fault).__name__}: {fault}") from None
    check_flat(readings)
    print("flat")
    return readings


def check_flat(readings: list[Reading]) -> None:
    """Print what the memory has grown by since the second reading, the warm-up. Raises Grown if anything has grown."""
    _, warm, *_, last = readings
    grown = last.resident_mib - warm.resident_mib
    each = grown * MIB / (last.requests - warm.requests)
    print(f"memory since the warm-up: {grown:+.1f} MiB, {each:+.0f} bytes per request")
    for what, growth, tolerated in (
        ("MiB resident", grown, TOLERATED_MIB),
        ("descriptors", last.descriptors - warm.descriptors, 0),
        ("threads", last.threads - warm.threads, 0),
    ):
        if growth > tolerated:
            raise Grown(f"it has grown by {growth:.1f} {what} since the warm-up")


def report(readings: list[Reading], load: float) -> None:
    """Write the table of docs/soak.md; `load` is the machine's load average before the run."""
    kinds = [f"| {kind} | {share}% |" for kind, (share, _) in KINDS.items()]
    rows = [
        f"| {now.requests:,} | {now.seconds:.0f} s | {now.resident_mib:.1f} MiB | {now.descriptors} | {now.threads} |"
        for now in readings
    ]
    head = ["| requests | after | resident | descriptors | threads |", "|--:|--:|--:|--:|--:|"]
    write("soak", [conditions(load), "", *head, *rows], PAGE)
    write("kinds", ["| what | share |", "|---|--:|", *kinds], PAGE)


@contextmanager
def _emulator() -> Iterator[EmulatorTarget]:
    target = EmulatorTarget(launch=launch)
    flags = ["--log-info=false", "--log-error=false", "--model-control-mode=explicit", "--load-model=*"]
    flags += [f"--model-repository={MODELS / name}" for name in ("ensembles", "sequences")]
    try:
        target.start(MODELS / "http", flags)
    except ServerFailed as fault:
        raise Unmeasured(str(fault)) from None
    try:
        yield target
    finally:
        target.stop()


async def _soak(target: EmulatorTarget, requests: int) -> list[Reading]:
    order = [send for share, send in KINDS.values() for _ in range(share)]
    random.Random(0).shuffle(order)  # the same order every time
    begin = time.perf_counter()

    def read(done: int) -> Reading:
        reading = _reading(target.process.pid, done, time.perf_counter() - begin)
        print(reading.line(), flush=True)
        return reading

    async with grpc.aio.insecure_channel(target.grpc or "") as channel:
        await _prepare(Client(target, channel))
        readings = [read(0)]
        for step in range(1, STEPS + 1):
            work = iter([order[n % len(order)] for n in range(requests // STEPS)])
            clients = [Client(target, channel) for _ in range(CLIENTS)]
            await asyncio.gather(*(_send(client, work) for client in clients))
            await _settled(target.process.pid, readings[1:2])
            readings.append(read(step * (requests // STEPS)))
    return readings


async def _prepare(client: Client) -> None:
    """Make the sequence model drop idle sequences soon."""
    shown = json.loads(await client.ask(request("GET", f"/v2/models/{SEQUENCES}/config"), 200, "config"))
    shown["sequence_batching"] |= IDLE_SEQUENCES
    body = json.dumps({"parameters": {"config": json.dumps(shown)}}).encode()
    await client.ask(request("POST", f"/v2/repository/models/{SEQUENCES}/load", body), 200, "load")
    await client.close()


async def _send(client: Client, work: Iterator[Send]) -> None:
    for send in work:
        await send(client)
    await client.close()


async def _settled(pid: int, warm: list[Reading]) -> None:
    """Wait until the abandoned connections are closed: until there are as few as after the warm-up."""
    end = time.monotonic() + (_SETTLE_SECONDS if warm else 1)
    while time.monotonic() < end:
        now = _reading(pid, 0, 0)
        if warm and now.descriptors <= warm[0].descriptors and now.threads <= warm[0].threads:
            return
        await asyncio.sleep(0.1)


def _reading(pid: int, requests: int, seconds: float) -> Reading:
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Reading(
        requests,
        seconds,
        int(status["VmRSS"].split()[0]) / 1024,
        sum(1 for _ in (folder / "fd").iterdir()),
        int(status["Threads"]),
    )
