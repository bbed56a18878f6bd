"""Says TEXT, and how often it has been asked since it was loaded."""

import numpy as np
import triton_python_backend_utils as pb_utils

TEXT = "latest_two 3"


class TritonPythonModel:
    def initialize(self, args):
        self.count = 0

    def execute(self, requests):
        return [self.answer() for _ in requests]

    def answer(self):
        self.count += 1
        text = np.array([TEXT.encode()], dtype=np.object_)
        count = np.array([self.count], dtype=np.int32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", text), pb_utils.Tensor("COUNT", count)])
