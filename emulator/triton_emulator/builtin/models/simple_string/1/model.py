"""Sum and difference of integers that are written as text, element by element."""

import numpy as np
import triton_python_backend_utils as pb_utils


def integers(request, name):
    return np.vectorize(int, otypes=[np.int64])(pb_utils.get_input_tensor_by_name(request, name).as_numpy())


def texts(name, numbers):
    return pb_utils.Tensor(
        name, np.vectorize(lambda number: str(number).encode(), otypes=[np.object_])(numbers)
    )


class TritonPythonModel:
    def execute(self, requests):
        return [self.add_sub(request) for request in requests]

    def add_sub(self, request):
        try:
            left, right = integers(request, "INPUT0"), integers(request, "INPUT1")
        except ValueError as error:
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            )
        return pb_utils.InferenceResponse([texts("OUTPUT0", left + right), texts("OUTPUT1", left - right)])
