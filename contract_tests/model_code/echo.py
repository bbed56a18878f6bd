"""Answers, as one JSON text, what a model sees of a request: inputs, id, parameters, flags."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

NAMES = ("TEXT", "WORDS", "GRID", "VECTOR", "MATRIX", "FLAG", "BIG", "HALF")


def plain(array):
    if array.dtype == np.object_:
        return [item.decode("utf-8", "backslashreplace") for item in array.reshape(-1)]
    return [repr(item) for item in array.reshape(-1).tolist()]


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            inputs = {}
            for name in NAMES:
                tensor = pb_utils.get_input_tensor_by_name(request, name)
                if tensor is not None:
                    array = tensor.as_numpy()
                    inputs[name] = {"dtype": str(array.dtype), "shape": list(array.shape), "data": plain(array)}
            seen = {
                "inputs": inputs,
                "parameters": json.loads(request.parameters()),
                "id": request.request_id(),
                "correlation_id": request.correlation_id(),
                "flags": request.flags(),
                "timeout": request.timeout(),
                "requested_outputs": sorted(request.requested_output_names()),
            }
            text = np.array([json.dumps(seen, sort_keys=True).encode()], dtype=np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", text)]))
        return responses
