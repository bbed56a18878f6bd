"""gRPC: inference and streams of the emulator and the real server, under load from NVIDIA's perf_analyzer."""

import json
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Rate, Unmeasured
from benchmarks.rows import Extent, Row, both, measure_all
from benchmarks.servers import cpu_seconds, url
from triton_contract.reference import perf_analyzer
from triton_contract.reference.wheel import ReferenceUnavailable
from triton_contract.targets import Target


@dataclass(frozen=True)
class Load:
    """The model and the options of perf_analyzer. `data` is a file of inputs."""

    model: str
    options: Sequence[str] = ()
    data: object = None


_SHAPE = ("--shape", "INPUT0:16")
_STREAM = ("--async", "--streaming")
_PROMPT = {"data": [{"text_input": ["who are u?"], "stream": [True]}]}

#: name in the table -> load; both servers serve the same model folder
LOADS = {
    "ModelInfer, raw FP32[16], Python model": Load("identity", _SHAPE),
    "ModelInfer, raw FP32[16], built-in behaviour": Load("inline_identity", _SHAPE),
    "ModelStreamInfer, one response, Python model": Load("identity", (*_SHAPE, *_STREAM)),
    "ModelStreamInfer, one response, built-in behaviour": Load("inline_identity", (*_SHAPE, *_STREAM)),
    "ModelStreamInfer, 20 responses, Python model": Load("llm", _STREAM, _PROMPT),
    "ModelStreamInfer, 20 responses, built-in behaviour": Load("inline_llm", _STREAM, _PROMPT),
}


def run(extent: Extent) -> list[Row]:
    """Measure both servers in turn, while both are up. Raises Unmeasured."""
    with both() as targets:
        return measure_all(targets, LOADS, _measure, extent)


def _measure(target: Target, load: Load, connections: int, seconds: int) -> Rate:
    if target.grpc is None:
        raise Unmeasured("this target's gRPC address is not known")
    with tempfile.TemporaryDirectory() as folder:
        options = [*load.options]
        if load.data is not None:
            file = Path(folder) / "data.json"
            file.write_text(json.dumps(load.data))
            options.append(f"--input-data={file}")
        counted, busy = _requests(target, load.model), cpu_seconds(target)
        try:
            # three windows make a measurement
            found = perf_analyzer.measure(
                load.model,
                "grpc",
                target.grpc,
                concurrency=connections,
                milliseconds=1000 * seconds // 3,
                options=options,
            )
        except (perf_analyzer.Failed, ReferenceUnavailable) as fault:
            raise Unmeasured(str(fault)) from None
        busy = cpu_seconds(target) - busy
        counted = _requests(target, load.model) - counted
    return Rate(found.per_second, found.p50_us, found.p99_us, 1e6 * busy / counted)


def _requests(target: Target, model: str) -> int:
    """How many requests the model has answered, by the server's own statistics."""
    with urllib.request.urlopen(f"{url(target)}/v2/models/{model}/stats") as answer:
        statistics = json.load(answer)["model_stats"][0]
    return int(statistics["inference_stats"]["success"]["count"])
