"""What it does is told by the first element: 1 raises, 2 and 3 are errors, 4 leaves OTHER out, 5 answers nothing."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        data = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        mood = int(data.reshape(-1)[0])
        if mood == 1:
            raise ValueError("in a bad mood")
        if mood == 2:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("not today"))
        if mood == 3:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("busy", pb_utils.TritonError.UNAVAILABLE))
        tensors = [pb_utils.Tensor("OUT", data), pb_utils.Tensor("OTHER", data * 10)]
        return pb_utils.InferenceResponse(tensors[:1] if mood == 4 else [] if mood == 5 else tensors)
