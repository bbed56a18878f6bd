"""Fails as its input tells: "CODE:message" for a TritonError, "raise:message" for an exception, else answers."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        # Not a comprehension: only some Pythons give it a frame of its own in a traceback.
        responses = []
        for request in requests:
            responses.append(self.answer(request))  # noqa: PERF401
        return responses

    def answer(self, request):
        text = pb_utils.get_input_tensor_by_name(request, "HOW").as_numpy().reshape(-1)[0].decode()
        code, _, message = text.partition(":")
        if code == "raise":
            raise ValueError(message)
        if code == "default":
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        if code == "with_output":
            tensor = pb_utils.Tensor("OUT", np.array([b"kept?"], dtype=np.object_))
            return pb_utils.InferenceResponse([tensor], pb_utils.TritonError(message))
        if code == "string":
            return pb_utils.InferenceResponse(error=message)
        if code == "nothing":
            return None
        if hasattr(pb_utils.TritonError, code):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([text.encode()], dtype=np.object_))])
