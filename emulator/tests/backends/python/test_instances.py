"""Instances of Python models: their threads, their modules, and how they are initialised and finalised."""

import builtins
import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from emulator.tests.backends.python.lab import Emulated, case, definition, in_text
from triton_emulator.backends.python import loading as python
from triton_emulator.backends.python.executor import PythonExecutor
from triton_emulator.backends.python.loading import auto_complete
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.tensor import Tensor

CONFIG = """
backend: "python"
input { name: "X" data_type: TYPE_FP32 dims: -1 optional: true }
output { name: "Y" data_type: TYPE_STRING dims: -1 }
"""
HEAD = """
import numpy as np
import triton_python_backend_utils as pb_utils

def say(*values):
    return pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.array([repr(v) for v in values], dtype=object))])
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model into a repository of the test's own, which it returns."""

    def model(name: str, code: str, config: str = "", version: int = 1) -> Path:
        folder = tmp_path / name / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "config.pbtxt").write_text(CONFIG + config)
        (folder / "model.py").write_text(HEAD + code)
        return tmp_path

    return model


def load(repository: Path, name: str) -> PythonExecutor:
    return python.load(definition(name, repository=repository))


def said(executor: PythonExecutor, instance: int = 0, *, x: Tensor | None = None) -> list[str]:
    """What the model answers to a request, executed on the thread of that instance."""
    done: list[InferResponse | None] = []
    ended = threading.Event()

    def deliver(response: InferResponse | None, final: bool) -> None:
        done.append(response)
        if final:
            ended.set()

    request = InferRequest("m", inputs=[x] if x else [])
    call = Call(request, 1, deliver, lambda put, response, final: put(response, final))
    executor.start_worker(instance, lambda: executor.execute([call], instance))
    assert ended.wait(60)
    assert done[0] is not None
    return [done[0].error.message] if done[0].error else in_text(done[0])


def auto_complete_of(repository: Path, name: str) -> object:
    return auto_complete(definition(name, repository=repository))


THREADS = """
import threading

class TritonPythonModel:
    def initialize(self, args):
        self.name = args["model_instance_name"]
        self.threads = {threading.current_thread()}
        SEEN[self.name] = self.threads

    def execute(self, requests):
        self.threads.add(threading.current_thread())
        return [say(self.name) for _ in requests]

    def finalize(self):
        self.threads.add(threading.current_thread())
"""


def test_an_instance_is_initialised_executed_and_finalised_on_one_thread_of_its_own(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[threading.Thread]] = {}
    monkeypatch.setattr(threading, "seen_by_the_test", seen, raising=False)
    code = THREADS.replace("SEEN", "threading.seen_by_the_test")
    executor = load(write("m", code, "instance_group { count: 2 kind: KIND_CPU }"), "m")
    assert said(executor, 0) == ["'m_0_0'"]
    assert said(executor, 1) == ["'m_0_1'"]
    executor.finalize()
    first, second = seen["m_0_0"], seen["m_0_1"]
    assert len(first) == len(second) == 1
    assert first.isdisjoint(second)


def test_an_instance_group_names_and_counts_instances(write: Write) -> None:
    groups = 'instance_group [{ name: "a" count: 2 kind: KIND_CPU }, { name: "b" kind: KIND_CPU }]'
    code = """
class TritonPythonModel:
    def initialize(self, args):
        self.args = args

    def execute(self, requests):
        return [say(self.args["model_instance_name"], self.args["model_instance_kind"])]
"""
    executor = load(write("m", code, groups), "m")
    assert executor.instances == 3
    assert [said(executor, at)[0] for at in range(3)] == ["'a_0'", "'a_1'", "'b_0'"]
    executor.finalize()


def test_a_model_that_loops_delays_no_other_and_sees_its_cancellation() -> None:
    emulated = Emulated()
    code = "def execute(requests):\n    while not requests[0].is_cancelled(): pass\n    return [say('seen')]"
    answers: list[InferResponse | None] = []
    ended = threading.Event()

    def deliver(response: InferResponse | None, final: bool) -> None:
        answers.append(response)
        ended.set()

    looping = Call(case(code), 1, deliver, lambda put, response, final: put(response, final))
    executor = emulated.executor("lab")
    executor.start_worker(0, lambda: executor.execute([looping], 0))
    others = emulated.ask(case("def execute(requests):\n    return [say(1)]", model="lab_target"))
    assert others == [[[("SAID", "BYTES", (1,), b"\x01\x00\x00\x001")]]]
    looping.cancelled = True
    assert ended.wait(60)
    assert answers[0] is not None
    assert in_text(answers[0]) == ["'seen'"]
    emulated.close()


def test_the_requests_of_a_batch_are_answered_each_on_its_own() -> None:
    emulated = Emulated()
    code = """def execute(requests):
    error = pb_utils.InferenceResponse(error=pb_utils.TritonError("not this one"))
    return [say(len(requests), requests[0].request_id()), error]"""
    first, second = emulated.ask(case(code, id="a"), case(code, id="b"))
    assert first == [[("SAID", "BYTES", (2,), b"\x01\x00\x00\x002\x03\x00\x00\x00'a'")]]
    assert second == ["not this one"]
    emulated.close()


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        pytest.param("raise ValueError('x')", True, id="a raise is a failure"),
        pytest.param(
            "return [pb_utils.InferenceResponse(error=pb_utils.TritonError('x'))]",
            False,
            id="an error is none",
        ),
        pytest.param("return [say(1)]", False, id="a response is none"),
    ],
)
def test_what_counts_as_a_failure(code: str, failed: bool) -> None:
    emulated = Emulated()
    call = Call(case(f"def execute(requests):\n    {code}"), 1, lambda *_: None, lambda *_: None)
    emulated.executor("lab").execute([call], 0)
    assert call.failed is failed
    marks = [
        call.times.compute_start,
        call.times.input_end,
        call.times.output_start,
        call.times.compute_end,
    ]
    assert 0 not in marks
    assert marks == sorted(marks)
    emulated.close()


def test_what_a_model_writes_into_its_inputs_does_not_change_the_request(write: Write) -> None:
    code = """
class TritonPythonModel:
    def execute(self, requests):
        array = requests[0].inputs()[0].as_numpy()
        array += 1
        return [say(array.tolist())]
"""
    executor = load(write("m", code), "m")
    sent = Tensor("X", "FP32", (2,), data=np.array([1, 2], np.float32).tobytes())
    assert said(executor, x=sent) == ["[2.0, 3.0]"]
    assert sent.array.tolist() == [1, 2]
    executor.finalize()


def test_a_model_is_read_again_even_if_its_size_and_time_are_unchanged(write: Write) -> None:
    code = "class TritonPythonModel:\n    def execute(self, requests):\n        return [say({})]\n"
    file = write("m", code.format(1)) / "m" / "1" / "model.py"
    os.utime(file, (1e9, 1e9))
    executor = load(file.parents[2], "m")
    assert said(executor) == ["1"]
    executor.finalize()
    write("m", code.format(2))
    os.utime(file, (1e9, 1e9))
    executor = load(file.parents[2], "m")
    assert said(executor) == ["2"]
    executor.finalize()
    assert not (file.parent / "__pycache__").exists()


def test_what_two_models_add_to_the_path_in_initialize_stays_apart(write: Write) -> None:
    code = """
import os
import sys

class TritonPythonModel:
    def initialize(self, args):
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "more"))
        import added

        self.word = added.WORD

    def execute(self, requests):
        import added

        return [say(self.word, added.WORD)]
"""
    for name in ("one", "two"):
        more = write(name, code) / name / "1" / "more"
        more.mkdir()
        (more / "added.py").write_text(f"WORD = {name!r}\n")
    one, two = load(more.parents[2], "one"), load(more.parents[2], "two")
    assert said(one) == ["'one'", "'one'"]
    assert said(two) == ["'two'", "'two'"]
    one.finalize()
    two.finalize()


def test_what_a_model_sets_in_its_interpreter_is_not_seen_by_the_host_program(write: Write) -> None:
    code = """
import builtins
import sys
import unittest.mock

class TritonPythonModel:
    def execute(self, requests):
        sys.path.append("/of/the/model")
        builtins.of_the_model = "built in"
        with unittest.mock.patch.dict(sys.modules, {"json": "a fake", "of_the_model": "another"}):
            import json
            import of_the_model as fake
            inside = json, fake
        import json
        return [say(of_the_model, *inside, json.dumps(1), "of_the_model" in sys.modules, sys.modules["sys"] is sys)]
"""
    executor = load(write("m", code), "m")
    modules = {name: module for name, module in sys.modules.items() if name in ("json", "os", "sys")}
    path = list(sys.path)
    assert said(executor) == ["'built in'", "'a fake'", "'another'", "'1'", "False", "True"]
    assert {name: sys.modules[name] for name in modules} == modules
    assert sys.path == path
    assert "of_the_model" not in sys.modules
    assert not hasattr(builtins, "of_the_model")
    executor.finalize()


@pytest.mark.parametrize("way", ["pickle.loads", "runpy.run_path", "importlib.util"])
def test_modules_that_installed_code_imports_for_a_model_are_the_models(write: Write, way: str) -> None:
    code = """
import importlib.util
import pickle
import runpy
import sys

FOLDER = __file__.rpartition("/")[0] + "/../../more_of_" + __file__.split("/")[-3]
WAYS = {
    "pickle.loads": lambda: pickle.loads(b"cfound\\nWORD\\n."),
    "runpy.run_path": lambda: runpy.run_path(FOLDER + "/program.py")["WORD"],
    "importlib.util": lambda: by_path(),
}

def by_path():
    spec = importlib.util.spec_from_file_location("program", FOLDER + "/program.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WORD

class TritonPythonModel:
    def execute(self, requests):
        sys.path.append(FOLDER)
        return [say(WAYS["{way}"](), sys.modules["found"].WORD)]
""".replace("{way}", way)
    for name in ("one", "two"):
        more = write(name, code) / f"more_of_{name}"
        more.mkdir()
        (more / "found.py").write_text(f"WORD = {name!r}")
        (more / "program.py").write_text("from found import WORD")
    one, two = load(more.parent, "one"), load(more.parent, "two")
    assert [said(one), said(two), said(one)] == [["'one'", "'one'"], ["'two'", "'two'"], ["'one'", "'one'"]]
    one.finalize()
    two.finalize()


def test_modules_of_the_host_program_and_of_a_model_are_kept_apart(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import helper_of_both
import triton_python_backend_utils as again

class TritonPythonModel:
    def execute(self, requests):
        import helper_of_both as later
        import importlib

        third = importlib.import_module("helper_of_both")
        return [say(helper_of_both.WORD, later is helper_of_both, third is later, again is pb_utils)]
"""
    repository = write("m", code)
    (repository / "m" / "1" / "helper_of_both.py").write_text("WORD = 'the model'")
    ours = {name: ModuleType(name) for name in ("helper_of_both", "triton_python_backend_utils")}
    for name, module in ours.items():
        monkeypatch.setitem(sys.modules, name, module)
    executor = load(repository, "m")
    assert said(executor) == ["'the model'", "True", "True", "True"]
    assert {name: sys.modules[name] for name in ours} == ours
    executor.finalize()
    assert {name: sys.modules[name] for name in ours} == ours


def test_two_loads_of_one_model_share_no_module(write: Write) -> None:
    code = """
COUNT = []

class TritonPythonModel:
    def execute(self, requests):
        COUNT.append(1)
        return [say(len(COUNT))]
"""
    repository = write("m", code)
    one, other = load(repository, "m"), load(repository, "m")
    assert [said(one), said(one), said(other)] == [["1"], ["2"], ["1"]]
    one.finalize()
    other.finalize()


@pytest.mark.parametrize("step", [load, auto_complete_of], ids=["it is loaded", "it is completed"])
def test_asyncio_has_a_loop_where_a_model_is_imported_when(
    write: Write, step: Callable[[Path, str], object]
) -> None:
    code = """
import asyncio

SLEPT = asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, "slept"))

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config
"""
    assert step(write("m", code), "m") is not None


def test_an_unloaded_model_is_freed(write: Write) -> None:
    code = """
import threading

class TritonPythonModel:
    def initialize(self, args):
        threading.held_by_the_test = self

    def execute(self, requests):
        return [say(1)]
"""
    executor = load(write("m", code), "m")
    held: Any = threading
    model = weakref.ref(held.held_by_the_test)
    del held.held_by_the_test
    assert said(executor) == ["1"]
    threads = {thread.name for thread in threading.enumerate()}
    assert "m_0" in threads
    executor.finalize()
    del executor
    gc.collect()
    assert model() is None


def test_an_instance_that_fails_ends_those_that_did_not(write: Write) -> None:
    code = """
class TritonPythonModel:
    def initialize(self, args):
        import threading
        self.ended = threading.ended_for_the_test
        if args["model_instance_name"] == "m_0_1":
            raise RuntimeError("no second one")

    def execute(self, requests):
        pass

    def finalize(self):
        self.ended.append(1)
"""
    held: Any = threading
    ended: list[int] = []
    held.ended_for_the_test = ended
    with pytest.raises(LoadError, match="RuntimeError: no second one"):
        load(write("m", code, "instance_group { count: 2 kind: KIND_CPU }"), "m")
    del held.ended_for_the_test
    assert ended == [1]


def test_a_finalize_that_raises_is_only_logged(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    code = """
class TritonPythonModel:
    def execute(self, requests):
        pass

    def finalize(self):
        raise KeyError("too late")
"""
    executor = load(write("m", code), "m")
    with caplog.at_level(logging.INFO):
        executor.finalize()
    assert any("KeyError: 'too late'" in message for message in caplog.messages)


def test_a_log_line_names_the_models_file_and_line(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    code = """
class TritonPythonModel:
    def execute(self, requests):
        pb_utils.Logger.log_warn("look")
        return [say(1)]
"""
    executor = load(write("m", code), "m")
    with caplog.at_level(logging.DEBUG):
        said(executor)
    (record,) = [record for record in caplog.records if record.getMessage() == "look"]
    assert (record.filename, record.lineno, record.levelname) == ("model.py", 10, "WARNING")
    executor.finalize()


def test_a_coroutine_finds_the_loop_that_an_earlier_request_used(write: Write) -> None:
    code = """
import asyncio

class TritonPythonModel:
    loop = None

    async def execute(self, requests):
        await asyncio.sleep(0)
        first, self.loop = self.loop, asyncio.get_running_loop()
        return [say(first is None or first is self.loop)]
"""
    executor = load(write("m", code), "m")
    assert [said(executor), said(executor)] == [["True"], ["True"]]
    executor.finalize()


def test_asyncio_has_a_loop_where_initialize_runs(write: Write) -> None:
    code = """
import asyncio

class TritonPythonModel:
    def initialize(self, args):
        self.loop = asyncio.get_event_loop()

    def execute(self, requests):
        return [say(self.loop.run_until_complete(asyncio.sleep(0, "slept")))]
"""
    executor = load(write("m", code), "m")
    assert said(executor) == ["'slept'"]
    executor.finalize()


def test_auto_complete_config_completes_what_the_file_leaves_open(write: Write) -> None:
    code = """
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "NEW", "data_type": "TYPE_INT32", "dims": [4]})
        config.add_output({"name": "Y", "data_type": "TYPE_STRING", "dims": [-1]})
        config.set_max_batch_size(8)
        config.set_dynamic_batching()
        config.set_model_transaction_policy({"decoupled": True})
        return config
"""
    completed = auto_complete(definition("m", repository=write("m", code)))
    assert completed is not None
    assert [tensor["name"] for tensor in completed["input"]] == ["X", "NEW"]
    assert completed["input"][1] == {"name": "NEW", "data_type": "TYPE_INT32", "dims": [4]}
    assert completed["max_batch_size"] == 8
    assert completed["dynamic_batching"] == {}
    assert completed["model_transaction_policy"] == {"decoupled": True}


def test_a_model_without_auto_complete_config_completes_nothing(write: Write) -> None:
    code = "class TritonPythonModel: pass"
    assert auto_complete(definition("m", repository=write("m", code))) is None


ENVIRONMENT = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/envs/a.tar.gz" } }'


def test_a_model_with_an_execution_environment_runs_in_the_emulators_python_and_says_so(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    load(write("m", "import json\nclass TritonPythonModel: pass", ENVIRONMENT), "m").finalize()
    warning = (
        "EXECUTION_ENV_PATH '/envs/a.tar.gz' of model 'm' is not used: model.py runs in the emulator's own Python, "
        f"{sys.executable}; --python-process-per-model runs it with that environment"
    )
    assert [record.getMessage() for record in caplog.records] == [warning]


@pytest.mark.parametrize("step", [load, auto_complete_of])
def test_a_module_that_the_environment_would_have_is_asked_for_in_the_emulators_python(
    write: Write, step: Callable[[Path, str], object]
) -> None:
    repository = write("m", "import not_installed_here", ENVIRONMENT)
    with pytest.raises(LoadError) as refused:
        step(repository, "m")
    first, *_, last = str(refused.value).splitlines()
    assert first == "Internal: ModuleNotFoundError: No module named 'not_installed_here'"
    assert last == (
        "EXECUTION_ENV_PATH '/envs/a.tar.gz' is not used here: model.py runs in the emulator's own Python, "
        f"{sys.executable}; install there what the model imports, or give the model a process of its own, which uses "
        "it (--python-process-per-model)"
    )


def test_another_fault_of_a_model_with_an_environment_is_told_as_ever(write: Write) -> None:
    with pytest.raises(LoadError) as refused:
        load(write("m", "raise ValueError('mine')", ENVIRONMENT), "m")
    assert "EXECUTION_ENV_PATH" not in str(refused.value)


def test_a_missing_file_is_named(write: Write) -> None:
    repository = write("m", "")
    (repository / "m" / "1" / "model.py").unlink()
    with pytest.raises(LoadError) as raised:
        load(repository, "m")
    assert str(raised.value) == f"Internal: Python model file not found in '{repository}/m/1/model.py'"


def test_a_file_of_another_kind_is_refused(write: Write) -> None:
    with pytest.raises(LoadError, match=r"Model name must end with '\.py'"):
        load(write("m", "", 'default_model_filename: "model.pyc"'), "m")


@pytest.mark.parametrize("ended", [False, True], ids=["while it is loaded", "after its end"])
def test_code_of_one_model_may_import_during_the_import_of_another(
    write: Write, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """A `__del__` may import too, and the garbage collector may call it at any moment."""
    monkeypatch.setattr(threading, "of_the_other", [], raising=False)
    other = """
import threading

def later():
    import beside
    return beside.WORD

threading.of_the_other.append(later)

class TritonPythonModel:
    def execute(self, requests):
        return [say("the other")]
"""
    code = """
import threading

FOUND = threading.of_the_other[0]()
import beside

class TritonPythonModel:
    def execute(self, requests):
        import sys
        return [say(FOUND, beside.WORD, sys.modules[__name__] is sys.modules[type(self).__module__])]
"""
    repository = write("other", other)
    write("m", code)
    for name in ("other", "m"):
        (repository / name / "1" / "beside.py").write_text(f"WORD = 'beside {name}'")
    first = load(repository, "other")
    if ended:
        first.finalize()
    second = load(repository, "m")
    assert said(second) == ["'beside other'", "'beside m'", "True"]
    second.finalize()
    if not ended:
        assert said(first) == ["'the other'"]
        first.finalize()


@pytest.mark.parametrize("where", ["model.py", "beside.py", "package/__init__.py", "package/part.py"])
def test_another_thread_may_take_modules_of_a_model_from_sys_modules_while_they_are_imported(
    write: Write, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """coverage.py does, on each thread that it traces, when `sys.path` has changed."""
    run: list[str] = []
    monkeypatch.setattr(threading, "run_by_the_test", run, raising=False)
    files = {
        "beside.py": "",
        "package/__init__.py": "import beside\n",
        "package/part.py": "",
        "model.py": """
import beside
import package.part

class TritonPythonModel:
    def execute(self, requests):
        import beside as later
        import package

        return [say(later is beside, package.part is sys.modules["package.part"], __name__ in sys.modules)]
""",
    }

    def forget() -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] in ("1", "beside", "package"):
                del sys.modules[name]

    monkeypatch.setattr(threading, "forget_of_the_test", forget, raising=False)
    forgets = """
thread = threading.Thread(target=threading.forget_of_the_test)
thread.start()
thread.join()
"""
    folder = write("m", "") / "m" / "1"
    (folder / "package").mkdir()
    for name, code in files.items():
        before = f"import sys\nimport threading\nthreading.run_by_the_test.append({name!r})\n"
        whole = before + code + (forgets if name == where else "")
        (folder / name).write_text(HEAD + whole if name == "model.py" else whole)
    executor = load(folder.parents[1], "m")
    assert said(executor) == ["True", "True", "True"]
    assert run == ["model.py", "beside.py", "package/__init__.py", "package/part.py"]
    executor.finalize()


def test_a_key_error_of_a_models_own_code_ends_its_import(write: Write) -> None:
    with pytest.raises(LoadError, match=r"KeyError: '1\.model'"):
        load(write("m", "raise KeyError(__name__)"), "m")
