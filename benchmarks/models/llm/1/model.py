"""Twenty words for any prompt, in one response or one by one."""

import numpy as np
import triton_python_backend_utils as pb_utils

WORDS = [f"word{number} ".encode() for number in range(20)]


def response(text):
    return pb_utils.InferenceResponse([pb_utils.Tensor("text_output", np.array([text], dtype=np.object_))])


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            stream = pb_utils.get_input_tensor_by_name(request, "stream")
            if stream is not None and stream.as_numpy()[0]:
                for word in WORDS:
                    sender.send(response(word))
            else:
                sender.send(response(b"".join(WORDS)))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
