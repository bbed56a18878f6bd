"""Adds up the numbers of a sequence."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            start = pb_utils.get_input_tensor_by_name(request, "START").as_numpy().reshape(-1)[0]
            key = request.correlation_id()
            self.sums[key] = x if start else self.sums[key] + x
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", self.sums[key].astype(np.int32))]))
        return responses
