"""The counts of GET /v2/models/stats, read before and after a case. Times are left out."""

from __future__ import annotations

import json
import time
from typing import Any

from triton_contract.clients.http import PROBE_SECONDS, Address, read_exchange

from .observation import Counts

SETTLE_PAUSE = 0.003
_REQUEST = b"GET %s/v2/models/stats HTTP/1.1\r\nHost: triton\r\nConnection: close\r\n\r\n"


def read_counts(http: Address) -> Counts | None:
    """The counts now; None when the server does not give them."""
    try:
        wire = http.connect()
        try:
            wire.send(_REQUEST % http.base_path.encode())
            response = read_exchange(wire, PROBE_SECONDS).response
        finally:
            wire.close()
        if response is None or response.status != 200:
            return None
        return counts_of(json.loads(response.body))
    except (OSError, ValueError):
        return None


def settled_counts(http: Address, pause: float = SETTLE_PAUSE, seconds: float = 5.0) -> Counts | None:
    """The counts, once two readings that are `pause` seconds apart are equal: a server may count after it answers.

    After `seconds` the last reading is taken as it is.
    """
    deadline = time.monotonic() + seconds
    last = read_counts(http)
    while time.monotonic() < deadline:
        time.sleep(pause)
        now = read_counts(http)
        if now == last:
            break
        last = now
    return last


def counts_of(statistics: dict[str, Any]) -> Counts:
    """The counts in a ModelStatistics answer."""
    found: Counts = {}
    for model in statistics.get("model_stats", ()):
        key = f"{model['name']}/{model['version']}"
        for name in ("inference_count", "execution_count"):
            found[f"{key}/{name}"] = model[name]
        for name, stat in model["inference_stats"].items():
            found[f"{key}/inference_stats/{name}"] = stat["count"]
        for batch in model["batch_stats"]:
            found[f"{key}/batch_stats/{batch['batch_size']}"] = batch["compute_infer"]["count"]
        for response, stats in model.get("response_stats", {}).items():
            for name, stat in stats.items():
                found[f"{key}/response_stats/{response}/{name}"] = stat["count"]
    return {name: count for name, count in found.items() if count}


def delta(before: Counts, after: Counts) -> Counts:
    """What was added to each count; counts that did not change are left out."""
    names = sorted(before.keys() | after.keys())
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return {name: change for name, change in changes.items() if change}
