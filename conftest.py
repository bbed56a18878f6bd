"""What every test folder shares: anyio's backend, and the documents whose examples are tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from docs.console_examples import ExampleError, Terminal, scratch_checkout


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def document_terminal() -> Iterator[Terminal]:
    """Give a document its folder, which is the current one for its Python examples too."""
    before = Path.cwd()
    with scratch_checkout() as folder:
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


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Let one worker run a whole file: its servers start once. The documents share one, as they share ports."""
    for item in items:
        group = "documents" if item.path.suffix == ".md" else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
