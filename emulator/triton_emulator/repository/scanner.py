"""Reads model folders: what a repository holds at this moment, and when it last changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

from triton_emulator.protocol.errors import TritonError, internal
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.pbtxt import ConfigError, read_config
from triton_emulator.repository.config.stages import complete_as_read
from triton_emulator.repository.folder_times import NEVER, Times, read_times
from triton_emulator.repository.override import TemporaryFolder
from triton_emulator.repository.schema import Proto, new_config
from triton_emulator.repository.versions import OTHER_FOLDERS, subdirectories

CONFIG_FILE = "config.pbtxt"
_CONFIGS_FOLDER = "configs"


@dataclass(frozen=True, slots=True)
class PolledModel:
    """A model as found in a repository, its config completed as far as that needs no backend.

    `config_provided` is False where there was no `config.pbtxt`; `explicit` is True for a model that was asked for by
    name, False for one that came with an ensemble. `times` are those of its folder, `times_before` those of what is
    being replaced.
    `folder` keeps the temporary folder of a load with files in the request for as long as the model is there.
    `namespace` is the repository's path with `--model-namespacing`, else empty.
    """

    name: str
    directory: Path
    config: Proto
    namespace: str = ""
    config_provided: bool = True
    explicit: bool = True
    times: Times = NEVER
    times_before: Times = NEVER
    folder: TemporaryFolder | None = None

    @property
    def id(self) -> str:
        """The name that is unique among all models, as Triton prints it."""
        return identifier(self.namespace, self.name)


def identifier(namespace: str, name: str) -> str:
    """The model's identifier as Triton prints it."""
    return f"{namespace}::{name}" if namespace else name


def read_model(
    name: str,
    directory: Path,
    override: Proto | None = None,
    *,
    strict: bool = False,
    config_name: str = "",
    rules: Personality,
) -> PolledModel:
    """Read a model's folder; `override` is a config to use in place of its file.

    `strict` is tritonserver's `--disable-auto-complete-config`, `config_name` its `--model-config-name`. `rules` are
    the emulated version's.
    Raises TritonError; ConfigError for a config that cannot be parsed.
    """
    path = config_path(directory, config_name)
    provided = True
    unknown = rules.unknown_config_fields
    times = read_times(directory, path) if directory.is_dir() else NEVER
    if override is not None:
        # 2.51: a config from a request counts as newer than any file, so a plain load afterwards changes nothing.
        # Until 2.41 it counts as older than any, so a plain load goes back to the file.
        config = override
        times = times.with_config_at(time_ns()) if rules.config_override_lasts else NEVER
    else:
        provided = strict or path.exists()
        config = _read_config(path, unknown) if provided else new_config(unknown)
    complete_as_read(config, name, lambda: _first_version(directory), strict=strict, rules=rules)
    return PolledModel(name, directory, config, config_provided=provided, times=times)


def _read_config(path: Path, unknown: frozenset[str]) -> Proto:
    try:
        return read_config(path, unknown)
    except OSError as error:
        raise internal(f"failed to open text file for read {path}: {error.strerror}") from None


def _first_version(directory: Path) -> Path | None:
    folders = subdirectories(directory)
    return directory / folders[0] if folders else None


def config_path(directory: Path, config_name: str) -> Path:
    """`configs/<config_name>.pbtxt` where that is asked for and there, else `config.pbtxt`."""
    custom = directory / _CONFIGS_FOLDER / f"{config_name}.pbtxt"
    return custom if config_name and custom.exists() else directory / CONFIG_FILE


@dataclass(frozen=True, slots=True)
class Found:
    """A model's folder in a repository, not yet read."""

    namespace: str
    name: str
    directory: Path

    @property
    def id(self) -> str:
        return identifier(self.namespace, self.name)


def scan(
    paths: list[Path], *, namespacing: bool = False
) -> tuple[list[Found], dict[str, Found], Mapping[Path, TritonError]]:
    """The model folders of all repositories, the names found more than once, and the repositories that are unreadable.

    With `namespacing` every repository is a namespace of its own, and no name is found twice.
    """
    found: dict[str, Found] = {}
    duplicates: dict[str, Found] = {}
    unreadable: dict[Path, TritonError] = {}
    for path in paths:
        try:
            names = subdirectories(path)
        except TritonError as error:
            unreadable[path] = error
            continue
        for name in names:
            folder = Found(str(path) if namespacing else "", name, path / name)
            (duplicates if folder.id in found else found)[folder.id] = folder
    models = sorted(
        (f for f in found.values() if f.id not in duplicates), key=lambda f: (f.namespace, f.name)
    )
    return models, duplicates, unreadable


def poll_error(error: Exception) -> str:
    """The log text of an error that was raised by reading a model."""
    if isinstance(error, ConfigError):
        return f"failed to read text proto from {error}"
    return str(error)


def misplaced(repository: Path) -> str:
    """Why a path is no repository but a folder in it or above it; "" where it may be a repository."""
    try:
        entries = sorted(repository.iterdir())
    except OSError:
        return ""
    folders = [entry for entry in entries if entry.is_dir()]
    versions = [entry for entry in folders if entry.name.isdecimal() and not _is_model(entry)]
    config = repository / CONFIG_FILE
    if versions and all(f in versions or f.name in OTHER_FOLDERS for f in folders):
        holds = config if config.is_file() else versions[0]
        return (
            f"'{repository}' is a model's folder, as it holds {holds.name}: --model-repository takes the folder above "
            f"it, '{repository.parent}'"
        )
    file = next((entry for entry in entries if entry.name.startswith("model.")), None)
    if file is not None and repository.name.isdecimal() and not folders:
        return (
            f"'{repository}' is a version's folder, as it holds {file.name}: --model-repository takes the folder above "
            f"the model's, '{repository.parent.parent}'"
        )
    if any(map(_is_model, folders)):
        return ""
    for folder in folders:
        if model := _model_in(folder):
            return (
                f"'{folder}' looks like a model repository, as it holds the model {model}: --model-repository takes "
                f"this folder, not '{repository}'"
            )
    return ""


def _model_in(folder: Path) -> str:
    """The name of the first model in a folder; "" for a folder without one, or that cannot be read."""
    try:
        return min(
            (entry.name for entry in folder.iterdir() if entry.is_dir() and _is_model(entry)), default=""
        )
    except OSError:
        return ""


def _is_model(folder: Path) -> bool:
    """Whether a folder is a model's by what it holds, whatever its name is."""
    try:
        return any(entry.name == CONFIG_FILE or entry.name.isdecimal() for entry in folder.iterdir())
    except OSError:
        return False
