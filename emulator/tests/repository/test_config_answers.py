"""The repository's answers about a model folder are, byte for byte, a real server's recorded answers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emulator.tests.repository.config_case import ConfigCase
from emulator.tests.repository.config_cases import CASES
from emulator.tests.repository.standin_cases import STANDIN_BACKENDS, STANDIN_CASES
from triton_emulator.protocol.errors import HTTP_STATUS, TritonError
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.stages import Backends
from triton_emulator.repository.labels import Labels
from triton_emulator.repository.repository import Options, Repository

#: the real server orders the entries of a map differently at each load; ours are sorted
MAPS = {"lawful_parameters", "lawful_metric_tags", "lawful_cc_model_filenames", "dynamic_priorities"}

#: cases and the backends of the recorded server, by the recording's name
TOPICS: dict[str, tuple[Mapping[str, ConfigCase], frozenset[str]]] = {
    "configs": (CASES, frozenset({"python"})),
    "standin_configs": (STANDIN_CASES, frozenset({"python", *STANDIN_BACKENDS})),
}


@dataclass(frozen=True)
class Recorded:
    """One case's recorded answers."""

    topic: str
    name: str
    answer: dict[str, Any]

    @property
    def died(self) -> bool:
        """Whether the real server died, so that there is no answer to compare with."""
        return "died" in self.answer

    @property
    def status(self) -> int:
        return 0 if self.died else int(self.answer["load"][0])


def read_recorded() -> list[Recorded]:
    found = []
    for topic in TOPICS:
        path = Path(__file__).parent / "recorded" / f"{topic}.json"
        answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
        found += [Recorded(topic, name, answer) for name, answer in answers.items()]
    return found


RECORDED = read_recorded()


def load_version(
    name: str, version: int, config: ModelConfig, directory: Path, labels: Labels, namespace: str
) -> tuple[str, int]:
    return name, version


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    roots = {topic: tmp_path_factory.mktemp(topic) / "repository" for topic in TOPICS}
    for topic, (cases, _) in TOPICS.items():
        for name, case in cases.items():
            case.write(roots[topic] / name)
    return roots


class Server:
    """A repository over one topic's folders, with the answers that a client would get."""

    def __init__(self, folder: Path, backends: frozenset[str]) -> None:
        self.folder = folder
        self.repository: Repository[tuple[str, int]] = Repository(
            Options([folder], mode="explicit"),
            load_version,
            backends=Backends(exists=lambda _, config, __: config.backend in backends),
        )
        assert self.repository.start() is None

    def load(self, name: str) -> list[Any]:
        """The status and body of a load, as the HTTP frontend sends them."""
        try:
            self.repository.load(name)
        except TritonError as error:
            body = json.dumps({"error": error.message}, ensure_ascii=False, separators=(",", ":"))
            return [HTTP_STATUS[error.code], self.masked(body)]
        return [200, ""]

    def index(self, name: str) -> Any:
        return json.loads(
            self.masked(json.dumps([row.as_dict() for row in self.repository.index() if row.name == name]))
        )

    def masked(self, text: str) -> str:
        return text.replace(str(self.folder), "{repository}")


@pytest.fixture
def server(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Server:
    topic = request.getfixturevalue("recorded").topic
    return Server(folders[topic], TOPICS[topic][1])


def cases_with(*statuses: int) -> pytest.MarkDecorator:
    wanted = [case for case in RECORDED if case.status in statuses]
    return pytest.mark.parametrize("recorded", wanted, ids=lambda case: case.name)


def test_every_case_was_recorded() -> None:
    for topic, (cases, _) in TOPICS.items():
        assert sorted(cases) == sorted(case.name for case in RECORDED if case.topic == topic)


@cases_with(200)
def test_a_served_model_shows_the_real_servers_config_and_metadata(
    recorded: Recorded, server: Server
) -> None:
    assert server.load(recorded.name) == [200, ""]
    shown = server.repository.config_json(recorded.name).decode()
    expected = recorded.answer["config"][1]
    if recorded.topic == "standin_configs" and recorded.name != "vllm_usual":
        # in the recorded server these backends were written in Python, which only vLLM's is
        expected = expected.replace('"runtime":"model.py"', '"runtime":""')
    if recorded.name in MAPS:
        assert json.loads(shown) == json.loads(expected)
    else:
        assert shown == expected
    assert server.repository.metadata_json(recorded.name).decode() == recorded.answer["metadata"][1]
    assert server.index(recorded.name) == recorded.answer["index"]


@cases_with(400, 500)
def test_a_refused_model_gets_the_real_servers_words(recorded: Recorded, server: Server) -> None:
    assert server.load(recorded.name) == recorded.answer["load"]
    assert server.index(recorded.name) == recorded.answer["index"]
    with pytest.raises(TritonError) as unknown:
        server.repository.get(recorded.name)
    assert {"error": unknown.value.message} == json.loads(recorded.answer["config"][1])
    assert HTTP_STATUS[unknown.value.code] == recorded.answer["config"][0]


@cases_with(500)
def test_a_model_that_cannot_be_polled_is_logged_as_the_real_server_logs_it(
    recorded: Recorded, server: Server
) -> None:
    server.load(recorded.name)
    problem = server.masked(server.repository.problems[recorded.name])
    # our line also names the place and the kind of the fault in the file
    problem = re.sub(r"(failed to read text proto from [^:]*).*", r"\1", problem)
    assert json.dumps(problem, ensure_ascii=False) in recorded.answer["log"]


@cases_with(0)
def test_a_model_that_kills_the_real_server_does_not_kill_ours(recorded: Recorded, server: Server) -> None:
    server.load(recorded.name)
    server.repository.load("lawful_minimal")
    assert server.repository.is_ready("lawful_minimal")
