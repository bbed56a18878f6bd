"""How many requests of a model are queued, read from the metrics port: a case waits for that number, not for a time."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from triton_contract.clients.http import PROBE_SECONDS, Address, read_exchange

PAUSE = 0.005
_REQUEST = b"GET %s/metrics HTTP/1.1\r\nHost: triton\r\nConnection: close\r\n\r\n"
_GAUGE = re.compile(rb'(?m)^nv_inference_pending_request_count\{model="([^"]+)",version="[^"]*"\} (\d+)$')


def read_pending(metrics: Address) -> dict[str, int]:
    """Return the number of queued requests of each model, over all its versions. Raises OSError if nothing answers."""
    wire = metrics.connect()
    try:
        wire.send(_REQUEST % metrics.base_path.encode())
        response = read_exchange(wire, PROBE_SECONDS).response
    finally:
        wire.close()
    counts: dict[str, int] = {}
    for name, count in _GAUGE.findall(b"" if response is None else response.body):
        counts[name.decode()] = counts.get(name.decode(), 0) + int(count)
    return counts


def await_pending(metrics: Address, wanted: Mapping[str, int], seconds: float) -> str | None:
    """Wait until every model has exactly the wanted number of queued requests.

    Returns None then, or after `seconds` a text that says what was queued instead.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            counts = read_pending(metrics)
        except OSError as error:
            return f"no metrics ({type(error).__name__})"
        found = {model: counts.get(model, 0) for model in wanted}
        if found == dict(wanted):
            return None
        if time.monotonic() > deadline:
            return f"{dict(wanted)} were to be queued, {found} are"
        time.sleep(PAUSE)
