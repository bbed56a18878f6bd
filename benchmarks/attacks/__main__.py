"""`python -m benchmarks.attacks [NAME...] [--count N] [--json FILE]`: attacks on an emulator, each on a fresh one.

For each attack: what was done, the latency of ordinary requests beside it, memory, descriptors and threads before and
after, and how the server ended on SIGTERM. Without a name it lists the attacks.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attacks import bodies, connections, hostile, storms, streams
from benchmarks.attacks.watched import Did


@dataclass(frozen=True)
class Attack:
    """`run` attacks a server on models that it writes into a folder, with `count` of something."""

    run: Callable[[Path, int], Did]
    count: int


ATTACKS: dict[str, Attack] = {
    "slowloris": Attack(connections.slowloris, 5000),
    "half-open-at-the-end": Attack(connections.half_open_at_the_end, 5000),
    "leavers": Attack(connections.leavers, 5000),
    "request-timeouts": Attack(connections.request_timeouts, 5000),
    "streams": Attack(streams.open_streams, 10_000),
    "streams-at-the-end": Attack(streams.streams_open_at_the_end, 10_000),
    "cancels": Attack(streams.cancels, 5000),
    "deadlines": Attack(streams.deadlines, 5000),
    "http-bombs": Attack(bodies.http_bombs, 8),
    "grpc-bombs": Attack(bodies.grpc_bombs, 4),
    "lies": Attack(bodies.lies, 20),
    "loads": Attack(storms.loads, 2000),
    "many-models": Attack(storms.many_models, 5000),
    "stuck-imports": Attack(storms.stuck_imports, 100),
    "stuck-initialize": Attack(storms.stuck_initialize, 100),
    "stuck-at-the-end": Attack(storms.stuck_at_the_end, 3),
    "broken-models": Attack(storms.broken_models, 7),
    "hostile": Attack(hostile.hostile, 1_000_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the attacks to run")
    parser.add_argument("--count", type=int, help="how many of them, instead of the attack's own number")
    parser.add_argument("--json", type=Path, help="add the results to this file, one JSON object a line")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in ATTACKS]
    if unknown or not asked.names:
        for name, attack in ATTACKS.items():
            print(f"{name:24}{attack.count:10,}  {attack.run.__doc__}")
        return 2 if unknown else 0
    for name in asked.names:
        attack = ATTACKS[name]
        load, begin = os.getloadavg()[0], time.monotonic()
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            result = attack.run(Path(folder), asked.count or attack.count)
        result = {
            "attack": name,
            "load_average_before": round(load, 1),
            "seconds": round(time.monotonic() - begin, 1),
            **result,
        }
        print(json.dumps(result, indent=1), flush=True)
        if asked.json is not None:
            with asked.json.open("a") as file:
                file.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
