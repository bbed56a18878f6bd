"""A repository that several workers can serve."""

from pathlib import Path

import pytest

from emulator.tests.workers.serving import DOUBLE, LLM, add_model


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The models double and llm; the stand-in of llm says three tokens."""
    folder = tmp_path / "models"
    add_model(folder, "double", DOUBLE)
    add_model(folder, "llm", LLM)
    (folder / "emulator.yaml").write_text("models:\n  llm: {behaviour: text, length: 3}\n")
    return folder
