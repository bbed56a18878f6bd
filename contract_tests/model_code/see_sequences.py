"""Tells what it sees: of each request executed together its id, its sequence, its flags and its tensors.

X is a number that is added up over a sequence, and MILLISECONDS how long to sleep.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


def plain(value):
    return value.decode() if isinstance(value, bytes) else value


class TritonPythonModel:
    def initialize(self, args):
        self.batching = json.loads(args["model_config"])["max_batch_size"] > 0
        self.sums = {}

    def execute(self, requests):
        seen = [self.look(request) for request in requests]
        time.sleep(max(one.get("MILLISECONDS", 0) or 0 for one in seen) / 1000)
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
            one = {key: one[key] for key in one if key not in ("X", "MILLISECONDS")}  # padding holds anything
        key = one["corrid"]
        self.sums[key] = one.get("X", 0) + (0 if one["flags"] & 1 else self.sums.get(key, 0))
        one["sum"] = self.sums[key]
        return one
