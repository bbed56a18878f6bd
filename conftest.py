"""What every test folder shares: anyio's backend, and the documents whose examples are tests."""

import inspect
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
from sybil import Sybil
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from docs.console_examples import ExampleError, Terminal, scratch_checkout, turn

# httpx gives up after 5 seconds without a byte, by one object that is the default of all its functions and clients.
# A server on a busy machine may need longer, so only a hang reaches the limit of the tests.
for _limit in ("connect", "read", "write", "pool"):
    setattr(inspect.signature(httpx.get).parameters["timeout"].default, _limit, 60.0)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def document_terminal() -> Iterator[Terminal]:
    """Give a document its folder, which is the current one for its Python examples too."""
    before = Path.cwd()
    with turn(), scratch_checkout() as folder:
        os.chdir(folder)
        terminal = Terminal(folder)
        try:
            yield terminal
            terminal.close()
        finally:
            os.chdir(before)


def run_console(example: Example) -> str | None:
    """Give Sybil the difference as its failure text, or None."""
    terminal: Terminal = example.namespace["document_terminal"]
    try:
        terminal.run(example.parsed)
    except ExampleError as difference:
        return str(difference)
    return None


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("console", run_console), PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/**/*.md"],
    fixtures=["document_terminal"],
).pytest()


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Let one worker run a whole file: its servers start once. The documents share one, as they share ports; the proof,
    half of all the time, is cut between groups of cases, whose servers are their own.
    """

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        if path.endswith("/test_emulator_equals_triton.py"):
            case = nodeid.partition("[")[2].removesuffix("]")
            return f"{path} {proof_parts()[case]}"
        return "documents" if path.endswith(".md") else path


@cache
def proof_parts() -> dict[str, int]:
    """Which part of the proof a case is in, by the case's id."""
    from contract_tests.tests.test_emulator_equals_triton import (
        PART_OF,  # only who shares the tests out wants it
    )

    return PART_OF


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Share the files out, whatever `--dist` says."""
    return ByFile(config, log)
