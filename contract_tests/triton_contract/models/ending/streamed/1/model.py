"""Sends a response, then does to its process what it is told to do, then sends another."""

import os
import sys

import triton_python_backend_utils as pb_utils

DEEDS = {"os._exit": os._exit, "sys.exit": sys.exit}


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            told = pb_utils.get_input_tensor_by_name(request, "DO").as_numpy()
            response = pb_utils.InferenceResponse([pb_utils.Tensor("DONE", told)])
            sender.send(response)
            if told.item().decode() in DEEDS:
                DEEDS[told.item().decode()](3)
            sender.send(response)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
