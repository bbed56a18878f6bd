import numpy as np
import triton_python_backend_utils as pb_utils
import utils


def say(*values):
    return pb_utils.InferenceResponse([pb_utils.Tensor("SAID", np.array([repr(v).encode() for v in values], dtype=object))])


class TritonPythonModel:
    def execute(self, requests):
        import late
        import utils as second

        return [say(utils.WORD, second is utils, late.WORD)]
