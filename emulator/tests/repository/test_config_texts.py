"""Odd texts of a `config.pbtxt` are read, and refused, as the real server did it (`recorded/texts.json`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from emulator.tests.repository.test_config_answers import Server
from emulator.tests.repository.text_cases import MEMBER, TEXTS, TextCase
from triton_emulator.protocol.personality import DEFAULT_VERSION, personality
from triton_emulator.repository.config.pbtxt import ConfigError, parse_config

ANSWERS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "texts.json").read_text(encoding="utf-8")
)["answers"]
BACKENDS = frozenset({"python"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    repository = tmp_path_factory.mktemp("texts")
    for name in ("good", "m"):
        (repository / name / "1").mkdir(parents=True)
    (repository / "good" / "config.pbtxt").write_bytes(MEMBER)
    return Server(repository, BACKENDS)


def texts(*, with_faults: bool) -> pytest.MarkDecorator:
    chosen = [case for case in TEXTS if bool(ANSWERS[case.name]["faults"]) == with_faults]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


def test_every_text_was_recorded() -> None:
    assert [case.name for case in TEXTS] == list(ANSWERS)


@texts(with_faults=True)
def test_a_text_with_faults_has_those_that_the_real_server_logs(case: TextCase) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(case.config, unknown=personality(DEFAULT_VERSION).unknown_config_fields)
    assert [str(fault) for fault in caught.value.faults] == ANSWERS[case.name]["faults"]


@texts(with_faults=False)
def test_a_text_without_faults_is_the_config_that_the_real_server_shows(
    case: TextCase, server: Server
) -> None:
    (server.folder / "m" / "config.pbtxt").write_bytes(case.config)
    answer = ANSWERS[case.name]
    assert server.load("m") == answer["load"]
    if "config" in answer:
        assert server.repository.config_json("m").decode() == answer["config"]
        server.repository.unload("m")
