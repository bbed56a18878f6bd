"""One response per element of its input; -1 is an error."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in pb_utils.get_input_tensor_by_name(request, "X").as_numpy().reshape(-1).tolist():
                if value == -1:
                    response = pb_utils.InferenceResponse(error=pb_utils.TritonError("minus one"))
                else:
                    response = pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([value], dtype=np.int32))])
                sender.send(response)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
