"""Measures the calls of our SDK, of bare HTTP clients and of LiteLLM's SDK: one upstream, one call after the other.

Each client runs in its own process, in turn, round by round. LiteLLM's runs in the environment of the tests
(`.venv-litellm`). A client that is not available is left out.
"""

import datetime as dt
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median

from benchmarks.load import Unmeasured
from benchmarks.proxy import ROOT, _upstream
from benchmarks.report import machine

PAGE = ROOT / "docs" / "sdk_benchmarks.md"
LITELLM = ROOT / ".venv-litellm" / "bin" / "python"
CALLS = {"http.client": 600, "httpx": 600, "triton_adapter": 600, "litellm": 60}
# Without this, LiteLLM requests prices from the network when it is imported.
LOCAL = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
BARE = "http.client"

_INTRODUCTION = """\
# The SDK's overhead, compared with bare HTTP clients and LiteLLM's SDK

Written by `ci/benchmark sdk`; do not edit. The same upstream gives every client the same answer at once. Each client
makes one call after the other over a kept connection, in its own process; the clients take turns. A number is the
median of {rounds} rounds of the medians of {calls} calls (LiteLLM: {few}). A stream has 20 events and is read to its
end. The bare clients send a finished body and parse the JSON. What an SDK does in addition is its overhead.

Measured on {date} on {machine}, load average {load:.0f} at the end; Python {python}.
"""


@dataclass(frozen=True)
class Cost:
    """The costs of one client: microseconds for a call, milliseconds for the import."""

    import_ms: float
    whole_us: float
    whole_cpu_us: float
    stream_us: float
    stream_cpu_us: float


@dataclass
class Client:
    """A client and its costs, one for each round."""

    name: str
    python: Path
    costs: list[Cost] = field(default_factory=list)

    def median(self) -> Cost:
        return Cost(*(median(getattr(cost, item.name) for cost in self.costs) for item in fields(Cost)))


def run(*, rounds: int) -> dict[str, Cost]:
    """Measure every client that is available."""
    clients = [Client(name, LITELLM if name == "litellm" else Path(sys.executable)) for name in CALLS]
    with _upstream() as server:
        for _ in range(rounds):
            for client in list(clients):
                try:
                    client.costs.append(_measured(client, f"{server.url}/v2/models/m/generate"))
                except Unmeasured as reason:
                    print(f"left out: {client.name}: {reason}", file=sys.stderr)
                    clients.remove(client)
    found = {client.name: client.median() for client in clients if client.costs}
    for name, cost in found.items():
        print(
            f"{name:15} call {cost.whole_us:7.0f} us  processor {cost.whole_cpu_us:6.0f} us"
            f"  stream {cost.stream_us:7.0f} us  import {cost.import_ms:5.0f} ms",
            flush=True,
        )
    return found


def _measured(client: Client, url: str) -> Cost:
    program = Path(__file__).with_name("sdk_calls.py")
    command = [str(client.python), "-P", str(program), client.name, url, str(CALLS[client.name])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, **LOCAL}, timeout=300
        )
    except OSError as error:
        raise Unmeasured(f"{client.python} cannot be run") from error
    except subprocess.CalledProcessError as error:
        raise Unmeasured(error.stderr[-500:]) from error
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def write(found: dict[str, Cost], *, rounds: int) -> None:
    """Write the page."""
    bare = found[BARE]
    lines = [
        _INTRODUCTION.format(
            rounds=rounds,
            calls=CALLS[BARE],
            few=CALLS["litellm"],
            date=dt.datetime.now(dt.UTC).date(),
            machine=machine(),
            load=os.getloadavg()[0],
            python=platform.python_version(),
        ),
        f"| | a call | vs {BARE} | processor | a stream | vs {BARE} | processor | import |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {name} | {cost.whole_us:.0f} us | {cost.whole_us / bare.whole_us:.2f}x | {cost.whole_cpu_us:.0f} us "
            f"| {cost.stream_us:.0f} us | {cost.stream_us / bare.stream_us:.2f}x | {cost.stream_cpu_us:.0f} us "
            f"| {cost.import_ms:.0f} ms |"
            for name, cost in found.items()
        ),
        "",
    ]
    PAGE.write_text("\n".join(lines))
