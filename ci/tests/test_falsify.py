"""`ci/falsify` tells mutations that a check notices from those that survive. Some of its own are made here."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: a mutation of a text that a case and a test look at, as TOML
MUTATION = """
[[mutation]]
name = "a server that is always ready"
file = "emulator/triton_emulator/frontends/http/models.py"
old = "200 if request.session.ready else 400"
new = '{new}'
case = "{case}"
"""
NOT_READY = "health/not-ready-while-a-model-failed-to-load"


def falsify(*options: str, table: str | None = None, folder: Path | None = None) -> tuple[int, str, str]:
    """Its exit status, its output and its errors."""
    given = list(options)
    if table is not None and folder is not None:
        (folder / "table.toml").write_text(table)
        given += ["--table", str(folder / "table.toml")]
    done = subprocess.run(
        [sys.executable, ROOT / "ci" / "falsify", *given], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_some_of_the_mutations_are_noticed() -> None:
    status, output, errors = falsify("--sample", "3", "--seed", "1")
    assert (status, errors) == (0, "")
    assert output.splitlines()[-1] == "3 of 3 mutations were noticed"


def test_every_mutation_of_the_table_can_be_made() -> None:
    status, output, errors = falsify("--list")
    assert (status, errors) == (0, "")
    assert len(output.splitlines()) >= 30


def test_a_mutation_that_no_check_notices_survives(tmp_path: Path) -> None:
    table = MUTATION.format(new="200 if request.session.ready else 401", case="health/live")
    status, output, _ = falsify(table=table, folder=tmp_path)
    assert status == 1
    line, last = output.splitlines()
    assert line.startswith("SURVIVED")
    assert line.endswith("a server that is always ready                                health/live")
    assert last == "0 of 1 mutations were noticed"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        pytest.param(
            MUTATION.format(new="200", case=NOT_READY).replace("ready else 400", "ready else 444"),
            "mutation 1 (a server that is always ready): its old text is 0 times in emulator/",
            id="a text that is not in the file",
        ),
        pytest.param(
            MUTATION.format(new="200", case=NOT_READY).replace(
                '"200 if request.session.ready else 400"', '"def "'
            ),
            "it must be there once",
            id="a text that is there several times",
        ),
        pytest.param(
            MUTATION.format(new="200", case="no/such/case"), "no/such/case", id="a case that is not there"
        ),
        pytest.param(
            MUTATION.format(new="200", case=NOT_READY) + 'test = "a"\n', "one of them", id="a case and a test"
        ),
        pytest.param(
            MUTATION.format(new="200", case=NOT_READY) + "weight = 1\n", "unknown weight", id="an unknown key"
        ),
        pytest.param("", "KeyError: 'mutation'", id="an empty table"),
    ],
)
def test_a_mutation_that_means_nothing_is_told(table: str, told: str, tmp_path: Path) -> None:
    status, output, errors = falsify(table=table, folder=tmp_path)
    assert (status, output) == (2, "")
    assert told in errors


def test_a_name_that_no_mutation_has_is_told() -> None:
    status, _, errors = falsify("--only", "nothing like it")
    assert status == 2
    assert (
        errors == "ci/falsify: no mutation's name matches 'nothing like it': ci/falsify --list shows them\n"
    )


#: a test that the mutation makes start a process, and wait for ever; both have the pipe open
WAITING = """
import subprocess, sys, time
from pathlib import Path
from triton_emulator.frontends.http import models

def test_waits_where_the_server_is_always_ready() -> None:
    if "200 if request.session.ready else 400" not in Path(models.__file__).read_text():
        with open({pipe!r}, "w") as pipe:
            child = "import time; time.sleep(30); print('it is still here')"
            subprocess.Popen([sys.executable, "-c", child], stdout=pipe)
            print("it waits", file=pipe, flush=True)
            time.sleep(3600)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_leaves_neither_a_copy_nor_a_process(number: int, status: int, tmp_path: Path) -> None:
    copies, pipe, test = tmp_path / "copies", tmp_path / "pipe", tmp_path / "test_waits.py"
    copies.mkdir()
    os.mkfifo(pipe)
    test.write_text(WAITING.format(pipe=str(pipe)))
    table = MUTATION.format(new="200", case="").replace('case = ""', f'test = "{test}"')
    (tmp_path / "table.toml").write_text(table)
    command = [sys.executable, str(ROOT / "ci" / "falsify"), "--table", str(tmp_path / "table.toml")]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(copies)}) as falsify, pipe.open() as told:
        assert told.readline() == "it waits\n"
        falsify.send_signal(number)
        assert told.read() == ""  # the end of the pipe: nobody has it open
    assert falsify.returncode == status
    assert list(copies.iterdir()) == []
