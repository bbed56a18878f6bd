"""One more than its input; fails for 13, raises for 66."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            if 66 in x:
                raise ValueError("not 66")
            if 13 in x:
                responses.append(pb_utils.InferenceResponse(error=pb_utils.TritonError("not 13")))
                continue
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", x + 1)]))
        return responses
