"""HTTP: inference, generation, ensembles and batching of the emulator and the real server, under load from wrk."""

import json
from array import array
from collections.abc import Mapping
from functools import partial

from benchmarks.load import Rate, Request, measure, require_wrk
from benchmarks.rows import Extent, Row, both, measure_all
from benchmarks.servers import cpu_seconds, url
from triton_contract.targets import Target

_NUMBERS = [number + 0.5 for number in range(16)]
_INPUT = {"name": "INPUT0", "datatype": "FP32"}


def _infer(model: str, *shape: int) -> Request:
    body = {"inputs": [{**_INPUT, "shape": [*shape, 16], "data": _NUMBERS}]}
    return Request(f"/v2/models/{model}/infer", json.dumps(body).encode())


def _infer_binary(model: str, elements: int = 16) -> Request:
    data = array("f", [number + 0.5 for number in range(elements)]).tobytes()
    tensor = {**_INPUT, "shape": [elements], "parameters": {"binary_data_size": len(data)}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Request(
        f"/v2/models/{model}/infer", header + data, {"Inference-Header-Content-Length": str(len(header))}
    )


def _generate(model: str, *, stream: bool) -> Request:
    verb = "generate_stream" if stream else "generate"
    return Request(
        f"/v2/models/{model}/{verb}", json.dumps({"text_input": "who are u?", "stream": stream}).encode()
    )


#: name in the table -> load; both servers serve the same model folder
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
_LARGE = _infer_binary("identity", 1 << 18)
#: what a process for each model costs: the emulator with --python-process-per-model
IN_PROCESSES = {
    "infer, JSON FP32[16]": _infer("identity"),
    "infer, binary FP32[16]": _infer_binary("identity"),
    "infer, binary FP32[262144], 1 MiB": _LARGE,
    "generate": _generate("llm", stream=False),
    "generate_stream, 20 events": _generate("llm", stream=True),
}
IN_THREADS = {"infer, binary FP32[262144], 1 MiB, in threads": _LARGE}
#: JSON FP32[16] as well; a batch has up to eight requests
SCHEDULED = {
    "ensemble of three steps, Python model": _infer("chain"),
    "ensemble of three steps, built-in behaviour": _infer("inline_chain"),
    "dynamic batching, Python model": _infer("batched", 1),
    "dynamic batching, Python model of 2 ms per batch": _infer("batched_slow", 1),
}


def run(requests: Mapping[str, Request], extent: Extent, *flags: str) -> list[Row]:
    """Measure both servers in turn, while both are up; `flags` are the emulator's. Raises Unmeasured."""
    require_wrk()
    with both(*flags) as targets:
        return measure_all(targets, requests, _measure, extent)


def _measure(target: Target, request: Request, connections: int, seconds: int) -> Rate:
    spent = partial(cpu_seconds, target)
    return measure(url(target), request, connections=connections, seconds=seconds, cpu_seconds=spent)
