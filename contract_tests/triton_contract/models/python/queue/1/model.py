"""Takes as many milliseconds as the largest number of the batch."""

import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        time.sleep(max(int(x.max()) for x in inputs) / 1000)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", x)]) for x in inputs]
