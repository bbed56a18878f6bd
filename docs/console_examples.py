"""Runs the ``console`` examples of a document as a reader would, and compares what the terminal shows.

A block with a title, such as ``yaml title="config.yaml"``, is a file: it is written into the document's folder.

- ``$ command`` is run by bash in the document's own folder; ``> `` continues it on the next line.
- The lines below it are what it prints (both streams); ``...`` stands for anything.
  Where there are no lines, only the exit code counts.
- A last line ``[2]`` is the exit code; without one it must be 0.
- ``$ command &`` starts a server. The next command waits until it has printed the lines below it.
  It is ended with the document.
- ``$ make target`` runs as ``make -n``, because it would change the checkout that this test runs in.
"""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sybil import Document, Region
from sybil.example import Example
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parent.parent
COMMAND_SECONDS = 300
READY_SECONDS = 120
TURN = "\0triton-emulator-documents"
"""An address in Linux's abstract namespace: one process at a time can have it, and loses it when it ends."""

# The rest of the opening line of a block that is a file: ```yaml title="config.yaml"
TITLED = re.compile(r'\w+ +title="(?P<title>[^"\n]+)" *$\n', re.MULTILINE)


class ExampleError(AssertionError):
    """A document's example does not do what the document says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command and what the document shows below it; `expected` is None where it shows nothing."""

    command: str
    expected: str | None
    exit_code: int = 0

    @property
    def in_background(self) -> bool:
        """Whether the command is a server that runs for the rest of the document."""
        return self.command.endswith("&") and not self.command.endswith("&&")


def parse(source: str) -> list[Step]:
    """Split one ``console`` block into its steps; raises `ExampleError` if it begins with no command."""
    commands: list[str] = []
    outputs: list[list[str]] = []
    for line in source.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
            outputs.append([])
        elif not commands:
            raise ExampleError(f"a console example begins with '$ command', not with {line!r}")
        elif (line == ">" or line.startswith("> ")) and not outputs[-1]:
            commands[-1] += "\n" + line[2:]
        else:
            outputs[-1].append(line)
    return [_step(command, lines) for command, lines in zip(commands, outputs, strict=True)]


def _step(command: str, lines: list[str]) -> Step:
    exit_code = 0
    if lines and (shown := re.fullmatch(r"\[(\d+)\]", lines[-1])):
        exit_code = int(shown[1])
        lines = lines[:-1]
    return Step(command, "\n".join(lines) if any(lines) else None, exit_code)


def matches(expected: str, printed: str) -> bool:
    """Whether the text is as shown, apart from ``...``, spaces at line ends and surrounding blank lines."""
    parts = [re.escape(part) for part in _tidy(expected).split("...")]
    return re.fullmatch(".*".join(parts), _tidy(printed), re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@dataclass(slots=True)
class Server:
    """A command that runs in the background. What it prints is kept in a file."""

    command: str
    process: subprocess.Popen[bytes]
    log: Path

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End the command and the processes that it started."""
        with _gone_is_fine():
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


@dataclass(slots=True)
class Terminal:
    """The folder, environment and background servers that the examples of one document share."""

    folder: Path
    servers: list[Server] = field(default_factory=list)

    def run(self, source: str) -> None:
        """Run one ``console`` block; raises `ExampleError` at the first step that differs."""
        for step in parse(source):
            if step.command.split()[0] in {"cd", "export"}:
                raise ExampleError(f"each command has a shell of its own, so {step.command!r} has no effect")
            if step.command.startswith("make "):
                self._rehearse(step)
            elif step.in_background:
                self._start(step)
            else:
                self._perform(step)

    def write(self, title: str, text: str) -> None:
        """Write a file that the document shows; raises `ExampleError` if it would be outside the document's folder."""
        path = self.folder / title
        folders = [folder for folder in path.parents if folder.is_relative_to(self.folder)]
        if Path(title).is_absolute() or ".." in Path(title).parts:
            raise ExampleError(f"{title!r} is not a file in the document's folder")
        # The folder holds links to the checkout, which an example must not change.
        if any(part.is_symlink() for part in (path, *folders)):
            raise ExampleError(f"{title!r} would change the checkout: choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def close(self) -> None:
        """End the servers in reverse order of their start; raises `ExampleError` if one had failed before."""
        failed = [server for server in self.servers if server.process.poll()]
        while self.servers:
            self.servers.pop().stop()
        for server in failed:
            raise ExampleError(
                f"$ {server.command}\nended with {server.process.returncode}:\n{server.printed()}"
            )

    def _perform(self, step: Step) -> None:
        with tempfile.TemporaryFile() as output:
            # Output goes to a file: a pipe stays open while a process that the command has started still runs.
            process = self._spawn(step.command, output.fileno())
            try:
                process.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise ExampleError(f"$ {step.command}\nhas not ended after {COMMAND_SECONDS} s") from None
            output.seek(0)
            printed = output.read().decode(errors="replace")
        self._compare(step, printed, process.returncode)

    def _start(self, step: Step) -> None:
        log = self.folder / f".server-{len(self.servers)}.log"
        with log.open("wb") as output:
            process = self._spawn(step.command.removesuffix("&"), output.fileno())
        server = Server(step.command, process, log)
        self.servers.append(server)
        give_up = time.monotonic() + READY_SECONDS
        while step.expected is not None and not matches(step.expected + "...", server.printed()):
            if process.poll() is not None or time.monotonic() > give_up:
                raise ExampleError(_difference(step, server.printed(), process.returncode or 0))
            time.sleep(0.02)

    def _rehearse(self, step: Step) -> None:
        output = subprocess.run(
            ["make", "-n", *step.command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if output.returncode:
            raise ExampleError(f"$ {step.command}\n{output.stderr}")

    def _compare(self, step: Step, printed: str, exit_code: int) -> None:
        as_shown = step.expected is None or matches(step.expected, printed)
        if exit_code != step.exit_code or not as_shown:
            logs = [f"\n--- printed by {server.command}\n{server.printed()}" for server in self.servers]
            raise ExampleError(_difference(step, printed, exit_code) + "".join(logs))

    def _spawn(self, command: str, output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def files_of(document: Document) -> Iterable[Region]:
    """Find the blocks of a document that have a title: each is a file."""
    for region in RawFencedCodeBlockLexer(TITLED)(document):
        region.parsed = (region.lexemes["title"], str(region.lexemes["source"]))
        region.evaluator = on_terminal(lambda terminal, file: terminal.write(*file))
        yield region


def on_terminal(step: Callable[[Terminal, Any], None]) -> Callable[[Example], str | None]:
    """Make an evaluator of Sybil: it takes a step with what is parsed, and returns an `ExampleError` as its text."""

    def evaluate(example: Example) -> str | None:
        try:
            step(example.namespace["document_terminal"], example.parsed)
        except ExampleError as fault:
            return str(fault)
        return None

    return evaluate


def _difference(step: Step, printed: str, exit_code: int) -> str:
    shown = "(only the exit code counts)" if step.expected is None else step.expected
    return (
        f"$ {step.command}\n--- the document shows, with exit code {step.exit_code}\n{shown}"
        f"\n--- the command printed, with exit code {exit_code}\n{printed}"
    )


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """The reader's environment: this checkout's programs first, plain English text without colours."""
    programs = str(ROOT / ".venv" / "bin")
    plain = {"COLUMNS": "100", "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
    # A reader's shell does not have the variables that pytest sets.
    kept = {name: value for name, value in outer.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    return kept | plain | {"PATH": f"{programs}{os.pathsep}{outer['PATH']}"}


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other run of documents is using the ports that are written in them, and keep the others waiting.

    That holds for all runs on a machine that share a network. Elsewhere than on Linux nothing is held.
    """
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX) as held:
        while not _bound(held):
            time.sleep(0.05)
        yield


def _bound(one: socket.socket) -> bool:
    try:
        one.bind(TURN)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


@contextmanager
def scratch_checkout() -> Iterator[Path]:
    """Make a folder of links to the checkout, so that an example writes no file into the checkout."""
    with tempfile.TemporaryDirectory(prefix="document-") as name:
        folder = Path(name)
        for entry in ROOT.iterdir():
            if entry.name == ".venv" or not entry.name.startswith("."):
                (folder / entry.name).symlink_to(entry)
        yield folder
