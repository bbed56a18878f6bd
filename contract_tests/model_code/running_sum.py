"""The running sum of a sequence, and the controls that the batcher gave."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            value = {
                name: pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0]
                for name in ("INPUT", "START", "END", "READY", "CORRID")
            }
            corrid = int(value["CORRID"])
            total = int(value["INPUT"]) + (0 if value["START"] else self.sums.get(corrid, 0))
            self.sums[corrid] = total
            tensors = [
                pb_utils.Tensor("OUTPUT", np.array([[total]], dtype=np.int32)),
                pb_utils.Tensor("CONTROLS", np.array([[value["START"], value["END"], value["READY"], corrid]], dtype=np.int32)),
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
