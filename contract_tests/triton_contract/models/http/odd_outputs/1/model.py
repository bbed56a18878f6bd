"""Answers without any output, or with an output of zero elements, or with one that is not in its config."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(r, "INPUT0").as_numpy()[0]) for r in requests]

    def answer(self, how):
        tensors = {
            0: [],
            1: [pb_utils.Tensor("OUTPUT0", np.array([], dtype=np.int32))],
            2: [pb_utils.Tensor("SURPRISE", np.array([5], dtype=np.int32))],
            3: [pb_utils.Tensor("OUTPUT0", np.array([1.5], dtype=np.float32))],
            4: [pb_utils.Tensor("OUTPUT1", np.array([2], dtype=np.int32)), pb_utils.Tensor("OUTPUT0", np.array([1], dtype=np.int32))],
            5: [pb_utils.Tensor("OUTPUT0", np.array([[1, 2], [3, 4]], dtype=np.int32))],
        }
        return pb_utils.InferenceResponse(tensors[int(how)])
