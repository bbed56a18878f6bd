"""Chooses the backend of a model: completes its configuration, and makes a LoadedModel of each version.

This ties the repository, which knows folders, to the backends, which know how models run. A `Loader` makes the
repository, and hands it what it needs of them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from time import monotonic

from triton_emulator import builtin
from triton_emulator.backends import standins
from triton_emulator.backends.ensemble.executor import EnsembleExecutor
from triton_emulator.backends.python import loading as python_backend
from triton_emulator.backends.python.environments import require_environment
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.standins import FILE_NAME, ModelSettings
from triton_emulator.cxx.numbers import stoi
from triton_emulator.engine.executor import Executor, ModelDefinition
from triton_emulator.engine.loaded_model import LoadedModel, Surroundings, metric_labels
from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.backend_update import update_config
from triton_emulator.repository.config.completion import named_gpus
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.stages import Backends
from triton_emulator.repository.labels import Labels
from triton_emulator.repository.repository import Options, Repository
from triton_emulator.repository.schema import Proto
from triton_emulator.repository.versions import subdirectories
from triton_emulator.session.counts import Counts
from triton_emulator.session.model_server import ModelServer
from triton_emulator.session.one_process import check_files, check_model
from triton_emulator.settings import Settings
from triton_emulator.yaml_nodes import SettingsError

_LOG = logging.getLogger(__name__)
#: of a model whose config gives no batch size and whose file has a batch dimension, as core 2.51 tells its backends
_DEFAULT_MAX_BATCH_SIZE = 4


class Loader:
    """Makes the models of one session, once it is started."""

    def __init__(
        self,
        settings: Settings,
        rules: Personality,
        loop: asyncio.AbstractEventLoop,
        surroundings: Surroundings,
        counts: Counts,
    ) -> None:
        """To be made on the event loop that serves the session. No file is read before `start`.

        `rules` is what the emulated version does.
        """
        # absolute, but with links kept: a model may find its files by the link that it was reached through
        paths = [Path(path).absolute() for path in settings.model_repositories] or [builtin.REPOSITORY]
        self._all_settings = settings
        self._settings = _RepositorySettings(settings, paths)
        self._stand_ins = settings.stand_ins
        self._rules = rules
        self._backend_config = settings.backend_config
        self._surroundings = surroundings
        #: whether a model has been loaded whose own code is asked whether it is ready
        self.asks_models = False
        self._failures = counts.failures
        self.repository: Repository[LoadedModel] = Repository(
            _options(settings, paths, rules),
            self._load_version,
            unload_version=LoadedModel.stop,
            is_healthy=_is_healthy if rules.asks_models_whether_ready else None,
            backends=Backends(
                complete=self._complete,
                complete_strictly=self._complete_strictly,
                exists=self._has_backend,
                gpus=_gpus(settings),
            ),
        )
        #: what Python models count; shown on the metrics port
        self.model_metrics = MetricRegistry()
        self._server = ModelServer(self.repository, loop, counts.finish)
        self._standin_hooks = standins.Hooks(
            surroundings.clock.call_later, surroundings.clock.call_at, surroundings.clock.monotonic_ns
        )
        self._python_hooks = python_backend.Hooks(
            self._server, self.model_metrics, settings.python_process_per_model
        )

    def read_settings(self) -> Sequence[ModelSettings]:
        """Read the `emulator.yaml` files. Raises SettingsError for one that means nothing."""
        self._settings.read()
        check_files(self._settings.files, self._all_settings)
        return self._settings.files

    def start(self) -> TritonError | None:
        """Load the models, after `read_settings`. Blocks: not to be called on the event loop.

        Returns and raises as `Repository.start` does.
        """
        self._settings.tell_unused()
        return self.repository.start()

    def _definition(self, name: str, version: int, config: ModelConfig, directory: Path) -> ModelDefinition:
        return ModelDefinition(
            name, version, config, directory, self._settings.of(name, directory), self._rules
        )

    def _stands_in(self, definition: ModelDefinition) -> bool:
        return standins.stands_in(definition, unasked=self._stand_ins == "all")

    def _runs_python(self, definition: ModelDefinition) -> bool:
        return not (self._stands_in(definition) or definition.config.is_ensemble)

    def _has_backend(self, name: str, config: Proto, directory: Path) -> bool:
        definition = self._definition(name, 0, ModelConfig.of(config), directory)
        return _runs_model_py(definition) or self._stands_in(definition)

    def _load_version(
        self, name: str, version: int, config: ModelConfig, directory: Path, labels: Labels, namespace: str
    ) -> LoadedModel:
        definition = replace(self._definition(name, version, config, directory), namespace=namespace)
        self._failures.open(metric_labels(definition))
        check_model(definition, self._all_settings, runs_python=self._runs_python(definition))
        executor: Executor
        start = monotonic()
        if self._stands_in(definition):
            executor = stand_in = standins.load(definition, self._standin_hooks)
            _warn_of_unknown_backend(definition)
            self._settings.tell_meaningless(name, directory, standins.behaviour(definition))
            self._settings.tell_unused_outputs(definition, stand_in.made_up)
        elif config.is_ensemble:
            executor = EnsembleExecutor(definition, self._server)
            self._settings.tell_meaningless(name, directory, "python")
        else:
            self._require_environment(definition)
            executor = python_backend.load(definition, self._python_hooks)
            self._settings.tell_meaningless(name, directory, "python")
        seconds = 0 if config.is_ensemble else monotonic() - start
        model = LoadedModel(definition, executor, labels, self._surroundings, seconds)
        self.asks_models = self.asks_models or model.asks_model
        return model

    def _default_max_batch_size(self, backend: str) -> int:
        """The backend's setting of that name, which `--backend-config` may change for one backend or for all."""
        for owner in (backend, ""):
            for name, setting, value in self._backend_config:
                if (name, setting) == (owner, "default-max-batch-size"):
                    try:
                        return stoi(value)
                    except (ValueError, OverflowError):
                        raise invalid_arg(
                            f"--backend-config: {setting} is no number of 32 bits: '{value}'"
                        ) from None
        return _DEFAULT_MAX_BATCH_SIZE

    def _complete(self, config: Proto, directory: Path, version: int) -> None:
        """Add what the model's backend adds to its configuration, as Triton's backends do when they load it."""
        definition = self._definition(config.name, version, ModelConfig.of(config), directory)
        if self._stands_in(definition):
            standins.complete(config)
            standins.complete_tensors(config, definition, self._default_max_batch_size(config.backend))
        elif _runs_model_py(definition):
            check_model(definition, self._all_settings, runs_python=True)  # before any of its code runs
            self._require_environment(definition)
            completed = python_backend.auto_complete(definition, self._python_hooks)
            if completed is not None:
                update_config(config, completed)

    def _require_environment(self, definition: ModelDefinition) -> None:
        """Only the machine that has no stand-ins is faithful here too: elsewhere this Python is enough for a model."""
        if self._stand_ins == "configured":
            require_environment(definition)

    def _complete_strictly(self, config: Proto, directory: Path, version: int) -> None:
        """Add what `emulator.yaml` gives. It counts without completion too, as a user has written it."""
        definition = self._definition(config.name, version, ModelConfig.of(config), directory)
        if self._stands_in(definition):
            standins.add_given(config, definition.settings)


def _is_healthy(model: LoadedModel) -> bool:
    return model.healthy


def _options(settings: Settings, paths: list[Path], rules: Personality) -> Options:
    return Options(
        paths=paths,
        mode=settings.model_control_mode,  # type: ignore[arg-type]
        load_models=settings.load_models,
        strict_readiness=settings.strict_readiness,
        strict_config=settings.disable_auto_complete_config,
        config_name=settings.model_config_name,
        load_threads=settings.model_load_thread_count,
        load_retries=settings.model_load_retry_count,
        namespacing=settings.model_namespacing,
        poll_seconds=settings.repository_poll_secs,
        rules=rules,
    )


def _gpus(settings: Settings) -> Callable[[Proto], Sequence[int]]:
    """The ids of the GPUs that a model sees, by its config."""
    count = settings.simulated_gpus
    if count is None:
        return named_gpus
    return lambda _: range(count)


def _warn_of_unknown_backend(definition: ModelDefinition) -> None:
    """Say that a stand-in answers for a backend that no release of Triton has; it may be a misspelt one."""
    backend = definition.config.backend
    if backend in standins.KNOWN or "behaviour" in definition.settings:
        return
    near = get_close_matches(backend, ["python", *sorted(standins.KNOWN)], n=1)
    _LOG.warning(
        "a stand-in answers for model '%s', as its backend '%s' is not known here%s; "
        "give the model a behaviour in emulator.yaml, or refuse such models with --stand-ins=configured",
        definition.name,
        backend,
        f" (did you mean '{near[0]}'?)" if near else "",
    )


class _RepositorySettings:
    """A model's entry of the `emulator.yaml` of its repository, or of the file that `--emulator-config` names."""

    def __init__(self, settings: Settings, paths: list[Path]) -> None:
        self._named = settings.emulator_config
        self._one: ModelSettings | None = None
        self._by_path = dict.fromkeys(paths, ModelSettings())

    def read(self) -> None:
        """Read the files. Raises SettingsError for one that means nothing."""
        self._one = _named_file(Path(self._named)) if self._named else None
        self._by_path = {path: ModelSettings.read(path / FILE_NAME) for path in self._by_path}

    @property
    def files(self) -> Sequence[ModelSettings]:
        """What has been read."""
        return list(self._by_path.values()) if self._one is None else [self._one]

    def of(self, name: str, directory: Path) -> dict[str, object]:
        source = self._source(directory)
        return source.for_model(name) if source is not None else {}

    def _source(self, directory: Path) -> ModelSettings | None:
        return self._one or self._by_path.get(directory.parent)

    def tell_unused(self) -> None:
        """Warn of entries that fit no model. That is no error: a model may be added later."""
        folders = {path: _folders(path) for path in self._by_path}
        named = [(self._one, [name for names in folders.values() for name in names])] if self._one else []
        for source, names in named or [(self._by_path[path], names) for path, names in folders.items()]:
            for text in source.without_a_model(names):
                _LOG.warning("%s", text)

    def tell_meaningless(self, name: str, directory: Path, behaviour: str) -> None:
        """Warn of keys that the model's behaviour does not know. That is no error: the model answers without them."""
        if (source := self._source(directory)) is not None:
            for text in source.without_meaning(name, behaviour):
                _LOG.warning("%s", text)

    def tell_unused_outputs(self, definition: ModelDefinition, made_up: frozenset[str]) -> None:
        """Warn of names in an entry that are none of `made_up`. That is no error: the model answers without them."""
        if (source := self._source(definition.directory)) is not None:
            outputs = [spec.name for spec in definition.config.outputs]
            for text in source.without_an_output(definition.name, outputs, made_up):
                _LOG.warning("%s", text)


def _runs_model_py(definition: ModelDefinition) -> bool:
    config = definition.config
    if config.is_ensemble:  # whatever a pattern of emulator.yaml says
        return False
    return config.backend == "python" or definition.settings.get("behaviour") == "python"


def _folders(repository: Path) -> list[str]:
    """The models' folders of a repository; none where it cannot be read, which the start will say."""
    try:
        return subdirectories(repository)
    except TritonError:
        return []


def _named_file(path: Path) -> ModelSettings:
    if not path.exists():
        raise SettingsError(path, 0, "there is no such file; --emulator-config (emulator_config) names it")
    return ModelSettings.read(path)
