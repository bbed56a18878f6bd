"""HTTP: inference and generation, the emulator beside the real server, at several numbers of connections."""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.load import Rate, Request, measure, require_wrk
from benchmarks.servers import NAMES, cpu_seconds, running, url

REPOSITORY = Path(__file__).with_name("models")
CONNECTIONS = (1, 16, 64)
_NUMBERS = [number + 0.5 for number in range(16)]
_INPUT = {"name": "INPUT0", "datatype": "FP32", "shape": [16]}
_BINARY = array("f", _NUMBERS).tobytes()
_BINARY_HEADER = json.dumps(
    {
        "inputs": [{**_INPUT, "parameters": {"binary_data_size": len(_BINARY)}}],
        "parameters": {"binary_data_output": True},
    }
).encode()


def _infer(model: str) -> Request:
    return Request(
        f"/v2/models/{model}/infer", json.dumps({"inputs": [{**_INPUT, "data": _NUMBERS}]}).encode()
    )


def _infer_binary(model: str) -> Request:
    length = {"Inference-Header-Content-Length": str(len(_BINARY_HEADER))}
    return Request(f"/v2/models/{model}/infer", _BINARY_HEADER + _BINARY, length)


def _generate(model: str, *, stream: bool) -> Request:
    verb = "generate_stream" if stream else "generate"
    return Request(
        f"/v2/models/{model}/{verb}", json.dumps({"text_input": "who are u?", "stream": stream}).encode()
    )


#: what is measured, by the words of the table; both servers serve the same model folder
REQUESTS = {
    "infer, JSON FP32[16], Python model": _infer("identity"),
    "infer, JSON FP32[16], built-in behaviour": _infer("inline_identity"),
    "infer, binary FP32[16], Python model": _infer_binary("identity"),
    "infer, binary FP32[16], built-in behaviour": _infer_binary("inline_identity"),
    "generate, Python model": _generate("llm", stream=False),
    "generate, built-in behaviour": _generate("inline_llm", stream=False),
    "generate_stream, 20 events, Python model": _generate("llm", stream=True),
    "generate_stream, 20 events, built-in behaviour": _generate("inline_llm", stream=True),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: the medians of the rounds."""

    what: str
    connections: int
    emulator: Rate
    triton: Rate

    @property
    def ratio(self) -> float:
        return self.emulator.per_second / self.triton.per_second

    def line(self) -> str:
        """What the console shows."""
        return (
            f"{self.what:50}{self.connections:4}  {self.emulator.per_second:8,.0f}/s  {self.triton.per_second:8,.0f}/s"
            f"  {self.ratio:5.2f}x   processor time {self.emulator.cpu_us:5.0f} us {self.triton.cpu_us:5.0f} us"
        )


def median_rate(rates: Sequence[Rate]) -> Rate:
    return Rate(
        median(rate.per_second for rate in rates),
        median(rate.p50_us for rate in rates),
        median(rate.p99_us for rate in rates),
        median(rate.cpu_us for rate in rates),
    )


def run(*, rounds: int, seconds: int, only: str = "") -> list[Row]:
    """Both servers are up all the time and measured in turn, round by round, so that they share the machine's moods."""
    require_wrk()
    rows = []
    with running("emulator", REPOSITORY) as emulator, running("triton", REPOSITORY) as triton:
        targets = dict(zip(NAMES, (emulator, triton), strict=True))
        for what, request in REQUESTS.items():
            if only not in what:
                continue
            for connections in CONNECTIONS:
                rates: dict[str, list[Rate]] = {name: [] for name in NAMES}
                for number in range(rounds + 1):
                    for name, target in targets.items():
                        rate = measure(
                            url(target),
                            request,
                            connections=connections,
                            seconds=seconds,
                            cpu_seconds=partial(cpu_seconds, target),
                        )
                        if number:  # the first round warms up
                            rates[name].append(rate)
                row = Row(what, connections, median_rate(rates["emulator"]), median_rate(rates["triton"]))
                rows.append(row)
                print(row.line(), flush=True)
    return rows
