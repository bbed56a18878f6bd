"""Wants to see each request as often as its input says, then answers how often it saw it."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.seen = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = request.correlation_id()
            self.seen[key] = count = self.seen.get(key, 0) + 1
            times = int(pb_utils.get_input_tensor_by_name(request, "TIMES").as_numpy().reshape(-1)[0])
            start = int(pb_utils.get_input_tensor_by_name(request, "START").as_numpy().reshape(-1)[0])
            if count < times:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                responses.append(None)
            else:
                del self.seen[key]
                tensor = pb_utils.Tensor("SEEN", np.array([[count, start, request.flags()]], dtype=np.int32))
                responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
