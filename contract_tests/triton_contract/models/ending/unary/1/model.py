"""Does what DO names, such as ending its process, and answers with DO."""

import _thread
import contextlib
import os
import signal
import sys
import threading

import triton_python_backend_utils as pb_utils


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def end_in_a_thread():
    thread = threading.Thread(target=os._exit, args=(3,))
    thread.start()
    thread.join()
    threading.Event().wait(0.2)


def sys_exit_in_a_thread():
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()


def recurse():
    recurse()


def interrupt():
    raise KeyboardInterrupt


def try_in_vain_to_go_on():
    with contextlib.suppress(BaseException):
        os._exit(3)


DEEDS = {
    "os._exit": lambda: os._exit(3),
    "os.abort": os.abort,
    "os.kill": kill_itself,
    "os.execv": lambda: os.execv("/bin/true", ["true"]),
    "os._exit in a thread": end_in_a_thread,
    "os._exit and go on": try_in_vain_to_go_on,
    "sys.exit": lambda: sys.exit(3),
    "sys.exit in a thread": sys_exit_in_a_thread,
    "thread exit": _thread.exit,
    "interrupt": interrupt,
    "no memory": lambda: (_ for _ in ()).throw(MemoryError),
}


def told(request):
    return pb_utils.get_input_tensor_by_name(request, "DO").as_numpy().item().decode()


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            deed = told(request)
            if deed in DEEDS:
                DEEDS[deed]()
            tensor = pb_utils.Tensor("DONE", pb_utils.get_input_tensor_by_name(request, "DO").as_numpy())
            response = pb_utils.InferenceResponse([tensor])
            responses += {"no response": [], "two responses": [response] * 2}.get(deed, [response])
        return "responses" if deed == "text" else None if deed == "None" else responses
