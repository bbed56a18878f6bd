"""Tells what it sees of a request."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            seen = {
                "id": request.request_id(),
                "correlation_id": request.correlation_id(),
                "flags": request.flags(),
                "timeout": request.timeout(),
                "parameters": json.loads(request.parameters()),
                "outputs": sorted(request.requested_output_names()),
                "inputs": sorted((t.name(), list(t.as_numpy().shape)) for t in request.inputs()),
            }
            text = np.array([json.dumps(seen).encode()], dtype=np.object_)
            tensors = [pb_utils.Tensor("SEEN", text)]
            if "DEAF" in seen["outputs"]:
                tensors.append(pb_utils.Tensor("DEAF", np.zeros(1, dtype=np.int32)))
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
