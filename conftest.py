"""Fixtures and hooks of all test folders: anyio's backend, and the documents whose examples are tests."""

import gc
import inspect
import os
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from docs.console_examples import Terminal, files_of, on_terminal, scratch_checkout, turn

if TYPE_CHECKING:
    from emulator.tests.control.browser import Browser

# httpx gives up after 5 seconds without a byte, by one object that is the default of all its functions and clients.
# A server on a busy machine may need longer, so only a hang reaches the limit of the tests.
for _limit in ("connect", "read", "write", "pool"):
    setattr(inspect.signature(httpx.get).parameters["timeout"].default, _limit, 60.0)

# httpx reads all certificates of the machine for each client, and each of its functions makes a client: 25 times the
# processor time of the request itself. No test asks a server on the internet. This context trusts nobody.
_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_FUNCTIONS = ("delete", "get", "head", "options", "patch", "post", "put", "request", "stream")
for _function in (
    *(getattr(httpx, _name) for _name in _FUNCTIONS),
    httpx.Client.__init__,
    httpx.AsyncClient.__init__,
):
    inspect.unwrap(_function).__kwdefaults__["verify"] = _NOBODY


def pytest_collection_finish() -> None:
    """Keep the garbage collector, and tests that look through all objects, from walking through thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """The distribution's Chromium."""
    # only tests of pages need what it imports
    from emulator.tests.control.browser import Browser

    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def document_terminal() -> Iterator[Terminal]:
    """Give a document its own folder. It is also the current folder of the document's Python examples."""
    before = Path.cwd()
    with turn(), scratch_checkout() as folder:
        os.chdir(folder)
        terminal = Terminal(folder)
        try:
            yield terminal
            terminal.close()
        finally:
            os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser("console", on_terminal(Terminal.run)),
        PythonCodeBlockParser(),
        files_of,
        SkipParser(),
    ],
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/**/*.md"],
    fixtures=["document_terminal"],
).pytest()


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Let one worker run a whole file, so that the file's servers start once.

    All documents go to one worker, because they share ports. So do the adapter's tests against the real server, which
    starts 17 models. The proof takes half of the time, so it is divided between groups of cases; each group has its own
    servers. The tests of each personality come after one part of the proof.
    """

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        if path.endswith("/test_emulator_equals_triton.py"):
            case = nodeid.partition("[")[2].removesuffix("]")
            return f"{path} {proof_parts()[case]}"
        if path.endswith("/test_personalities.py"):
            # with the proof: its parts are the first to start, and these tests wait long for answers that never come
            proof = path.replace("test_personalities", "test_emulator_equals_triton")
            version = nodeid.partition("[")[2].split(" ")[0].removesuffix("]")
            return f"{proof} {personalities().index(version)}"
        if path.startswith("adapter/") and "triton: str" in text_of(path):
            return "the adapter with the real server"
        return "documents" if path.endswith(".md") else path


@cache
def text_of(path: str) -> str:
    """The text of a test file."""
    return (Path(__file__).parent / path).read_text(encoding="utf-8")


@cache
def proof_parts() -> dict[str, int]:
    """Which part of the proof a case is in, by the case's id."""
    from contract_tests.tests.test_emulator_equals_triton import (
        PART_OF,  # imported only where tests are distributed
    )

    return PART_OF


@cache
def personalities() -> list[str]:
    """The versions that the emulator is compared with besides the default one; those beyond the parts run alone."""
    from triton_contract.recordings import recorded_versions

    return list(recorded_versions())


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Distribute tests by file, whatever `--dist` says."""
    return ByFile(config, log)
