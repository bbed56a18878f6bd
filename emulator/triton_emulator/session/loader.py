"""Chooses the backend of a model: completes its configuration, and makes a LoadedModel of each version.

This ties the repository, which knows folders, to the backends, which know how models run. A `Loader` makes the
repository, and hands it what it needs of them.
"""

import asyncio
from pathlib import Path

from triton_emulator import builtin
from triton_emulator.backends import python as python_backend
from triton_emulator.backends import standins
from triton_emulator.backends.ensemble.executor import EnsembleExecutor
from triton_emulator.backends.python.completion import auto_complete
from triton_emulator.backends.standins import FILE_NAME, ModelSettings, SettingsError
from triton_emulator.engine.executor import Executor, ModelDefinition
from triton_emulator.engine.loaded_model import LoadedModel, Surroundings, metric_labels
from triton_emulator.repository.config.backend_update import update_config
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.stages import Backends
from triton_emulator.repository.labels import Labels
from triton_emulator.repository.repository import Options, Repository
from triton_emulator.repository.schema import Proto
from triton_emulator.session.counts import Counts
from triton_emulator.session.model_server import ModelServer
from triton_emulator.settings import Settings


class Loader:
    """Makes the models of one session.

    Raises SettingsError for an `emulator.yaml` that means nothing, ValueError for an unknown model control mode.
    """

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, surroundings: Surroundings, counts: Counts
    ) -> None:
        """To be made on the event loop that serves the session. Nothing is loaded before `repository.start()`."""
        # absolute, but with links kept: a model may find its files by the link that it was reached through
        paths = [Path(path).absolute() for path in settings.model_repositories] or [builtin.REPOSITORY]
        self._settings = _RepositorySettings(settings, paths)
        self._surroundings = surroundings
        self._failures = counts.failures
        self.repository: Repository[LoadedModel] = Repository(
            _options(settings, paths),
            self._load_version,
            unload_version=LoadedModel.stop,
            backends=Backends(complete=self._complete, exists=self._has_backend),
        )
        #: what Python models count; shown on the metrics port
        self.model_metrics = python_backend.MetricRegistry()
        self._server = ModelServer(self.repository, loop, counts.finish)
        self._standin_hooks = standins.Hooks(schedule=loop.call_later)
        self._python_hooks = python_backend.Hooks(self._server, self.model_metrics)

    def _definition(self, name: str, version: int, config: ModelConfig, directory: Path) -> ModelDefinition:
        return ModelDefinition(name, version, config, directory, self._settings.of(name, directory))

    def _has_backend(self, name: str, config: Proto, directory: Path) -> bool:
        definition = self._definition(name, 0, ModelConfig.of(config), directory)
        return config.backend == "python" or standins.stands_in(definition)

    def _load_version(
        self, name: str, version: int, config: ModelConfig, directory: Path, labels: Labels
    ) -> LoadedModel:
        definition = self._definition(name, version, config, directory)
        self._failures.open(metric_labels(definition))
        executor: Executor
        if standins.stands_in(definition):
            executor = standins.load(definition, self._standin_hooks)
        elif config.is_ensemble:
            executor = EnsembleExecutor(definition, self._server)
        else:
            executor = python_backend.load(definition, self._python_hooks)
        return LoadedModel(definition, executor, labels, self._surroundings)

    def _complete(self, config: Proto, directory: Path, version: int) -> None:
        """Add what the model's backend adds to its configuration, as Triton's backends do when they load it."""
        definition = self._definition(config.name, version, ModelConfig.of(config), directory)
        if standins.stands_in(definition):
            standins.complete(config)
        elif config.backend == "python" and (completed := auto_complete(definition)) is not None:
            update_config(config, completed)


def _options(settings: Settings, paths: list[Path]) -> Options:
    mode = settings.model_control_mode
    if mode not in ("none", "poll", "explicit"):
        raise ValueError(f"model_control_mode is none, poll or explicit, not {mode!r}")
    return Options(
        paths=paths,
        mode=mode,  # type: ignore[arg-type]
        load_models=settings.load_models,
        strict_readiness=settings.strict_readiness,
        strict_config=settings.disable_auto_complete_config,
        config_name=settings.model_config_name,
        load_threads=settings.model_load_thread_count,
        load_retries=settings.model_load_retry_count,
        namespacing=settings.model_namespacing,
        poll_seconds=settings.repository_poll_secs,
    )


class _RepositorySettings:
    """A model's entry of the `emulator.yaml` of its repository, or of the file that `--emulator-config` names."""

    def __init__(self, settings: Settings, paths: list[Path]) -> None:
        self._one = _named_file(Path(settings.emulator_config)) if settings.emulator_config else None
        self._by_path = {path: ModelSettings.read(path / FILE_NAME) for path in paths}

    def of(self, name: str, directory: Path) -> dict[str, object]:
        source = self._one or self._by_path.get(directory.parent)
        return source.for_model(name) if source is not None else {}


def _named_file(path: Path) -> ModelSettings:
    if not path.exists():
        raise SettingsError(path, 1, "there is no such file")
    return ModelSettings.read(path)
