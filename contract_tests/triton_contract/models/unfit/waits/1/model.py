"""Takes to be imported until there is a file `go` beside it."""

import pathlib
import time

import triton_python_backend_utils as pb_utils

while not pathlib.Path(__file__).with_name("go").exists():
    time.sleep(0.01)


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", tensor)]) for tensor in tensors]
