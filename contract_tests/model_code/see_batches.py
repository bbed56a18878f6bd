"""Says with which other requests it was executed, after sleeping for the longest MILLISECONDS of them."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        naps = [pb_utils.get_input_tensor_by_name(request, "MILLISECONDS") for request in requests]
        time.sleep(max(0 if nap is None else int(nap.as_numpy().max(initial=0)) for nap in naps) / 1000)
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
