"""A model version that is loaded: its configuration, its executor behind a scheduler, and its statistics."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from triton_emulator.engine.model import Executor, ModelDefinition
from triton_emulator.engine.scheduler import scheduler_for
from triton_emulator.engine.statistics import ModelStatistics
from triton_emulator.repository.model_config import TensorSpec


class LoadedModel:
    """One loaded version of a model."""

    def __init__(self, definition: ModelDefinition, executor: Executor) -> None:
        self.definition = definition
        self.name = definition.name
        self.version = definition.version
        self.config = definition.config
        self.executor = executor
        self.statistics = ModelStatistics()
        self.scheduler = scheduler_for(executor)
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in definition.config.inputs}

    def __repr__(self) -> str:
        return f"LoadedModel({self.name!r}, version {self.version})"

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The class labels of each output that names a label file: line n is the label of index n."""
        return {
            spec.name: _lines(self.definition.directory / spec.label_filename)
            for spec in self.config.outputs
            if spec.label_filename
        }

    @property
    def pending(self) -> int:
        """How many requests wait for an instance."""
        return self.scheduler.pending

    def stop(self) -> None:
        """Finish the queued requests and release the model. Blocks: never on the event loop."""
        self.scheduler.stop()


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
