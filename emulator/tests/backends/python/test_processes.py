"""Models in processes of their own: `--python-process-per-model`, and `own_process` of emulator.yaml."""

import io
import json
import os
import select
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http

from triton_emulator import Emulator, EmulatorOptions, StartupError
from triton_emulator.backends.python.stub import instance as stub_instance

CONFIG = """
backend: "python"
input [{name: "DO" data_type: TYPE_STRING dims: [1]}]
output [{name: "DONE" data_type: TYPE_STRING dims: [1]}]
"""
#: runs the code of its request, and answers with the `result` that this sets
RUNS = """
import os
import sys
import numpy as np
import triton_python_backend_utils as pb_utils

kept = {}

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            code = pb_utils.get_input_tensor_by_name(request, "DO").as_numpy().item().decode()
            names = {"request": request, "kept": kept, "pb_utils": pb_utils, "np": np, "result": None}
            exec(code, names)
            text = np.array([str(names["result"])], "O")
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("DONE", text)]))
        return responses
"""
CODE = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.answer(request)]) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        return pb_utils.Tensor("Y", x * 2)
"""
DOUBLES = """
backend: "python"
input [{name: "X" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "Y" data_type: TYPE_FP32 dims: [-1]}]
"""
#: seconds after which something that must happen has not happened
LONG = 60


def add_model(repository: Path, model: str = RUNS, *, name: str = "model", config: str = CONFIG) -> Path:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(model)
    return repository


def infer(triton: Emulator, code: str, model: str = "model") -> httpx.Response:
    body = {"inputs": [{"name": "DO", "datatype": "BYTES", "shape": [1], "data": [code]}]}
    return httpx.post(f"{triton.url}/v2/models/{model}/infer", json=body, timeout=LONG)


def result(triton: Emulator, code: str, model: str = "model") -> str:
    answer = infer(triton, code, model)
    assert answer.is_success, answer.text
    done: str = answer.json()["outputs"][0]["data"][0]
    return done


def await_end(pid: int) -> None:
    """Wait until a process has ended that is not a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], LONG)[0], f"process {pid} has not ended"
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Two models that run code, each in a process of its own, and one that does so in the server's process."""
    repository = tmp_path_factory.mktemp("models")
    for name in ("model", "other", "inside"):
        add_model(repository, name=name)
    add_model(repository, CODE, name="doubles", config=DOUBLES)
    (repository / "emulator.yaml").write_text("models: {inside: {own_process: false}}")
    with Emulator(repository, python_process_per_model=True, allow_metrics=True, metrics_port=0) as emulator:
        yield emulator


def test_each_model_has_a_process_of_its_own(triton: Emulator) -> None:
    pids = {
        result(triton, "import os; result = os.getpid()", model) for model in ("model", "other", "inside")
    }
    assert len(pids) == 3
    assert str(os.getpid()) in pids


def test_emulator_yaml_can_give_one_model_a_process(tmp_path: Path) -> None:
    for name in ("model", "inside"):
        add_model(tmp_path, name=name)
    (tmp_path / "emulator.yaml").write_text("models: {model: {own_process: true}}")
    with Emulator(tmp_path) as emulator:
        assert result(emulator, "import os; result = os.getpid()") != str(os.getpid())
        assert result(emulator, "import os; result = os.getpid()", "inside") == str(os.getpid())


@pytest.mark.parametrize(
    "change, look",
    [
        ("import os; os.chdir('/')", "import os; result = os.getcwd()"),
        ("import os; os.environ['HERE'] = 'x'", "import os; result = os.environ.get('HERE')"),
        ("import builtins; builtins.here = 1", "import builtins; result = hasattr(builtins, 'here')"),
        ("import sys; sys.setrecursionlimit(5000)", "import sys; result = sys.getrecursionlimit()"),
        ("import sys; sys.path.append('/here')", "import sys; result = '/here' in sys.path"),
        ("import json; json.here = 1", "import json; result = hasattr(json, 'here')"),
    ],
    ids=["cwd", "environment", "builtins", "recursion-limit", "sys.path", "module-attribute"],
)
def test_what_belongs_to_a_process_is_a_models_own(triton: Emulator, change: str, look: str) -> None:
    before = result(triton, look, "other")
    result(triton, change)
    assert result(triton, look) != before
    assert result(triton, look, "other") == before


def test_a_model_runs_on_the_main_thread_of_its_process(triton: Emulator) -> None:
    code = """
import asyncio, signal, threading
signal.signal(signal.SIGUSR1, lambda *_: kept.update(signals=1))
signal.raise_signal(signal.SIGUSR1)
on_main = threading.current_thread() is threading.main_thread()
result = on_main, kept["signals"], asyncio.get_event_loop().is_running()
"""
    assert result(triton, code) == "(True, 1, False)"


def test_the_process_has_the_name_of_tritons(triton: Emulator) -> None:
    assert result(triton, "result = open('/proc/self/comm').read()") == "triton_python_b\n"


@pytest.mark.parametrize("elements", [0, 1, 20_000, 3_000_000], ids=lambda n: f"{4 * n}-bytes")
def test_tensors_of_any_size_go_there_and_back(triton: Emulator, elements: int) -> None:
    x = np.arange(elements, dtype=np.float32)
    tensor = tritonclient.http.InferInput("X", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    with tritonclient.http.InferenceServerClient(triton.url.removeprefix("http://")) as client:
        answer = client.infer("doubles", [tensor])
    assert np.array_equal(answer.as_numpy("Y"), x * 2)


def test_values_of_a_models_own_classes_reach_the_server(tmp_path: Path) -> None:
    classes = """
from enum import Enum, IntEnum

class Names(str, Enum):
    DO, DONE, OTHER = "DO", "DONE", "other"

class Numbers(IntEnum):
    SEVEN = 7

class File(bytes): ...
"""
    ask = """
metric = pb_utils.MetricFamily(Names.OTHER, Names.DONE, pb_utils.MetricFamily.COUNTER).Metric({"a": Names.DONE})
do = pb_utils.Tensor(Names.DO, np.array([b"result = request.correlation_id()"], "O"))
answers = [
    pb_utils.InferenceRequest(
        request_id=Names.DO, correlation_id=correlation, inputs=[do], requested_output_names=[Names.DONE],
        model_name=Names.OTHER, timeout=Numbers.SEVEN,
    ).exec()
    for correlation in (Numbers.SEVEN, Names.OTHER)
]
result = [answer.output_tensors()[0].as_numpy().item().decode() for answer in answers]
result.append(pb_utils.is_model_ready(Names.OTHER))
try:
    pb_utils.load_model(Names.OTHER, files={"file:1/model.py": File()})
except pb_utils.TritonModelException as error:
    result.append("polling is enabled" in str(error))
"""
    for name in ("model", "other"):
        code = classes + RUNS.replace('Tensor("DONE"', "Tensor(Names.DONE").replace(
            '{"request"', "{**globals(), 'request'"
        )
        add_model(tmp_path, code, name=name)
    with Emulator(tmp_path, python_process_per_model=True) as emulator:
        assert result(emulator, ask) == "['7', 'other', True, True]"
        error = infer(emulator, "raise pb_utils.TritonModelException(Names.DONE)").json()["error"]
    assert "TritonModelException: " in error


def test_a_metric_that_is_kept_until_the_process_ends_is_released_silently(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
family = pb_utils.MetricFamily("kept", "", pb_utils.MetricFamily.COUNTER)
kept.update(family=family, metric=family.Metric())
"""
    with Emulator(add_model(tmp_path), python_process_per_model=True, exit_timeout_secs=LONG) as emulator:
        result(emulator, code)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("which", [-2, -1], ids=["jobs", "events"])
def test_a_message_that_cannot_be_read_ends_the_instance(
    tmp_path: Path, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    junk = f"""
import os, sys, threading
os.write(int(sys.orig_argv[{which}]), bytes([4, 0, 0, 0, 0, 0, 0, 0]) + b"junk")
threading.Event().wait()
"""
    with Emulator(add_model(tmp_path), python_process_per_model=True) as emulator:
        for code in (junk, "result = 1"):
            assert infer(emulator, code).json() == {"error": "Stub process 'model_0' is not healthy."}
    assert "cannot read a message between the server and the process of a model" in caplog.messages


WAITS = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        open({began!r}, "w").close()
        open({go!r}).close()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("DONE", np.array(["x"], "O"))]) for _ in requests]
"""


def test_a_process_that_ends_before_its_own_request_is_answered_leaves_no_thread(tmp_path: Path) -> None:
    began, go = (str(tmp_path / name) for name in ("began", "go"))
    os.mkfifo(began)
    os.mkfifo(go)
    repository = add_model(tmp_path / "models")
    add_model(repository, WAITS.format(began=began, go=go), name="waits")
    code = f"""
do = pb_utils.Tensor("DO", np.array([b""], "O"))
ask = pb_utils.InferenceRequest(inputs=[do], requested_output_names=["DONE"], model_name="waits")
import os, threading
threading.Thread(target=ask.exec).start()
open({began!r}).close()
os._exit(1)
"""
    before = set(threading.enumerate())
    options = {"python_process_per_model": True, "allow_grpc": False, "exit_timeout_secs": LONG}
    with Emulator(repository, **options) as emulator:  # type: ignore[arg-type]
        readers = [thread for thread in set(threading.enumerate()) - before if thread.name == "model_0 stub"]
        assert "is not healthy" in infer(emulator, code).text
        for thread in readers:
            thread.join(LONG)
        open(go, "w").close()  # noqa: PTH123
    for thread in set(threading.enumerate()) - before:
        thread.join(LONG)
        assert not thread.is_alive(), thread


ITERATES = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.times = 0

    def execute(self, requests):
        self.times += 1
        for request in requests:
            sender = request.get_response_sender()
            for number in range(3):
                text = np.array([[f"{self.times}.{number} " + "x" * 50_000]], "O")
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("DONE", text)]))
            if self.times < 20:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            else:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
ITERATIVE = """
max_batch_size: 4
model_transaction_policy {decoupled: true}
sequence_batching {iterative_sequence: true}
"""


def test_a_request_that_is_executed_again_keeps_the_responses_sent_before(tmp_path: Path) -> None:
    add_model(tmp_path, ITERATES, config=CONFIG + ITERATIVE)
    with Emulator(tmp_path, python_process_per_model=True) as emulator:
        url = f"{emulator.url}/v2/models/model/generate_stream"
        lines = httpx.post(url, json={"DO": ""}, timeout=LONG).text.split("\n\n")
    got = [json.loads(line.removeprefix("data: "))["DONE"].split()[0] for line in lines if line]
    assert got == [f"{time}.{number}" for time in range(1, 21) for number in range(3)]


#: how many files that large tensors travel in a process has open
SHARED = """
import contextlib, os
result = 0
for descriptor in os.listdir("/proc/self/fd"):
    with contextlib.suppress(OSError):
        result += "memfd" in os.readlink(f"/proc/self/fd/{descriptor}")
"""


def test_large_tensors_leave_no_open_files(triton: Emulator) -> None:
    for _ in range(3):
        assert len(result(triton, f"result = 'y' * 200_000  # {'x' * 200_000}")) == 200_000
    assert result(triton, SHARED) == "0"
    assert result(triton, SHARED, "inside") == "0"


@pytest.mark.parametrize(
    "end",
    [
        "import ctypes; ctypes.string_at(0)",
        "import os; os._exit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'input()'])",
        "import os; os.fork() and os._exit(0)\nimport threading; threading.Event().wait(3)",
    ],
    ids=["segmentation-fault", "exit", "kill", "exec", "exit-beside-a-child"],
)
def test_a_process_that_ends_ends_only_its_instance(tmp_path: Path, end: str) -> None:
    for name in ("model", "other"):
        add_model(tmp_path, name=name)
    with Emulator(
        tmp_path, python_process_per_model=True, model_control_mode="explicit", load_models=("*",)
    ) as emulator:
        for code in (end, "result = 1"):
            answer = infer(emulator, code)
            assert (answer.status_code, answer.json()) == (
                500,
                {"error": "Stub process 'model_0' is not healthy."},
            )
        assert result(emulator, "result = 1", "other") == "1"
        for change in ("unload", "load"):
            url = f"{emulator.url}/v2/repository/models/model/{change}"
            assert httpx.post(url, timeout=LONG).is_success
        assert result(emulator, "result = 1") == "1"


def test_the_log_says_how_a_process_has_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(add_model(tmp_path), python_process_per_model=True) as emulator:
        pid = result(emulator, "import os; result = os.getpid()")
        infer(emulator, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert f"the process of model instance 'model_0' (pid {pid}) has ended: signal 9" in caplog.messages


def test_a_model_runs_other_models_in_processes_and_in_threads(triton: Emulator) -> None:
    code = """
def ask(model):
    do = pb_utils.Tensor("DO", np.array([b"import os; result = os.getpid()"], "O"))
    answer = pb_utils.InferenceRequest(inputs=[do], requested_output_names=["DONE"], model_name=model).exec()
    return answer.output_tensors()[0].as_numpy().item().decode()
result = [ask("other"), ask("inside")]
"""
    there = [result(triton, "import os; result = os.getpid()", model) for model in ("other", "inside")]
    assert result(triton, code) == str(there)


def test_a_model_loads_and_unloads_other_models(tmp_path: Path) -> None:
    for name in ("model", "other"):
        add_model(tmp_path, name=name)
    code = """
ready = [pb_utils.is_model_ready("other")]
for change in (pb_utils.load_model, pb_utils.unload_model):
    change("other")
    ready.append(pb_utils.is_model_ready("other"))
try:
    pb_utils.load_model("nobody")
except Exception as error:
    ready.append(type(error).__name__)
result = ready
"""
    with Emulator(
        tmp_path, python_process_per_model=True, model_control_mode="explicit", load_models=("model",)
    ) as emulator:
        assert result(emulator, code) == "[False, True, False, 'TritonModelException']"


def test_an_import_that_does_not_end_keeps_no_other_model_waiting(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    os.mkfifo(begun)
    os.mkfifo(go)
    models = add_model(tmp_path / "models")
    add_model(models, f"open({str(begun)!r}, 'w').close(); open({str(go)!r}).close()\n{RUNS}", name="slow")
    options: EmulatorOptions = {
        "model_control_mode": "explicit",
        "python_process_per_model": True,
        "disable_auto_complete_config": True,  # which imports the model once more
    }
    with Emulator(models, **options) as emulator, ThreadPoolExecutor(1) as pool:
        url = f"{emulator.url}/v2/repository/models"
        loading = pool.submit(httpx.post, f"{url}/slow/load", timeout=LONG)
        begun.open().close()
        assert httpx.post(f"{url}/model/load", timeout=LONG).is_success
        assert result(emulator, "result = 1") == "1"
        go.open("w").close()
        assert loading.result().is_success
        assert result(emulator, "result = 1", "slow") == "1"


def metrics_of(triton: Emulator) -> list[str]:
    text = httpx.get(str(triton.metrics_url), timeout=LONG).text
    return [line for line in text.splitlines() if line.startswith("own_")]


def test_metrics_of_a_model_are_shown_until_its_process_ends(tmp_path: Path) -> None:
    add_model(tmp_path)
    code = """
families = {
    kind: pb_utils.MetricFamily(f"own_{kind}", "", getattr(pb_utils.MetricFamily, kind.upper()))
    for kind in ("counter", "gauge", "histogram")
}
counter, gauge = (families[kind].Metric(labels={"a": "b"}) for kind in ("counter", "gauge"))
histogram = families["histogram"].Metric(buckets=[1.0])
counter.increment(2)
gauge.set(5)
histogram.observe(3)
kept.update(families=families, metrics=[counter, gauge, histogram])
result = counter.value() + gauge.value()
"""
    with Emulator(tmp_path, python_process_per_model=True, allow_metrics=True, metrics_port=0) as emulator:
        assert result(emulator, code) == "7.0"
        assert metrics_of(emulator) == [
            'own_counter{a="b"} 2',
            'own_gauge{a="b"} 5',
            "own_histogram_count 1",
            "own_histogram_sum 3",
            'own_histogram_bucket{le="1"} 0',
            'own_histogram_bucket{le="+Inf"} 1',
        ]
        infer(emulator, "import os; os._exit(0)")
        assert metrics_of(emulator) == []


def test_what_a_model_logs_is_in_the_servers_log_with_its_own_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Emulator(add_model(tmp_path), python_process_per_model=True) as emulator:
        result(emulator, "pb_utils.Logger.log_warn('it is late')")
    (record,) = [record for record in caplog.records if record.getMessage() == "it is late"]
    assert (record.levelname, record.pathname, record.lineno) == ("WARNING", "<string>", 1)


def test_what_a_model_prints_is_on_the_servers_console(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Emulator(add_model(tmp_path), python_process_per_model=True) as emulator:
        result(emulator, "print('printed')")
    assert "printed\n" in capfd.readouterr().out


FORKS = """
import multiprocessing, threading
child = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
child.start()
child.terminate()
child.join()
with multiprocessing.get_context("fork").Pool(2) as pool:
    squares = pool.map(abs, [-1, -2])
result = child.exitcode, squares
"""
SPAWNS = """
import concurrent.futures, multiprocessing, sys
model = sys.modules["1.model"]
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
    result = pool.submit(model.twice, 4).result()
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("code, answer", [(FORKS, "(-15, [1, 2])"), (SPAWNS, "8")], ids=["forked", "spawned"])
def test_processes_that_a_model_starts_work_and_end(tmp_path: Path, code: str, answer: str) -> None:
    add_model(tmp_path, RUNS + "\ndef twice(n): return 2 * n\n")
    with Emulator(tmp_path, python_process_per_model=True) as emulator:
        assert result(emulator, code) == answer
        assert result(emulator, "result = 1") == "1"


def test_a_model_is_finalized_and_its_process_ends_as_any_other(tmp_path: Path) -> None:
    told = tmp_path / "told"
    model = f"""
import atexit
from pathlib import Path

def tell(what):
    with Path({str(told)!r}).open("a") as file:
        file.write(what)

class TritonPythonModel:
    def initialize(self, args):
        atexit.register(tell, "exit ")

    def execute(self, requests): ...

    def finalize(self):
        tell("finalize ")
"""
    with Emulator(
        add_model(tmp_path / "models", model), python_process_per_model=True, exit_timeout_secs=LONG
    ):
        assert not told.exists()
    assert told.read_text() == "finalize exit "


def test_a_process_that_does_not_end_after_finalize_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stub_instance, "_EXIT_SECONDS", 0.1)
    add_model(
        tmp_path, RUNS + "\nimport threading; threading.Thread(target=threading.Event().wait).start()\n"
    )
    with Emulator(tmp_path, python_process_per_model=True, exit_timeout_secs=LONG) as emulator:
        pid = int(result(emulator, "import os; result = os.getpid()"))
    await_end(pid)
    text = "the process of model instance 'model_0' did not end within 0.1 s after its finalize; it is killed"
    assert text in caplog.messages


def test_a_process_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    add_model(tmp_path)
    ports = ["--http-port=0", "--allow-grpc=false", "--allow-metrics=false"]
    command = [sys.executable, "-m", "triton_emulator", f"--model-repository={tmp_path}", *ports]
    with subprocess.Popen(
        [*command, "--python-process-per-model"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "Started HTTPService at " in line:
                url = "http://" + line.split("HTTPService at ")[1].split()[0].strip('"')
                break
        body = {"DO": "import os; result = os.getpid()"}
        pid = int(httpx.post(f"{url}/v2/models/model/generate", json=body, timeout=LONG).json()["DONE"])
        server.kill()
    await_end(pid)


def test_a_signal_to_the_whole_group_does_not_end_a_model_before_its_server(tmp_path: Path) -> None:
    with Emulator(add_model(tmp_path), python_process_per_model=True) as emulator:
        pid = int(result(emulator, "import os; result = os.getpid()"))
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        assert result(emulator, "result = 1") == "1"


# --- EXECUTION_ENV_PATH ---------------------------------------------------------------------------------------------

ENVIRONMENT = 'parameters: {{key: "EXECUTION_ENV_PATH", value: {{string_value: "{}"}}}}\n'
IMPORTS = RUNS + "\nimport only_there\n"


def pack(archive: Path, *, activate: bool = True, site: str = "") -> Path:
    """A packed environment with this interpreter, a module `only_there` and what `site` adds to its path."""
    folder = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    files = {
        "pyvenv.cfg": f"home = {Path(sys.executable).resolve().parent}\ninclude-system-site-packages = false\n",
        f"{folder}/only_there.py": "WHERE = __file__\n",
        f"{folder}/site.pth": site,
        **({"bin/activate": ""} if activate else {}),
    }
    with tarfile.open(archive, "w:gz") as packed:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            packed.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, str(Path(sys.executable).resolve())
        packed.addfile(link)
    return archive


def numpys_folder() -> str:
    return f"{Path(np.__file__).parents[1]}\n"


@pytest.mark.parametrize("place", ["path", "model-directory", "folder"])
def test_a_model_runs_in_the_environment_that_its_config_names(tmp_path: Path, place: str) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "model").mkdir()
    archive = pack(models / "model" / "env.tar.gz", site=numpys_folder())
    named = str(archive)
    if place == "model-directory":
        named = "$$TRITON_MODEL_DIRECTORY/env.tar.gz"
    if place == "folder":
        named = str(tmp_path / "env")
        with tarfile.open(archive) as packed:
            packed.extractall(named, filter="tar")
    (models / "model" / "1").mkdir()
    (models / "model" / "config.pbtxt").write_text(CONFIG + ENVIRONMENT.format(named))
    (models / "model" / "1" / "model.py").write_text(IMPORTS)
    code = "import sys, only_there; result = sys.prefix == only_there.WHERE.partition('/lib/')[0]"
    with Emulator(models, python_process_per_model=True) as emulator:
        assert result(emulator, code) == "True"


@pytest.mark.parametrize(
    "activate, site, reason",
    [
        (
            False,
            "",
            "bin/activate does not exist. The Python environment should contain an 'activate' script.",
        ),
        (
            True,
            "",
            "cannot run a model for this emulator: ModuleNotFoundError: No module named 'numpy'; it needs",
        ),
    ],
    ids=["no-activate", "no-numpy"],
)
def test_an_environment_that_cannot_run_a_model_is_told(
    tmp_path: Path, activate: bool, site: str, reason: str
) -> None:
    archive = pack(tmp_path / "env.tar.gz", activate=activate, site=site)
    models = add_model(tmp_path / "models", config=CONFIG + ENVIRONMENT.format(archive))
    with pytest.raises(StartupError) as told, Emulator(models, python_process_per_model=True):
        pass
    assert reason in str(told.value)


def refusal(tmp_path: Path, environment: Path) -> str:
    """What is told of a model with that environment, which must not load."""
    models = add_model(tmp_path / "models", config=CONFIG + ENVIRONMENT.format(environment))
    with pytest.raises(StartupError) as told, Emulator(models, python_process_per_model=True):
        pass
    return str(told.value)


def test_a_missing_environment_is_told_as_by_triton(tmp_path: Path) -> None:
    missing = tmp_path / "env.tar.gz"
    assert f"Internal: Failed to get the canonical path for {missing}." in refusal(tmp_path, missing)


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("damage", ["cut-off", "changed"])
def test_an_environment_that_cannot_be_unpacked_is_told(
    tmp_path: Path, compression: str, damage: str
) -> None:
    archive = tmp_path / "env"
    with tarfile.open(archive, f"w:{compression}") as packed:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("bin/activate")
        entry.size = 1 << 18
        packed.addfile(entry, io.BytesIO(np.random.default_rng(0).bytes(entry.size)))
    data = archive.read_bytes()
    middle = len(data) // 2
    archive.write_bytes(data[:middle] + (b"" if damage == "cut-off" else bytes(1000) + data[middle + 1000 :]))
    told = f"Failed to extract the environment of EXECUTION_ENV_PATH '{archive}': "
    assert told in refusal(tmp_path, archive)


def test_an_environment_that_is_no_archive_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "env.tar.gz"
    archive.write_bytes(b"no archive")
    told = f"Failed to extract the environment of EXECUTION_ENV_PATH '{archive}': "
    assert told in refusal(tmp_path, archive)
