"""The documents' commands and programs are run as tests, and the runner of these examples works as documented."""

import re
import socket
import sys
from pathlib import Path

import pytest

from docs.console_examples import ROOT, TURN, ExampleError, Step, Terminal, matches, parse, turn

DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
# Private words, for which the field has better ones.
UNPLAIN = r"\b(heed\w*|let(ting)? go of|nobody's|of one mind|stood[- ]in|aside)\b"
RUN = {"console", "python"}
SHOWN = {"diff", "dockerfile", "http", "ini", "json", "mermaid", "pbtxt", "text", "toml", "yaml"}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def lines_of(document: Path, pattern: str) -> list[str]:
    return re.findall(pattern, document.read_text(), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
class TestEveryDocument:
    def test_shows_commands_as_console_and_programs_as_python_so_that_they_are_run(
        self, document: Path
    ) -> None:
        fences = lines_of(document, r"^ *```+(.*)$")
        languages = {opening.split()[0] if opening else "(none)" for opening in fences[::2]}
        assert set() == languages - RUN - SHOWN

    def test_says_why_where_an_example_is_not_run(self, document: Path) -> None:
        skips = lines_of(document, r"<!-+ *skip: *(?!end)(.*?) *-->")
        assert [] == [skip for skip in skips if not re.search(r'(next|start) .*"[^"]{10,}"', skip)]

    def test_is_in_plain_words(self, document: Path) -> None:
        assert [] == [line for line in document.read_text().splitlines() if re.search(UNPLAIN, line)]

    def test_links_to_files_that_exist(self, document: Path) -> None:
        targets = [link.split("#")[0] for link in lines_of(document, r"\]\(([^)\s]+)\)") if "://" not in link]
        assert [] == [target for target in targets if target and not (document.parent / target).exists()]


def test_a_block_is_commands_and_their_output() -> None:
    block = "$ cat <<END\n> two\n> END\ntwo\n$ true\n$ false\n[1]\n"
    assert [Step("cat <<END\ntwo\nEND", "two"), Step("true", None), Step("false", None, 1)] == parse(block)


def test_a_block_without_a_command_is_an_error() -> None:
    with pytest.raises(ExampleError, match="begins with"):
        parse("triton-emulator --help\n")


@pytest.mark.parametrize(
    "expected,printed,same",
    [
        pytest.param("a\nb", "a  \nb\n", True, id="spaces at line ends do not count"),
        pytest.param("took ... s", "took 0.31 s", True, id="three dots stand for part of a line"),
        pytest.param("first\n...\nlast", "first\n1\n2\nlast", True, id="three dots stand for lines"),
        pytest.param("a.c", "abc", False, id="one dot is a dot"),
        pytest.param("a", "a\nb", False, id="more than shown is a difference"),
        pytest.param("a", "", False, id="nothing is a difference"),
    ],
)
def test_printed_text_is_compared_with_the_document(expected: str, printed: str, same: bool) -> None:
    assert same == matches(expected, printed)


@pytest.mark.parametrize(
    "block,reason",
    [
        pytest.param("$ echo no\nyes", "--- the command printed, with exit code 0\nno", id="other output"),
        pytest.param("$ echo yes; exit 3\nyes", "with exit code 3", id="an exit code that is not shown"),
        pytest.param("$ true\n[3]", "shows, with exit code 3", id="success where failure is shown"),
        pytest.param("$ no-such-program", "with exit code 127", id="a program that is not there"),
        pytest.param("$ make no-such-target", "No rule to make target", id="a target that make lacks"),
        pytest.param("$ cd examples", "has no effect", id="a change of folder that the next command forgets"),
        pytest.param("$ echo broken; exit 1 &\nready", "broken", id="a server that ends before it is ready"),
    ],
)
def test_a_wrong_example_fails_and_says_how(terminal: Terminal, block: str, reason: str) -> None:
    with pytest.raises(ExampleError, match=re.escape(reason)):
        terminal.run(block)
    terminal.servers.clear()


def test_a_server_is_ready_for_the_next_command_and_gone_with_the_document(terminal: Terminal) -> None:
    terminal.run("$ echo ready; echo here > here; sleep 600 &\nready\n$ cat here\nhere")
    (server,) = terminal.servers
    assert server.process.poll() is None
    terminal.close()
    assert server.process.poll() is not None


def test_a_server_that_fails_later_fails_the_document(terminal: Terminal) -> None:
    terminal.run("$ echo ready; exit 9 &\n$ true")
    terminal.servers[0].process.wait(60)
    with pytest.raises(ExampleError, match="ended with 9:\nready"):
        terminal.close()


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is held elsewhere")
def test_one_run_at_a_time_has_the_ports_of_the_documents() -> None:
    with (
        turn(),
        socket.socket(socket.AF_UNIX) as other,
        pytest.raises(OSError, match="Address already in use"),
    ):
        other.bind(TURN)


def test_what_a_command_prints_on_both_streams_is_what_a_reader_sees(terminal: Terminal) -> None:
    terminal.run("$ echo out; echo err >&2\nout\nerr")
