"""Sends the responses of its PLAN: steps separated by ";", each a verb with an optional ":argument".

text:A        a response with OUT = [A]           text_final:A   the same, with the final flag
words:A,B     OUT = [A, B]                        number:5       NUM = [5] instead of OUT
both:A        OUT = [A] and NUM = [7]             floats:0.5,1   FLOATS = [0.5, 1]
empty         a response without outputs          many:3         OUT = [0], [1], [2]
error:C:M     an error of code C, text M          error_final:C:M
final         only the final flag                 raise:M        an exception
wait_cancel   waits (up to 5 s) until cancelled   open           do not send the final flag at the end
"""

import time

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def response(**tensors):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])


def texts(*items):
    return np.array([item.encode() for item in items], dtype=np.object_)


def error(argument):
    code, _, message = argument.partition(":")
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            plan = pb_utils.get_input_tensor_by_name(request, "PLAN").as_numpy().reshape(-1)[0].decode()
            self.perform([step for step in plan.split(";") if step], request)
        return None

    def perform(self, plan, request):
        sender = request.get_response_sender()
        ended = False
        for step in plan:
            verb, _, argument = step.partition(":")
            flags = FINAL if verb.endswith("_final") else 0
            verb = verb.removesuffix("_final")
            ended = ended or bool(flags) or verb in ("final", "open")
            if verb == "text":
                sender.send(response(OUT=texts(argument)), flags=flags)
            elif verb == "words":
                sender.send(response(OUT=texts(*argument.split(","))), flags=flags)
            elif verb == "number":
                sender.send(response(NUM=np.array([int(argument)], dtype=np.int32)), flags=flags)
            elif verb == "both":
                sender.send(response(OUT=texts(argument), NUM=np.array([7], dtype=np.int32)), flags=flags)
            elif verb == "floats":
                values = [float(item) for item in argument.split(",") if item]
                sender.send(response(FLOATS=np.array(values, dtype=np.float32)), flags=flags)
            elif verb == "empty":
                sender.send(response(), flags=flags)
            elif verb == "many":
                for number in range(int(argument)):
                    sender.send(response(OUT=texts(str(number))))
            elif verb == "error":
                sender.send(error(argument), flags=flags)
            elif verb == "raise":
                raise ValueError(argument)
            elif verb == "wait_cancel":
                deadline = time.monotonic() + 5
                while not request.is_cancelled() and time.monotonic() < deadline:
                    time.sleep(0.01)
            elif verb == "final":
                sender.send(flags=FINAL)
        if not ended:
            sender.send(flags=FINAL)
