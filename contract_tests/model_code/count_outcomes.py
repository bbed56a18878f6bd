"""Answers its input; 1 raises, 2 is an error, 100 and more sleeps for so many milliseconds."""

import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        data = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        what = int(data.reshape(-1)[0])
        if what == 1:
            raise ValueError("one")
        if what == 2:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("two"))
        if what >= 100:
            time.sleep(what / 1000)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", data)])
