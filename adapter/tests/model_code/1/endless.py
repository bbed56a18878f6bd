"""A simulated language model that generates until its request is cancelled. It counts the cancelled requests.

The prompt COUNT is answered with that number.
"""

import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.left = 0

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
            if prompt == "COUNT":
                sender.send(self.response(str(self.left)), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:
                threading.Thread(target=self.talk, args=(sender,), daemon=True).start()
        return None

    def talk(self, sender):
        while not sender.is_cancelled():
            sender.send(self.response("word "))
            time.sleep(0.002)
        self.left += 1
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def response(self, text):
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("text_output", np.array([text.encode()], dtype=np.object_))]
        )
