"""Models that end their process: here only the model's instance ends, because all models share one process."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator, emulator

CONFIG = """
backend: "python"
input [{name: "DO" data_type: TYPE_STRING dims: [1]}]
output [{name: "DONE" data_type: TYPE_STRING dims: [1]}]
"""
HEAD = """
import os
import sys
import threading
import triton_python_backend_utils as pb_utils


def told(request):
    return pb_utils.get_input_tensor_by_name(request, "DO").as_numpy().item().decode()


def said(text):
    return pb_utils.InferenceResponse([pb_utils.Tensor("DONE", __import__("numpy").array([text], "O"))])
"""
#: evaluates the code in its request
RUNS = """
class TritonPythonModel:
    def execute(self, requests):
        return [said(str(eval(told(request)))) for request in requests]
"""
WAITS = """
class TritonPythonModel:
    async def execute(self, requests):
        exec(told(requests[0]))
        return [said("done")]
"""
#: answers its requests from a thread
LEAVES = """
import queue

class TritonPythonModel:
    def initialize(self, args):
        self.requests = queue.SimpleQueue()
        threading.Thread(target=self.work, daemon=True).start()

    def execute(self, requests):
        for request in requests:
            self.requests.put((told(request), request.get_response_sender()))

    def work(self):
        while True:
            text, sender = self.requests.get()
            if text == "end":
                os._exit(0)
            if text == "answer":
                sender.send(said(text), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:  # the name of a pipe
                open(text, "w").close()
"""
#: ends while a call that never returns is running
STUCK = """
class TritonPythonModel:
    def execute(self, requests):
        threading.Thread(target=os._exit, args=(0,)).start()
        threading.Event().wait()
"""
#: the exception that ends such a thread is expected
ENDS_A_THREAD = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
UNHEALTHY = {"error": "Stub process 'model_0' is not healthy."}


def add_model(repository: Path, model: str, config: str = CONFIG, name: str = "model") -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(HEAD + model)


def infer(triton: Emulator, text: str) -> httpx.Response:
    body = {"inputs": [{"name": "DO", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    return httpx.post(f"{triton.url}/v2/models/model/infer", json=body, timeout=30)


def done(triton: Emulator, text: str) -> str:
    answer: str = infer(triton, text).json()["outputs"][0]["data"][0]
    return answer


@pytest.mark.parametrize(
    "way",
    [
        "os._exit(1)",
        "os.abort()",
        "os.kill(os.getpid(), 9)",
        "os.execv(sys.executable, [sys.executable])",
        "__import__('os')._exit(1)",
        "__import__('importlib').import_module('os').abort()",
        "exec('from os import *; _exit(1)')",
        "exec('import os.path as path, os as system; system._exit(path.sep)')",
    ],
)
def test_a_call_that_ends_a_process_ends_only_the_instance(tmp_path: Path, way: str) -> None:
    add_model(tmp_path, RUNS)
    with Emulator(tmp_path, model_control_mode="explicit", load_models=("model",)) as triton:
        assert done(triton, "1 + 1") == "2"
        for text in (way, "1 + 1"):
            assert (infer(triton, text).status_code, infer(triton, text).json()) == (500, UNHEALTHY)
        assert httpx.post(f"{triton.url}/v2/repository/models/model/unload").is_success
        assert httpx.post(f"{triton.url}/v2/repository/models/model/load").is_success
        assert done(triton, "1 + 1") == "2"


def test_the_other_functions_of_os_are_unchanged(tmp_path: Path) -> None:
    add_model(tmp_path, RUNS)
    with Emulator(tmp_path) as triton:
        assert done(triton, "os.getpid()") == str(os.getpid())
        assert done(triton, "os.kill(os.getpid(), 0)") == "None"
        assert (
            done(triton, "os.path.join('a', 'b'), os.environ is sys.modules['os'].environ") == "('a/b', True)"
        )


def test_a_process_that_the_model_starts_ends_as_any_other(tmp_path: Path) -> None:
    """Otherwise a forked child would run on as a second server."""
    add_model(tmp_path, RUNS)
    fork = "(lambda pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else os._exit(7))(os.fork())"
    program = f"""
import sys, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
warnings.simplefilter("ignore")
from test_ending import Emulator, done
with Emulator({str(tmp_path)!r}, allow_grpc=False) as triton:
    print(done(triton, {fork!r}), done(triton, "1 + 1"))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "7 2\n"


@pytest.mark.parametrize(
    "way, text",
    [
        ("sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: <EMPTY MESSAGE>"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
def test_what_a_coroutine_raises_fails_its_request(tmp_path: Path, way: str, text: str) -> None:
    """2.51: of these three the first two end the model's loop, and neither this request nor another is answered."""
    add_model(tmp_path, WAITS)
    with Emulator(tmp_path) as triton:
        message = infer(triton, way).json()["error"]
        assert message.startswith(f"Failed to process the request(s) for model 'model_0', message: {text}\n")
        assert done(triton, "pass") == "done"


def test_a_coroutine_that_ends_the_process_ends_only_the_instance(tmp_path: Path) -> None:
    add_model(tmp_path, WAITS)
    with Emulator(tmp_path) as triton:
        assert infer(triton, "os._exit(0)").json() == UNHEALTHY
        assert infer(triton, "pass").json() == UNHEALTHY


@ENDS_A_THREAD
@pytest.mark.parametrize("decoupled", ["true", "false"], ids=["decoupled", "default"])
def test_requests_that_wait_for_a_sender_are_answered_when_the_instance_ends(
    tmp_path: Path, decoupled: str
) -> None:
    """2.51 never answers them."""
    kept = tmp_path / "kept"
    os.mkfifo(kept)
    add_model(tmp_path / "models", LEAVES, CONFIG + f"model_transaction_policy {{ decoupled: {decoupled} }}")
    with Emulator(tmp_path / "models") as triton:
        url = f"{triton.url}/v2/models/model/generate"
        assert httpx.post(url, json={"DO": "answer"}).json()["DONE"] == "answer"
        waiting: list[httpx.Response] = []
        client = threading.Thread(
            target=lambda: waiting.append(httpx.post(url, json={"DO": str(kept)}, timeout=30))
        )
        client.start()
        kept.open().close()
        last = httpx.post(url, json={"DO": "end"}, timeout=30)
        client.join()
    assert last.json() == UNHEALTHY
    assert waiting[0].json() == UNHEALTHY


@ENDS_A_THREAD
def test_a_call_that_never_returns_is_answered_when_another_thread_ends_the_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "FINALIZE_SECONDS", 0.1)  # the thread that never returns could not finalize
    add_model(tmp_path, STUCK)
    with Emulator(tmp_path) as triton:
        assert infer(triton, "").json() == UNHEALTHY


def test_a_model_that_ends_the_process_during_its_load_is_unavailable(tmp_path: Path) -> None:
    """2.51 gives the same error for `initialize`; with the other two its load never ends."""
    for name, place in {
        "imports": "os._exit(0)",
        "completes": RUNS + "    auto_complete_config = staticmethod(lambda config: os._exit(0))",
        "initializes": RUNS + "    initialize = lambda self, args: os._exit(0)",
    }.items():
        add_model(tmp_path, place, name=name)
    with Emulator(tmp_path, exit_on_error=False) as triton:
        rows = httpx.post(f"{triton.url}/v2/repository/index").json()
    assert [(row["name"], row["state"]) for row in rows] == [
        (name, "UNAVAILABLE") for name in ("completes", "imports", "initializes")
    ]
    assert all(row["reason"].endswith(" is not healthy.") for row in rows)
