"""Completes a Python model's configuration with `auto_complete_config` of its model.py."""

from pathlib import Path
from typing import Any

from triton_emulator.backends.python.instance import Instance
from triton_emulator.backends.python.loading import model_file
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.repository.config.to_json import config_json


def auto_complete(definition: ModelDefinition) -> dict[str, Any] | None:
    """The configuration that the model completes; None if model.py has no `auto_complete_config`.

    Imports model.py only for this, as Triton does. Raises LoadError with Triton's reason.
    """
    file: Path = model_file(definition)
    probe = Instance(definition, definition.name, file)
    try:
        return probe.auto_complete(lambda: config_json(definition.config.proto).decode())
    finally:
        probe.space.close()
