"""Hostile requests of all kinds, mixed. After every tenth the clients pause, and what the server holds is read."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import grpc

from benchmarks.attacks.connections import DECOUPLED, STREAMING
from benchmarks.attacks.hostile_client import Client
from benchmarks.attacks.streams import OWN
from benchmarks.attacks.watched import Did, Held, Watched, add_model, watched

_CLIENTS = 24
_STEPS = 10


def _percentile(taken: list[float], share: float) -> float:
    ordered = sorted(taken)
    return round(1000 * ordered[int(len(ordered) * share)], 1)


async def _attack(server: Watched, count: int) -> Did:
    found: Counter[str] = Counter()
    begin = time.monotonic()
    steps: list[Did] = []
    async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:
        for step in range(_STEPS):
            work = iter(range(count // _STEPS))
            times: list[float] = []

            clients = [Client(server, channel, step * _CLIENTS + number, found) for number in range(_CLIENTS)]
            await asyncio.gather(*(client.run(work, times) for client in clients))
            first = Held(**steps[0]["held"]) if steps else server.held
            held = server.settled(first) if steps else server.held
            beside = server.beside()
            steps.append(
                {
                    "requests": (step + 1) * (count // _STEPS),
                    "seconds": round(time.monotonic() - begin, 1),
                    "p50_ms": _percentile(times, 0.5),
                    "p99_ms": _percentile(times, 0.99),
                    "beside": beside,
                    "held": asdict(held),
                }
            )
            print(json.dumps(steps[-1]), flush=True)
    return {"steps": steps, "answers": dict(sorted(found.items()))}


def hostile(repository: Path, count: int) -> Did:
    """Hostile requests of all kinds, mixed, over both protocols, from 24 clients: each must be answered or closed."""
    add_model(repository, "streaming", STREAMING.replace("range(1000)", "range(10)"), DECOUPLED)
    add_model(repository, "identity_2")
    with watched(repository, ("--log-error=false", "--log-warning=false")) as server:
        time.sleep(1)
        server.beside()
        before = server.held
        did = asyncio.run(_attack(server, count))
        return {"before": asdict(before), **did, "ended": server.end()}
