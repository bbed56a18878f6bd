"""Reads the models of all repositories, by scan or by name, and remembers why one could not be read."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns

from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository import override, scanner
from triton_emulator.repository.config.pbtxt import ConfigError
from triton_emulator.repository.config.raw_text import as_logged, to_text
from triton_emulator.repository.folder_times import NEVER, config_at
from triton_emulator.repository.scanner import Found, PolledModel

_LOG = logging.getLogger(__name__)

#: requests may name any number of models that are not there
_PROBLEMS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look at all repositories found: the folders' identifiers, the models that could be read, and whether that
    is all of them.
    """

    ids: frozenset[str]
    models: Sequence[PolledModel]
    complete: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a model could not be read or put together; `model` is its identifier, "" for a repository.

    `path` is the config file, or else the folder, that cannot be used; None where it is not known.
    """

    model: str
    text: str
    path: Path | None = None


class FolderReader:
    """The model folders in `paths`.

    `strict_config` is tritonserver's `--disable-auto-complete-config`, `config_name` its `--model-config-name`,
    `namespacing` its `--model-namespacing`. `rules` are the emulated version's.
    """

    def __init__(
        self,
        paths: list[Path],
        *,
        strict_config: bool,
        config_name: str,
        namespacing: bool,
        rules: Personality,
    ) -> None:
        self._paths = paths
        self._rules = rules
        self._strict_config = strict_config
        self._config_name = config_name
        self._namespacing = namespacing
        #: by the model's identifier, or by the path of a repository
        self.problems: dict[str, Problem] = {}

    def scan(self) -> Scan:
        """Read every model of every repository."""
        found, duplicates, unreadable = scanner.scan(self._paths, namespacing=self._namespacing)
        for path, error in unreadable.items():
            self.report_repository(path, f"failed to poll model repository '{path}': {error.message}")
        for key in sorted(duplicates):
            self.report(key, f"failed to poll model '{key}': not unique across all model repositories")
        models = [self._read(folder) for folder in found]
        return Scan(
            frozenset(folder.id for folder in found),
            [model for model in models if model is not None],
            not (unreadable or duplicates or None in models),
        )

    def read_named(
        self, name: str, parameters: override.Parameters, folder: override.TemporaryFolder | None
    ) -> list[PolledModel | None]:
        """The models of a name, None for one that cannot be read; none where there is none, or one too many.

        `parameters` are those of a load request, `folder` holds the files among them.
        """
        if folder is not None:
            return [self._read(Found("", name, folder.path), parameters, folder)]
        # os.path.exists has an answer for every name, Path.exists raises for some
        places = [path for path in self._paths if os.path.exists(path / name)]  # noqa: PTH110
        if len(places) > 1 and not self._namespacing:
            self.report(name, f"failed to poll model '{name}': not unique across all model repositories")
            places = []
        if not places:
            self.report(name, f"failed to poll model '{name}': model not found in any model repository.")
        return [
            self._read(Found(str(path) if self._namespacing else "", name, path / name), parameters)
            for path in places
        ]

    def _read(
        self,
        found: Found,
        parameters: override.Parameters | None = None,
        folder: override.TemporaryFolder | None = None,
    ) -> PolledModel | None:
        try:
            config = override.config_override(parameters or {}, self._rules)
            model = scanner.read_model(
                found.name,
                found.directory,
                config,
                strict=self._strict_config,
                config_name=self._config_name,
                rules=self._rules,
            )
        except (TritonError, ConfigError, OSError, UnicodeError) as error:
            if isinstance(error, ConfigError):
                for fault in error.faults:
                    _LOG.error("Error parsing text-format inference.ModelConfig: %s", fault)
            text = f"Poll failed for model directory '{found.id}': {scanner.poll_error(error)}"
            file = scanner.config_path(found.directory, self._config_name)
            self.report(found.id, text, file if file.exists() else found.directory)
            return None
        self.problems.pop(found.id, None)
        model = replace(model, namespace=found.namespace)
        if folder is None:
            return model
        # 2.51: files from a request count as older than any, so a plain load afterwards goes back to the repository.
        # From 2.42 to 2.48 it changes nothing, as after a config from a request.
        times = config_at(time_ns()) if self._rules.request_files_last else NEVER
        return replace(model, folder=folder, times=times)

    def report(self, key: str, text: str, path: Path | None = None) -> None:
        """Log a problem with a model, and keep it."""
        self._keep(key, key, text, path)

    def report_repository(self, path: Path, text: str) -> None:
        """Log a problem with a repository, and keep it."""
        self._keep(str(path), "", text, path)

    def _keep(self, key: str, model: str, text: str, path: Path | None) -> None:
        text = as_logged(to_text(text))  # a folder's name and a config may hold bytes that are no text
        self.problems[key] = Problem(model, text, path)
        if len(self.problems) > _PROBLEMS_KEPT:
            self.problems.pop(next(iter(self.problems)), None)
        _LOG.error("%s", text)


#: what the files of a load request became: the folder that holds them, or why there is none
Files = override.TemporaryFolder | TritonError


def write_files(wanted: Mapping[str, override.Parameters]) -> dict[str, Files]:
    """Put the files of load requests into folders of their own, by model name; nothing for one without files."""
    written: dict[str, Files] = {}
    for name, parameters in wanted.items():
        if override.has_files(parameters):
            try:
                written[name] = override.write_files(parameters)
            except TritonError as error:
                written[name] = error
    return written
