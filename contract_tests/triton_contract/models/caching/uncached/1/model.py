"""Counts its executions, so that a cached answer differs from a new one. X = -1 is an error, below it an exception."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.count = 0

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.count += 1
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        lowest = x.min(initial=0)
        if lowest < -1:
            raise ValueError("low")
        if lowest < 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("negative"))
        count = np.full((len(x), 1) if x.ndim > 1 else (1,), self.count, dtype=np.int32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("COUNT", count), pb_utils.Tensor("Y", x)])
