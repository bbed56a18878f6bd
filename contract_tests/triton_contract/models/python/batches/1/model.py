"""Misbehaves towards a batch as the largest number in it says."""

import numpy as np
import triton_python_backend_utils as pb_utils


def number(request):
    return int(pb_utils.get_input_tensor_by_name(request, "X").as_numpy().max())


def answer(request):
    seen = pb_utils.get_input_tensor_by_name(request, "X").as_numpy() + 1
    return pb_utils.InferenceResponse([pb_utils.Tensor("Y", seen)])


class TritonPythonModel:
    def execute(self, requests):
        how = max(map(number, requests))
        answers = [answer(request) for request in requests]
        if how == 1:  # one response too few
            return answers[:-1]
        elif how == 2:  # one too many
            return [*answers, answers[0]]
        elif how == 3:  # an error for the first
            answers[0] = pb_utils.InferenceResponse(error=pb_utils.TritonError("not this one"))
        elif how == 4:  # something else for the last
            answers[-1] = "a text"
        elif how == 5:
            raise ValueError("not these")
        elif how == 6:  # the first is sent, the others are returned
            requests[0].get_response_sender().send(answers[0], pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            answers[0] = None
        elif how == 7:  # all in one
            whole = np.concatenate([pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests])
            answers[0] = pb_utils.InferenceResponse([pb_utils.Tensor("Y", whole)])
        return answers
