"""Answers the id, sequence, flags and tensors of each request that was executed together.

X is summed over a sequence, and the model sleeps for MILLISECONDS. With MILLISECONDS below 0 it reports that it waits,
and waits for `opener`.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

#: the server's process: the stub's parent, or this one where the server runs its models itself
SERVER = os.getppid() if "triton_python" in Path("/proc/self/comm").read_text() else os.getpid()
FOLDER = Path(tempfile.gettempdir()) / f"triton-contract-gate-{SERVER}"


def nap(milliseconds):
    """Sleep; below 0 report that the model waits, and wait for `opener`."""
    if milliseconds >= 0:
        time.sleep(milliseconds / 1000)
        return
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "waits").touch()
    while not (FOLDER / "open").exists():
        time.sleep(0.002)
    (FOLDER / "open").unlink()


def plain(value):
    return value.decode() if isinstance(value, bytes) else value


class TritonPythonModel:
    def initialize(self, args):
        self.batching = json.loads(args["model_config"])["max_batch_size"] > 0
        self.sums = {}

    def execute(self, requests):
        seen = [self.look(request) for request in requests]
        times = [0, *(one.get("MILLISECONDS", 0) or 0 for one in seen)]
        nap(min(times) or max(times))
        text = np.array([json.dumps(seen, sort_keys=True).encode()], dtype=np.object_)
        text = text.reshape(1, 1) if self.batching else text
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", text)]) for _ in requests]

    def look(self, request):
        one = {"id": request.request_id(), "corrid": request.correlation_id(), "flags": request.flags()}
        for tensor in request.inputs():
            array = tensor.as_numpy()
            one[tensor.name()] = plain(array.reshape(-1).tolist()[0]) if array.size == 1 else array.tolist()
            one["shape of " + tensor.name()] = list(array.shape)
        if not one["id"]:
            one = {key: one[key] for key in one if key not in ("X", "MILLISECONDS")}  # the values of padding are undefined
        key = one["corrid"]
        self.sums[key] = one.get("X", 0) + (0 if one["flags"] & 1 else self.sums.get(key, 0))
        one["sum"] = self.sums[key]
        return one
