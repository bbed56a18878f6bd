"""Writes docs/proxy_benchmarks.md, the page about the speed of the proxy."""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.proxy import CONNECTIONS, LEAST_SECONDS, Measured
from benchmarks.report import machine

PAGE = Path(__file__).parents[1] / "docs" / "proxy_benchmarks.md"

_INTRODUCTION = """\
# The proxy's speed and memory, compared with LiteLLM's and nginx

Written by `ci/benchmark proxy`; do not edit. All proxies have the same upstream and the same machine in one run, and
check a key on every request. The same program (`wrk`, one thread) loads them in turn, round by round. A number is the
median of {rounds} rounds of {seconds} seconds. The upstream always gives the same answer at once, so that the numbers
show the cost of the proxies. nginx only compares the key and forwards bytes; it translates nothing. LiteLLM requests a
chat template from a model hub with each call. Here that request is refused at once, which is the best case for LiteLLM.

Measured on {date} on {machine}, load average {load:.0f} at the end; Python {python},
uvicorn {uvicorn}. Machines are noisy, and the load generator and the upstream share this one's cores: the ratios and
the processor times mean more than the rates.
"""


def write(found: Sequence[Measured], *, rounds: int, seconds: int) -> None:
    """Write the page. The first measurement is that of the upstream alone."""
    introduction = _INTRODUCTION.format(
        rounds=rounds,
        seconds=max(seconds, LEAST_SECONDS),
        date=dt.datetime.now(dt.UTC).date(),
        machine=machine(),
        load=os.getloadavg()[0],
        python=platform.python_version(),
        uvicorn=version("uvicorn"),
    )
    PAGE.write_text("\n".join((introduction, *_rates(found), "", *_rest(found), "")))


def _rates(found: Sequence[Measured]) -> list[str]:
    upstream, proxies = found[0], found[1:]
    ours = proxies[0]
    lines = [
        "## Chat completions",
        "",
        "| | connections | per second | triton-proxy is | p50, added | p99, added | processor per request |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for connections in CONNECTIONS:
        bare = upstream.rates[connections]
        lines.append(
            f"| upstream alone | {connections} | {bare.per_second:,.0f} | | {bare.p50_us / 1e3:.2f} ms "
            f"| {bare.p99_us / 1e3:.2f} ms | {bare.cpu_us:.0f} us |"
        )
        for one in proxies:
            rate = one.rates[connections]
            if not rate.per_second:
                lines.append(f"| {one.name} | {connections} | none answered | | | | |")
                continue
            ratio = f"{ours.rates[connections].per_second / rate.per_second:.2f}x"
            lines.append(
                f"| {one.name} | {connections} | {rate.per_second:,.0f} | {'' if one is ours else ratio} "
                f"| {(rate.p50_us - bare.p50_us) / 1e3:.2f} ms | {(rate.p99_us - bare.p99_us) / 1e3:.2f} ms "
                f"| {rate.cpu_us:.0f} us |"
            )
    return lines


def _rest(found: Sequence[Measured]) -> list[str]:
    return [
        "## First text of a stream, start and memory",
        "",
        "| | first text of a stream | from the command to the first answer | resident memory after the load |",
        "|---|--:|--:|--:|",
        *(
            f"| {one.name} | {one.first_text_ms:.2f} ms | {one.ready_s:.2f} s | {one.resident_mib:.0f} MiB |"
            for one in found
        ),
    ]
