"""With X = 1 it waits until a gate waits, with X = 2 it opens that gate."""

import os
import tempfile
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils

#: the server's process: the stub's parent, or this one where the server runs its models itself
SERVER = os.getppid() if "triton_python" in Path("/proc/self/comm").read_text() else os.getpid()
FOLDER = Path(tempfile.gettempdir()) / f"triton-contract-gate-{SERVER}"


class TritonPythonModel:
    def initialize(self, args):
        FOLDER.mkdir(exist_ok=True)
        # files of an earlier server with the same process id
        for name in ("waits", "open"):
            (FOLDER / name).unlink(missing_ok=True)

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        if x.item() == 1:
            path = FOLDER / "waits"
            while not path.exists():
                time.sleep(0.002)
            path.unlink()
        else:
            (FOLDER / "open").touch()
        return pb_utils.InferenceResponse([pb_utils.Tensor("COUNT", x)])
