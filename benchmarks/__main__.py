"""`python -m benchmarks [NAME ...]`: without names, `http`, `processes`, `scheduling`, `grpc`, `startup` and `sdk`.

Each writes its own tables: `sdk`, `proxy`, `soak`, `proxy_keys` and `proxy_soak` to pages of their own in docs, the
others to docs/benchmarks.md.
"""

import argparse
import os
import sys
from collections.abc import Callable

from benchmarks import grpc, http, proxy, proxy_keys, proxy_report, proxy_soak, report, sdk, soak, startup
from benchmarks.load import Unmeasured
from benchmarks.rows import Extent, Row


def _http(extent: Extent, load: float) -> None:
    _rates("http", http.run(http.REQUESTS, extent), extent, load)


def _processes(extent: Extent, load: float) -> None:
    rows = http.run(http.IN_PROCESSES, extent, "--python-process-per-model")
    _rates("processes", [*rows, *http.run(http.IN_THREADS, extent)], extent, load)


def _scheduling(extent: Extent, load: float) -> None:
    _rates("scheduling", http.run(http.SCHEDULED, extent), extent, load)


def _grpc(extent: Extent, load: float) -> None:
    _rates("grpc", grpc.run(extent), extent, load)


def _startup(extent: Extent, load: float) -> None:
    report.write("startup", report.startup(startup.run(rounds=extent.rounds), extent, load))


def _sdk(extent: Extent, _: float) -> None:
    sdk.write(sdk.run(rounds=extent.rounds), rounds=extent.rounds)


def _proxy(extent: Extent, _: float) -> None:
    found = proxy.run(rounds=extent.rounds, seconds=extent.seconds)
    proxy_report.write(found, rounds=extent.rounds, seconds=extent.seconds)


def _soak(_: Extent, load: float) -> None:
    soak.report(soak.run(), load)


def _proxy_keys(_: Extent, load: float) -> None:
    proxy_keys.report(proxy_keys.run(), load)


def _proxy_soak(_: Extent, load: float) -> None:
    proxy_soak.report(proxy_soak.run(), load)


def _rates(name: str, rows: list[Row], extent: Extent, load: float) -> None:
    if not extent.only:
        report.write(name, report.rates(rows, extent, load))


PARTS: dict[str, Callable[[Extent, float], None]] = {
    "http": _http,
    "processes": _processes,
    "scheduling": _scheduling,
    "grpc": _grpc,
    "startup": _startup,
    "sdk": _sdk,
    "proxy": _proxy,
    "soak": _soak,
    "proxy_keys": _proxy_keys,
    "proxy_soak": _proxy_soak,
}
#: the benchmarks that run if none is named
USUAL = [part for part in PARTS if not part.startswith("proxy") and part != "soak"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        choices=[*PARTS, []],
        help="what to measure; if none is named, neither proxies nor soaks",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds per number, whose median counts")
    parser.add_argument("--seconds", type=int, default=1, help="length of a round")
    parser.add_argument("--only", default="", help="only what has this in its name; writes nothing")
    asked = parser.parse_args()
    extent = Extent(asked.rounds, asked.seconds, asked.only)
    load = os.getloadavg()[0]
    try:
        for name in asked.what or USUAL:
            print(f"{name}:", flush=True)
            PARTS[name](extent, load)
    except Unmeasured as reason:
        print(f"benchmarks: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
