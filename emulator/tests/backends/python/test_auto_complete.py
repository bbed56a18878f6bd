"""Configurations that a model completes are equal to those of the real server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.tests.backends.python.casebook import COMPLETING, CONFIGS, masked_reasons
from emulator.tests.backends.python.lab import configs
from triton_emulator import Emulator

RECORDED = json.loads(CONFIGS.read_text())["configs"]


@pytest.fixture(scope="module")
def completed() -> Iterator[dict[str, Any]]:
    with Emulator(COMPLETING, exit_on_error=False) as triton:
        yield masked_reasons(configs(triton.url))


@pytest.mark.parametrize("name", RECORDED)
def test_a_model_completes_its_configuration_as_in_the_real_server(
    completed: dict[str, Any], name: str
) -> None:
    assert completed[name] == RECORDED[name]
