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


class TritonPythonModel:
    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        code = pb_utils.get_input_tensor_by_name(requests[0], "CODE").as_numpy().ravel()[0].decode()
        names = {"np": np, "pb_utils": pb_utils, "say": say, "refusal": refusal, "model": self}
        exec(compile(code, "case.py", "exec"), names)
        return names["execute"](requests)
