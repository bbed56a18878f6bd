"""The documents' commands and programs are run as tests, and the runner of these examples works as documented."""

import re
import socket
import sys
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import httpx
import pytest
from sybil import Document

from docs.console_examples import ROOT, TURN, ExampleError, Step, Terminal, files_of, matches, parse, turn
from docs.installs import BLOCK, LINE, OURS, gives, needs
from triton_emulator import Emulator, RestrictedApis, fault
from triton_emulator.cli import command_line
from triton_emulator.cli.flags import FLAGS
from triton_emulator.harness.harness import PROBLEMS
from triton_emulator.harness.journal import SECRET_HEADERS, JournalEntry
from triton_emulator.harness.operations import OPERATIONS
from triton_emulator.options import EmulatorOptions

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
SHOWN = {
    "diff",
    "dockerfile",
    "http",
    "ini",
    "javascript",
    "json",
    "mermaid",
    "pbtxt",
    "text",
    "toml",
    "yaml",
}


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

    def test_has_no_more_than_a_title_beside_a_language(self, document: Path) -> None:
        fences = lines_of(document, r"^ *```+(.*)$")[::2]
        with_title = rf'({"|".join(SHOWN | {"python"})})( title="[^"]+")?'
        assert [] == [opening for opening in fences if not re.fullmatch(f"console|{with_title}", opening)]

    def test_shows_files_as_blocks_with_a_title(self, document: Path) -> None:
        assert [] == lines_of(document, r"^(?:\$|>) .*<<.*$")

    def test_names_a_file_in_the_text_above_it(self, document: Path) -> None:
        # GitHub does not show the title of a block.
        page = document.read_text()
        files = [block for block in BLOCK.finditer(page) if block[2]]
        assert [] == [file[2] for file in files if f"`{file[2]}`" not in page[: file.start()]]

    def test_names_once_what_its_examples_need_from_pip(self, document: Path) -> None:
        page = document.read_text()
        assert set() == needs(page) - gives(page)
        assert (len(LINE.findall(page)) == 1) == bool(needs(page))

    def test_names_no_distribution_that_its_examples_do_not_need(self, document: Path) -> None:
        page = document.read_text()
        named = {re.split(r"\W", word.strip("'"))[0] for line in LINE.findall(page) for word in line.split()}
        assert set() == named - {name for name, _ in needs(page)} - {OURS.partition("-")[0]}

    def test_says_why_where_an_example_is_not_run(self, document: Path) -> None:
        skips = lines_of(document, r"<!-+ *skip: *(?!end)(.*?) *-->")
        assert [] == [skip for skip in skips if not re.search(r'(next|start) .*"[^"]{10,}"', skip)]

    def test_is_in_plain_words(self, document: Path) -> None:
        assert [] == [line for line in document.read_text().splitlines() if re.search(UNPLAIN, line)]

    def test_links_to_files_that_exist(self, document: Path) -> None:
        targets = [link.split("#")[0] for link in lines_of(document, r"\]\(([^)\s]+)\)") if "://" not in link]
        assert [] == [target for target in targets if target and not (document.parent / target).exists()]


@pytest.mark.parametrize(
    "page,missing",
    [
        pytest.param("`pip install x`\n```python\nimport httpx\n```\n", {("httpx", "")}, id="a module"),
        pytest.param(
            '`pip install x`\n```python title="a.py"\nfrom openai import OpenAI\nimport json\n```\n',
            {("openai", "")},
            id="a module of a file",
        ),
        pytest.param(
            "`pip install triton-emulator`\n```python\nimport numpy\nimport tritonclient.http\n```\n",
            {("tritonclient", "http")},
            id="an extra of a dependency",
        ),
        pytest.param(
            "`pip install 'triton-emulator[adapter]'`\n```python\nfrom triton_adapter.proxy import Proxy\n```\n",
            {("triton-emulator", "proxy")},
            id="an extra of ours",
        ),
        pytest.param(
            "`pip install 'triton-emulator[all]'`\n```console\n$ A=b triton-proxy --help | cat\n$ pytest -q\n```\n",
            {("pytest", "")},
            id="a program",
        ),
        pytest.param(
            "`pip install 'triton-emulator[contract]'`\n```python\nimport grpc, tritonclient.grpc\n```\n",
            set(),
            id="an extra in an extra",
        ),
        pytest.param(
            '```python title="mine.py"\n```\n```python\nimport mine\n```\n', set(), id="a file of the page"
        ),
    ],
)
def test_what_a_page_needs_is_read_from_its_examples(page: str, missing: set[tuple[str, str]]) -> None:
    assert missing == needs(page) - gives(page)


class TestOptionsTable:
    """The table of `docs/pytest.md`: each option that is not its flag with underscores."""

    PAGE = (ROOT / "docs" / "pytest.md").read_text()
    ROWS = re.findall(r"^\| `((\w+)=.*)` \| `(--.*)` \|$", PAGE, re.MULTILINE)
    OPTIONS = get_type_hints(EmulatorOptions)
    #: flags that set nothing of a server
    OF_THE_COMMAND = frozenset({"help", "version", "check", "output-format", "workers"})

    def is_its_flag(self, option: str) -> bool:
        kind = self.OPTIONS[option]
        scalar = kind in (str, int, bool, str | Path) or get_origin(kind) is Literal
        names = {flag.name for flag in FLAGS if not flag.repeats and not flag.deprecated}
        return scalar and option.replace("_", "-") in names

    def test_has_every_option_with_another_name_or_type(self) -> None:
        others = [option for option in self.OPTIONS if not self.is_its_flag(option)]
        without = re.findall(r"^\| `(\w+)` \| \d+ \|", self.PAGE, re.MULTILINE)
        assert sorted(others) == sorted([*(option for _, option, _ in self.ROWS), *without])

    def test_has_the_defaults_of_options_without_a_flag(self) -> None:
        emulator = Emulator()
        rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", self.PAGE, re.MULTILINE)
        assert rows == [(option, str(getattr(emulator.settings, option))) for option, _ in rows]

    @pytest.mark.parametrize("written,option,flags", ROWS, ids=[row[1] for row in ROWS])
    def test_an_option_is_what_its_flags_set(self, written: str, option: str, flags: str) -> None:
        given: dict[str, Any] = eval(f"dict({written})", {"RestrictedApis": RestrictedApis})  # noqa: S307
        read = command_line.parse(["--model-control-mode=explicit", *flags.split()]).settings
        assert given[option] == getattr(read, option)

    def test_the_page_lists_every_flag_that_is_not_an_option(self) -> None:
        in_rows = {flag for *_, flags in self.ROWS for flag in re.findall(r"--([a-z-]+)=", flags)}
        rest = {flag.name for flag in FLAGS if flag.name.replace("-", "_") not in self.OPTIONS} - in_rows
        (listed,) = re.findall(r"refused as options:\n\n```text\n(.*?)```", self.PAGE, re.DOTALL)
        (second,) = re.findall(r"another flag sets: (.*?)\n\n", self.PAGE, re.DOTALL)
        unset = {flag.name for flag in FLAGS if not flag.setting} - self.OF_THE_COMMAND
        assert set(listed.split()) == unset
        assert set(re.findall(r"`(.*?)`", second)) == rest - unset - self.OF_THE_COMMAND - {
            "model-repository"
        }


class TestHarnessTables:
    """The tables of `docs/faults.md` and `docs/journal.md` have all that there is."""

    FAULTS = (ROOT / "docs" / "faults.md").read_text()
    JOURNAL = (ROOT / "docs" / "journal.md").read_text()

    def test_every_fault_has_a_row(self) -> None:
        rows = re.findall(r"^\| `fault\.(\w+)\(", self.FAULTS, re.MULTILINE)
        assert sorted(set(rows)) == [name for name in fault.__all__ if name != "Fault"]

    @pytest.mark.parametrize(
        "heading,protocols",
        [
            pytest.param("HTTP and gRPC", ("http", "grpc"), id="both"),
            pytest.param("HTTP only", ("http",), id="HTTP"),
            pytest.param("gRPC only", ("grpc",), id="gRPC"),
        ],
    )
    def test_every_operation_is_named_with_its_protocols(
        self, heading: str, protocols: tuple[str, ...]
    ) -> None:
        (row,) = re.findall(rf"^\| {heading} \|(.*\n(?:\| \|.*\n)*)", self.FAULTS, re.MULTILINE)
        there = {name for name, kind in OPERATIONS.items() if kind.protocols == protocols}
        assert set(re.findall(r"`(\w+)`", row)) == there

    def test_every_problem_has_a_row(self) -> None:
        assert [word for word in PROBLEMS if f"\n| `{word}` |" not in self.FAULTS] == []

    def test_every_attribute_in_the_table_is_one_of_an_entry(self) -> None:
        with Emulator() as emulator:
            httpx.get(f"{emulator.http_url}/v2/health/live")
            entry = emulator.requests.last
            table = self.JOURNAL.partition("## What an entry has")[2].partition("\n## ")[0]
            named = [
                name
                for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
                for name in re.findall(r"`(\w+)`", row)
            ]
            assert [name for name in named if name not in {*dir(JournalEntry), *dir(entry)}] == []
            assert len(named) > 20

    def test_every_secret_header_is_named(self) -> None:
        text = self.JOURNAL.partition("## What is redacted")[2].partition("are shown")[0]
        assert set(re.findall(r"`([\w-]+)`", text)) == SECRET_HEADERS


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


def test_a_file_is_written_where_the_commands_find_it(terminal: Terminal) -> None:
    terminal.write("models/m/config.pbtxt", 'backend: "python"\n')
    terminal.write("models/m/config.pbtxt", 'backend: "onnxruntime"\n')
    terminal.run('$ cat models/m/config.pbtxt\nbackend: "onnxruntime"')


@pytest.mark.parametrize(
    "title", ["../a.txt", "new/../../a.txt", "linked/a.txt", "linked/new/a.txt", "file.txt"]
)
def test_a_file_that_would_change_the_checkout_is_refused(
    terminal: Terminal, tmp_path_factory: pytest.TempPathFactory, title: str
) -> None:
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "file.txt").write_text("as it was")
    (terminal.folder / "linked").symlink_to(checkout)
    (terminal.folder / "file.txt").symlink_to(checkout / "file.txt")
    for name in (title, str(checkout / "a.txt")):
        with pytest.raises(ExampleError, match=re.escape(name)):
            terminal.write(name, "changed")
    assert [path.read_text() for path in checkout.iterdir()] == ["as it was"]


def test_blocks_with_a_title_are_the_files_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        'A file:\n\n```python title="new/a.py"\nraise SystemExit\n\nif 1:\n    pass\n```\n\n'
        '```yaml\nshown: only\n```\n\n```yaml title="b.yaml"\nkey: value\n```\n'
    )
    document = Document.parse(str(tmp_path / "page.md"), files_of)
    assert [
        ("new/a.py", "raise SystemExit\n\nif 1:\n    pass\n"),
        ("b.yaml", "key: value\n"),
    ] == [example.parsed for example in document.examples()]


def test_what_a_command_prints_on_both_streams_is_what_a_reader_sees(terminal: Terminal) -> None:
    terminal.run("$ echo out; echo err >&2\nout\nerr")
