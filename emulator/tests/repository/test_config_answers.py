"""What the repository says of a model folder is, byte for byte, what a real server was recorded to say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.model_config import ModelConfig
from triton_emulator.repository.repository import Options, Repository

from emulator.tests.repository.config_cases import CASES

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "recorded" / "configs.json").read_text(encoding="utf-8")
)["answers"]
#: the real server died, so there is nothing to be equal to
DIED = {name for name, answer in RECORDED.items() if "died" in answer}
SERVED = [name for name, answer in RECORDED.items() if name not in DIED and answer["load"][0] == 200]
REFUSED = [name for name, answer in RECORDED.items() if name not in DIED and answer["load"][0] != 200]


#: the order of a map's entries changes from load to load in the real server: ours is sorted
MAPS = {"lawful_parameters", "lawful_metric_tags", "lawful_cc_model_filenames", "dynamic_priorities"}


def load_version(name: str, version: int, config: ModelConfig, directory: Path) -> tuple[str, int]:
    return name, version


def only_python(backend: str) -> bool:
    """The server that was recorded had the Python backend, and ensembles."""
    return backend == "python"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("configs") / "repository"
    for name, case in CASES.items():
        case.write(root / name)
    return root


@pytest.fixture
def repository(folder: Path) -> Repository[tuple[str, int]]:
    made = Repository(Options([folder], mode="explicit"), load_version, has_backend=only_python)
    assert made.start() is None
    return made


def load_answer(repository: Repository[Any], folder: Path, name: str) -> list[Any]:
    """The status and body of a load as the HTTP frontend would send them."""
    try:
        repository.load(name)
    except TritonError as error:
        body = json.dumps({"error": error.message}, ensure_ascii=False, separators=(",", ":"))
        return [error.http_status, body.replace(str(folder), "{repository}")]
    return [200, ""]


def index_answer(repository: Repository[Any], folder: Path, name: str) -> Any:
    rows = [row.as_dict() for row in repository.index() if row.name == name]
    return json.loads(json.dumps(rows).replace(str(folder), "{repository}"))


def test_every_case_was_recorded() -> None:
    assert sorted(CASES) == sorted(RECORDED)
    assert len(SERVED) >= 60


@pytest.mark.parametrize("name", SERVED)
def test_a_served_model_shows_the_real_servers_config_and_metadata(
    name: str, repository: Repository[Any], folder: Path
) -> None:
    recorded = RECORDED[name]
    assert load_answer(repository, folder, name) == [200, ""]
    shown = repository.config_json(name).decode()
    if name in MAPS:
        assert json.loads(shown) == json.loads(recorded["config"][1])
    else:
        assert shown == recorded["config"][1]
    assert repository.metadata_json(name).decode() == recorded["metadata"][1]
    assert index_answer(repository, folder, name) == recorded["index"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_model_gets_the_real_servers_words(
    name: str, repository: Repository[Any], folder: Path
) -> None:
    recorded = RECORDED[name]
    assert load_answer(repository, folder, name) == recorded["load"]
    assert index_answer(repository, folder, name) == recorded["index"]
    with pytest.raises(TritonError) as unknown:
        repository.get(name)
    assert {"error": unknown.value.message} == json.loads(recorded["config"][1])
    assert unknown.value.http_status == recorded["config"][0]


@pytest.mark.parametrize("name", [name for name in REFUSED if RECORDED[name]["load"][0] == 500])
def test_a_model_that_cannot_be_polled_is_logged_as_the_real_server_logs_it(
    name: str, repository: Repository[Any], folder: Path
) -> None:
    load_answer(repository, folder, name)
    problem = repository.problems[name].replace(str(folder), "{repository}")
    # our line also says where in the file the fault lies, and what it is
    problem = re.sub(r"(failed to read text proto from [^:]*).*", r"\1", problem)
    assert json.dumps(problem, ensure_ascii=False) in RECORDED[name]["log"]


@pytest.mark.parametrize("name", sorted(DIED))
def test_a_model_that_kills_the_real_server_leaves_ours_standing(
    name: str, repository: Repository[Any], folder: Path
) -> None:
    load_answer(repository, folder, name)
    repository.load("lawful_minimal")
    assert repository.is_ready("lawful_minimal")
