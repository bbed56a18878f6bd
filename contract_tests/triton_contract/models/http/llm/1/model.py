"""Echoes the words of a prompt, one response per word when streaming: the tensors of an LLM, no LLM."""

import numpy as np
import triton_python_backend_utils as pb_utils


def value(request, name, default):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0]


def response(text, words):
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("text_output", np.array([[text.encode()]], dtype=np.object_)),
            pb_utils.Tensor("output_tokens", np.array([[words]], dtype=np.int32)),
            pb_utils.Tensor("cum_log_prob", np.array([[-0.5 * words]], dtype=np.float32)),
        ]
    )


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            words = value(request, "text_input", b"").decode().split(" ")
            words = words[: int(value(request, "max_tokens", len(words)))]
            if value(request, "stream", False):
                for number, word in enumerate(words, start=1):
                    sender.send(response(word, number))
            else:
                sender.send(response(" ".join(words), len(words)))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
