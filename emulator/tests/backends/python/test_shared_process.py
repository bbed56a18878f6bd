"""What a model changes that the process has only one of is done, and told once for each model."""

import logging
import os
from pathlib import Path

import pytest

from emulator.tests.backends.python.lab import definition
from triton_emulator.backends.python import loading as python
from triton_emulator.backends.python.loading import auto_complete
from triton_emulator.engine.executor import LoadError

CONFIG = """
backend: "python"
output { name: "Y" data_type: TYPE_STRING dims: -1 }
"""
MODEL = """
import os

class TritonPythonModel:
    def initialize(self, args):
        {code}
"""
SHARED = (
    ": all models and the server share one process. "
    "--python-process-per-model gives the model a process of its own"
)


def written(folder: Path, code: str, instances: int = 1) -> Path:
    (folder / "m" / "1").mkdir(parents=True)
    group = f"instance_group {{ count: {instances} kind: KIND_CPU }}"
    (folder / "m" / "config.pbtxt").write_text(CONFIG + group)
    (folder / "m" / "1" / "model.py").write_text(MODEL.format(code=code))
    return folder


def loaded(repository: Path, hooks: python.Hooks | None = None) -> None:
    python.load(definition("m", repository=repository), hooks).finalize()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    "code, told",
    [
        ("os.chdir(os.getcwd())", "calls os.chdir, which changes the working directory"),
        ("from os import umask; umask(umask(0o22))", "calls os.umask, which changes the mask for new files"),
        ("os.environ['OF_A_MODEL'] = '1'", "sets the environment variable 'OF_A_MODEL'"),
        ("os.environ.update(OF_A_MODEL='1')", "sets the environment variable 'OF_A_MODEL'"),
        ("del os.environ['OF_THE_TEST']", "deletes the environment variable 'OF_THE_TEST'"),
        ("os.putenv('OF_A_MODEL', '1')", "calls os.putenv, which changes the environment"),
        ("os.setuid(os.getuid())", "calls os.setuid, which changes the user"),
        (
            "import locale; locale.setlocale(locale.LC_CTYPE, locale.setlocale(locale.LC_CTYPE))",
            "calls locale.setlocale, which changes the locale",
        ),
        (
            "import importlib; importlib.import_module('os').chdir(os.getcwd())",
            "calls os.chdir, which changes the working directory",
        ),
        (
            "import sys; sys.modules['os'].chdir(os.getcwd())",
            "calls os.chdir, which changes the working directory",
        ),
        (
            "os.closerange(0, 1 << 16)",
            (
                "calls os.closerange; nothing is closed, "
                "as these are also the descriptors of the server and of other models"
            ),
        ),
    ],
)
def test_a_change_of_the_process_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    monkeypatch.setenv("OF_THE_TEST", "1")
    monkeypatch.setenv("OF_A_MODEL", "0")
    loaded(written(tmp_path, code))
    assert warnings(caplog) == [f"model 'm' {told}{SHARED}"]


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['OF_THE_TEST'] = '1'",
        "os.environ.setdefault('OF_THE_TEST', '2')",
        "os.environ.pop('OF_NOBODY', None)",
        "import locale; locale.setlocale(locale.LC_ALL)",
        "import signal; signal.getsignal(signal.SIGINT)",
        "pid = os.fork(); os.waitpid(pid, 0) if pid else (os.chdir('/'), os._exit(0))",
    ],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_changes_nothing_here_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setenv("OF_THE_TEST", "1")
    loaded(written(tmp_path, code))
    assert warnings(caplog) == []


def test_a_model_is_told_of_once_for_all_its_instances_loads_and_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = "os.chdir(os.getcwd()); os.umask(os.umask(0o22))"
    repository = written(tmp_path, code, instances=2)
    hooks = python.Hooks()
    auto_complete(definition("m", repository=repository), hooks)
    loaded(repository, hooks)
    loaded(repository, hooks)
    assert len(warnings(caplog)) == 1


def test_what_a_model_sets_in_the_environment_is_set_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_A_MODEL", "0")
    loaded(written(tmp_path, "os.environ['OF_A_MODEL'] = os.environ.get('OF_A_MODEL') + '1'"))
    assert os.environ["OF_A_MODEL"] == os.getenv("OF_A_MODEL") == "01"


def test_a_model_that_sets_a_signal_handler_fails_and_is_told_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)"
    with pytest.raises(LoadError, match="signal only works in main thread"):
        loaded(written(tmp_path, code))
    (told,) = warnings(caplog)
    assert told == (
        "model 'm' calls signal.signal, which changes the handler of a signal, which only code on the main thread may, "
        f"where no model runs{SHARED}"
    )
