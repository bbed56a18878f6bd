"""Waits for batches of two, and misbehaves towards a request, or towards both, as a request's number says."""

import triton_python_backend_utils as pb_utils


def number(request):
    return int(pb_utils.get_input_tensor_by_name(request, "X").as_numpy().max())


def answer(request):
    plus_one = pb_utils.Tensor("Y", pb_utils.get_input_tensor_by_name(request, "X").as_numpy() + 1)
    how = number(request)
    if how == 3:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError("not this one"))
    if how == 4:
        return "a text"
    if how == 6:  # this one is sent, the other one is returned
        sender = request.get_response_sender()
        sender.send(pb_utils.InferenceResponse([plus_one]), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
    return pb_utils.InferenceResponse([plus_one])


class TritonPythonModel:
    def execute(self, requests):
        how = max(map(number, requests))
        if how == 5:
            raise ValueError("neither of them")
        answers = [answer(request) for request in requests]
        if how == 1:
            return answers[:-1]
        if how == 2:
            return [*answers, answers[0]]
        return answers
