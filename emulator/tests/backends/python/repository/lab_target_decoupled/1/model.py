"""Runs the Python code that it is sent: `execute` is whatever the code defines under that name."""

import numpy as np
import triton_python_backend_utils as pb_utils


def say(*values):
    """A response that shows values as their repr."""
    return pb_utils.InferenceResponse([pb_utils.Tensor("SAID", np.array([repr(v).encode() for v in values], dtype=object))])


def refusal(function, *args, **kwargs):
    """What calling the function raises, as text; its result where it does not."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def ask(code, model="lab_target", outputs=("SAID",), **fields):
    """A request to another lab model to run that code."""
    code = pb_utils.Tensor("CODE", np.array([code.encode()], dtype=object))
    return pb_utils.InferenceRequest(
        model_name=model, requested_output_names=list(outputs), inputs=[code], **fields
    )


def show(response):
    """What a response holds: whether it is an error, which, and its outputs."""
    error = response.error()
    outputs = [(t.name(), t.shape(), t.as_numpy().tolist()) for t in response.output_tensors()]
    return response.has_error(), error and (error.message(), error.code()), outputs


class TritonPythonModel:
    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        code = pb_utils.get_input_tensor_by_name(requests[0], "CODE").as_numpy().ravel()[0].decode()
        names = {**globals(), "model": self}
        exec(compile(code, "case.py", "exec"), names)
        return names["execute"](requests)
