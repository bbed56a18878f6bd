import threading

import numpy as np
import triton_python_backend_utils as pb_utils

COUNT = []

def say(*values):
    return pb_utils.InferenceResponse([pb_utils.Tensor("SAID", np.array([repr(v).encode() for v in values], dtype=object))])


class TritonPythonModel:
    def initialize(self, args):
        COUNT.append(args["model_instance_name"])
        self.name = args["model_instance_name"]
        self.kind = args["model_instance_kind"], args["model_instance_device_id"]
        self.thread = threading.get_ident()

    def execute(self, requests):
        return [
            say(COUNT == [self.name], self.kind, self.name in ("two_instances_0_0", "two_instances_0_1"), self.thread == threading.get_ident())
        ]
