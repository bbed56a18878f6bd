"""Runs the Python code that it is sent: `execute` is whatever the code defines under that name."""

import json  # noqa: F401  for the code

import numpy as np
import triton_python_backend_utils as pb_utils


def say(*values):
    """A response that shows values as their repr."""
    elements = np.array([repr(value).encode() for value in values], dtype=np.object_)
    return pb_utils.InferenceResponse([pb_utils.Tensor("SAID", elements)])


def fail(text, code=None):
    """A response that is an error."""
    error = pb_utils.TritonError(text) if code is None else pb_utils.TritonError(text, getattr(pb_utils.TritonError, code))
    return pb_utils.InferenceResponse(error=error)


def refusal(function, *args, **kwargs):
    """What the function returns, or what it raises as text."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def ask(code, model="target", outputs=("SAID",), **fields):
    """A request to another model to run that code."""
    tensor = pb_utils.Tensor("CODE", np.array([code.encode()], dtype=np.object_))
    return pb_utils.InferenceRequest(
        model_name=model, requested_output_names=list(outputs), inputs=[tensor], **fields
    )


def number(model, value, outputs=("Y",), shape=(1, 1), **fields):
    """A request with one number to another model."""
    tensor = pb_utils.Tensor("X", np.full(shape, value, dtype=np.int32))
    return pb_utils.InferenceRequest(
        model_name=model, requested_output_names=list(outputs), inputs=[tensor], **fields
    )


def show(response):
    """What a response holds: its error, or its outputs."""
    if response.has_error():
        return response.error().message(), response.error().code().name
    return [(tensor.name(), tensor.shape(), tensor.as_numpy().tolist()) for tensor in response.output_tensors()]


class TritonPythonModel:
    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        code = pb_utils.get_input_tensor_by_name(requests[0], "CODE").as_numpy().ravel()[0].decode()
        names = {**globals(), "model": self}
        exec(compile(code, "code.py", "exec"), names)
        return names["execute"](requests)
