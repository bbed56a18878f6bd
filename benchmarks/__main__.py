"""`python -m benchmarks [http] [grpc] [startup] [proxy]`: with no names everything runs.

`proxy` writes docs/proxy_benchmarks.md, `http`, `grpc` and `startup` together docs/benchmarks.md.
"""

import argparse
import os
import sys

from benchmarks import grpc, http, proxy, proxy_report, report, startup
from benchmarks.load import Unmeasured


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        choices=["http", "grpc", "startup", "proxy", []],
        help="what to measure; all, if not named",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds per number, whose median counts")
    parser.add_argument("--seconds", type=int, default=2, help="length of a round")
    parser.add_argument("--only", default="", help="of http and grpc, what has this in its name")
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    try:
        rows, calls = (
            protocol.run(rounds=asked.rounds, seconds=asked.seconds, only=asked.only)
            if name in asked.what or not asked.what
            else []
            for name, protocol in (("http", http), ("grpc", grpc))
        )
        if "proxy" in asked.what or not asked.what:
            proxies = proxy.run(rounds=asked.rounds, seconds=asked.seconds)
            proxy_report.write(proxies, rounds=asked.rounds, seconds=asked.seconds)
        started = startup.run(rounds=asked.rounds) if "startup" in asked.what or not asked.what else None
    except Unmeasured as reason:
        print(f"benchmarks: {reason}", file=sys.stderr)
        return 1
    if started is not None and rows and calls and not asked.only:
        report.write(rows, calls, started, rounds=asked.rounds, seconds=asked.seconds, load=load)
    return 0


if __name__ == "__main__":
    sys.exit(main())
