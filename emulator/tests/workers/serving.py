"""A server with several workers, as a program of its own; its log says which process did what."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DOUBLE = """
backend: "onnxruntime"
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }
"""
LLM = """
backend: "tensorrtllm"
model_transaction_policy { decoupled: true }
input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
output { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
"""
#: the body of a request to DOUBLE
ASK = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}

_LISTENS = re.compile(r'"Started (HTTPService|GRPCInferenceService|Metrics Service) at (127\.0\.0\.1:\d+)"')
_WORKERS = re.compile(r'"Started \d+ workers, which are the processes ([\d, ]+)"')


def add_model(repository: Path, name: str, config: str, model: str = "") -> None:
    """Add a model with the version 1; `model` is the text of its model.py."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    if model:
        (repository / name / "1" / "model.py").write_text(model)


def command(repository: Path, *flags: str) -> list[str]:
    """The command, on free ports unless `flags` name others."""
    free = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")
    return [
        sys.executable,
        "-m",
        "triton_emulator.cli",
        f"--model-repository={repository}",
        *free,
        *flags,
    ]


class Serving:
    """A server whose start is over. `log` is what has been read of its log."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        self.process = process
        self._lines = iter(process.stderr)
        self.log = ""
        found: dict[str, str] = {}
        while "Metrics Service" not in found:
            line = self.read()
            if (listens := _LISTENS.search(line)) is not None:
                found[listens[1]] = listens[2]
        self.http = f"http://{found.get('HTTPService', '')}"
        self.grpc = found.get("GRPCInferenceService", "")
        self.metrics = f"http://{found['Metrics Service']}/metrics"
        workers = _WORKERS.search(self.log)
        self.workers = [int(pid) for pid in workers[1].split(", ")] if workers else []

    def read(self) -> str:
        """The next line of the log. Fails where the server has ended."""
        line = next(self._lines, "")
        assert line, self.log
        self.log += line
        return line

    def wait_for(self, text: str, *, when: Callable[[str], bool] = lambda _: True) -> str:
        """Read the log up to a line with this text; returns the line."""
        while True:
            line = self.read()
            if text in line and when(line):
                return line

    def rest(self) -> str:
        """What comes until the end of the log, which is when the server and all its workers have ended."""
        return "".join(self._lines)


@contextmanager
def serving(repository: Path, *flags: str) -> Iterator[Serving]:
    """A server that serves; it is killed at the end if it still does."""
    words = command(repository, *flags)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()


def ended(repository: Path, *flags: str) -> tuple[int, str]:
    """The exit code of a server that does not start, and what it prints."""
    done = subprocess.run(
        command(repository, *flags), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def process_of(line: str) -> int:
    """The process that has written a line of the log."""
    return int(line.split()[2])
