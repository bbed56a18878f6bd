"""`triton-contract diff` over a folder of somebody's own models."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from triton_contract.cases.load import MODELS
from triton_contract.cli import main
from triton_contract.cli.diff import upgrade_targets
from triton_contract.upgrades.changes import load_history
from triton_contract.upgrades.compare import compare_upgrade

from .literal_server import CLOSE, literal_server

NEEDS_A_GPU = """
backend: "tensorrt"
input [{name: "A", data_type: TYPE_FP32, dims: [2]}]
output [{name: "B", data_type: TYPE_FP32, dims: [2]}]
instance_group [{kind: KIND_GPU}]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "models/plan/1").mkdir(parents=True)
    (tmp_path / "models/plan/config.pbtxt").write_text(NEEDS_A_GPU)
    return tmp_path / "models"


def diff(repository: Path | str, *targets: str) -> Result:
    words = [word for target in targets for word in ("--target", target)]
    return CliRunner().invoke(main, ["diff", *words, "--repository", str(repository)])


def test_two_emulators_load_models_that_need_a_gpu(repository: Path) -> None:
    result = diff(repository, "emulator==2.70.0", "emulator==2.71.0")
    assert result.output.startswith("From 2.70.0 to 2.71.0: 1 model (plan), 21 requests.\n")
    assert "status: 2.70.0: HTTP/1.1 400 Bad Request\n2.71.0: HTTP/1.1 404 Not Found\n" in result.output


def test_a_terminal_shows_how_many_requests_were_compared_while_their_number_is_not_known(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)  # stderr counts as a terminal
    shown = re.sub(
        r"\x1b\[[0-9;?]*[A-Za-z]", "", diff(repository, "emulator==2.70.0", "emulator==2.71.0").stderr
    )
    assert "21/?" in shown
    assert "/0" not in shown


def test_next_to_another_server_such_models_do_not_load_and_the_error_names_the_way_out(
    repository: Path,
) -> None:
    with literal_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + CLOSE) as address:
        result = diff(repository, address.url, "emulator==2.72.0")
    assert result.exit_code == 3
    assert result.output.startswith("triton-contract: emulator did not start: exited with code 1\n")
    assert result.output.endswith(
        "\n  If the models need a GPU or a backend that is not there, compare two emulators: "
        "--target emulator==2.51.0 --target emulator==2.72.0\n"
    )


@pytest.mark.parametrize(
    ("name", "advice"),
    [("htp", "did you mean http?"), ("./nope", "the contract's repositories are batching, broken, ")],
)
def test_a_misspelt_folder_is_neither_a_folder_nor_a_repository(name: str, advice: str) -> None:
    result = diff(name, "emulator==2.51.0", "emulator==2.72.0")
    told = f"there is no folder '{name}', and no repository of the contract has that name: {advice}"
    assert result.exit_code == 2
    assert told in result.output


def test_the_help_says_that_a_repository_may_be_a_folder_of_own_models() -> None:
    words = CliRunner().invoke(main, ["diff", "--help"]).output.split()
    assert "Or a folder of your own models: both servers serve it" in " ".join(words)


@pytest.mark.parametrize(
    ("old", "new"),
    [("2.41.0", "2.42.0"), ("2.57.0", "2.58.0"), ("2.68.0", "2.69.0")],
    ids=["2.42", "2.58", "2.69"],
)
def test_a_probe_shows_every_row_that_it_names(old: str, new: str, tmp_path: Path) -> None:
    for name in ("dec", "two"):
        shutil.copytree(MODELS / "small" / name, tmp_path / name)
    versions = (old, new)
    targets = upgrade_targets((f"emulator=={old}", f"emulator=={new}"), versions)
    upgrade = compare_upgrade(*targets, tmp_path, history=load_history(), versions=versions)
    named, showed = (
        {(each.case.id.rpartition("/")[2], change.field) for each in probes for change in each.changes}
        for probes in (upgrade.shown, upgrade.different)
    )
    assert named
    assert named == showed
