"""Answers which requests were executed together, after sleeping for the longest of their MILLISECONDS.

With MILLISECONDS below 0 it reports that it waits, and waits for `opener`.
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


class TritonPythonModel:
    def execute(self, requests):
        given = [pb_utils.get_input_tensor_by_name(request, "MILLISECONDS") for request in requests]
        times = [0, *(int(number) for tensor in given if tensor is not None for number in tensor.as_numpy().reshape(-1))]
        nap(min(times) or max(times))
        seen = {
            "together": [request.request_id() for request in requests],
            "shapes": [sorted((t.name(), list(t.as_numpy().shape)) for t in request.inputs()) for request in requests],
        }
        return [self.answer(request, json.dumps(seen).encode()) for request in requests]

    def answer(self, request, text):
        rows = len(pb_utils.get_input_tensor_by_name(request, "X").as_numpy())
        shape = (rows, 1)
        seen = np.full(shape, text, dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", seen)])
