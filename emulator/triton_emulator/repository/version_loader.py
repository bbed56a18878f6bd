"""Makes a version of a model: its config completed, its labels read, and what the session's loader makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic

from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.stages import Backends, complete_to_load
from triton_emulator.repository.labels import Labels, read_labels, with_member_labels
from triton_emulator.repository.scanner import PolledModel, identifier
from triton_emulator.repository.schema import Proto
from triton_emulator.repository.version_life import LoadedT, Served

#: Makes a version of a model: (name, version, completed config, the model's folder, its outputs' labels, its
#: namespace). The text of whatever it raises is the reason of the failure; a TritonError's is preceded by its code, as
#: in "Internal: ...".
LoadVersion = Callable[[str, int, ModelConfig, Path, Labels, str], LoadedT]


class VersionLoader(Generic[LoadedT]):
    """Makes versions by `load_version`, which is called up to `retries` times more where it fails.

    `labels_of` has the labels of a served model, by its identifier.
    """

    def __init__(
        self,
        load_version: LoadVersion[LoadedT],
        backends: Backends,
        labels_of: Callable[[str], Labels],
        *,
        strict_config: bool,
        retries: int,
        rules: Personality,
    ) -> None:
        self._load_version = load_version
        self._backends = backends
        self._labels_of = labels_of
        self._strict_config = strict_config
        self._retries = max(retries, 0)
        self._rules = rules

    def load(self, model: PolledModel, version: int) -> Served[LoadedT]:
        """Raises TritonError for a config that cannot be completed, and whatever the loader raises."""
        config = complete_to_load(
            model.config,
            model.directory,
            version,
            self._backends,
            provided=model.config_provided,
            strict=self._strict_config,
            rules=self._rules,
        )
        own_labels = read_labels(config.proto, model.directory, self._rules)
        labels = with_member_labels(own_labels, config.proto, self._labels_of_step)
        loaded = self._load_and_retry(model, version, config, labels)
        return Served(model.name, version, config, loaded, model, labels)

    def _load_and_retry(
        self, model: PolledModel, version: int, config: ModelConfig, labels: Labels
    ) -> LoadedT:
        for left in reversed(range(self._retries + 1)):
            try:
                return self._load_version(
                    model.name, version, config, model.directory, labels, model.namespace
                )
            except Exception:
                if not left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _labels_of_step(self, step: Proto) -> Labels:
        return self._labels_of(identifier(step.model_namespace, step.model_name))
