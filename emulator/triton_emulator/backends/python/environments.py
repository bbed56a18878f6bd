"""EXECUTION_ENV_PATH: a packed Python environment that Triton unpacks and runs a model in.

A model with a process of its own runs with the environment's interpreter, as in Triton. Any other runs in the
emulator's own interpreter. That is enough where the interpreter can import what the model needs, whether or not the
environment's file is there.
"""

import logging
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from triton_emulator.engine.executor import LoadError, ModelDefinition

_LOG = logging.getLogger(__name__)
#: how the text of a LoadError begins where model.py, or what it imports, imports something that is not installed
_NOT_IMPORTED = ("Internal: ModuleNotFoundError:", "Internal: ImportError:")
#: what reading a packed environment raises: `tarfile` passes on most errors of the compressed data
_BAD_ARCHIVE = (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error)
#: in a path, the folder of the model, as in Triton
_MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"


class Interpreter(NamedTuple):
    """A Python program and the environment variables that it is started with."""

    python: str
    variables: dict[str, str]


class Environments:
    """The unpacked environments of a session: each is unpacked once, and anew when its file has changed.

    They are removed at the end of the process, or when nothing refers to this object any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._unpacked: dict[Path, tuple[float, Path]] = {}

    def interpreter(self, definition: ModelDefinition) -> Interpreter:
        """What runs a model that has a process of its own. Raises LoadError if its environment cannot be used."""
        path = _path(definition)
        if path is None:
            return Interpreter(sys.executable, dict(os.environ))
        require_environment(definition)
        folder = path if path.is_dir() else self._unpack(path)
        _require_activate(folder)
        programs = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return Interpreter(str(folder / "bin" / "python"), {**os.environ, "PATH": programs})

    def _unpack(self, path: Path) -> Path:
        with self._lock:
            try:
                changed = path.stat().st_mtime
                known, folder = self._unpacked.get(path, (None, Path()))
                if known != changed:
                    _LOG.info("Extracting Python execution env %s", path)
                    folder = Path(tempfile.mkdtemp(dir=self._folder()))
                    with tarfile.open(path) as packed:
                        # an environment has links to absolute paths; it is as trusted as the model's code
                        packed.extractall(folder, filter="tar")
                    self._unpacked[path] = changed, folder
            except _BAD_ARCHIVE as error:
                raise LoadError(
                    f"Internal: Failed to extract the environment of EXECUTION_ENV_PATH '{path}': {error}"
                ) from None
            return folder

    def _folder(self) -> Path:
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="python_env_"))
            weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        return self._root


@contextmanager
def told_where_to_install(definition: ModelDefinition, python: str) -> Iterator[None]:
    """Load a model in the interpreter `python`. If an import fails the log names it, as Triton's text does not."""
    try:
        yield
    except LoadError as error:
        if str(error).startswith(_NOT_IMPORTED):
            _LOG.warning(
                "model '%s' imports what the Python that runs it, %s, does not find; a package must be installed there",
                definition.name,
                python,
            )
        raise


@contextmanager
def without_environment(definition: ModelDefinition) -> Iterator[None]:
    """Load a model in this interpreter: an import that fails is explained by the environment that is not used."""
    environment = _environment(definition)
    try:
        yield
    except LoadError as error:
        if environment and str(error).startswith(_NOT_IMPORTED):
            raise LoadError(
                f"{str(error).rstrip()}\nEXECUTION_ENV_PATH '{environment}' is not used here: model.py runs in the "
                f"emulator's own Python, {sys.executable}; install there what the model imports, or give the model a "
                "process of its own, which uses it (--python-process-per-model)"
            ) from None
        raise


def require_environment(definition: ModelDefinition) -> None:
    """Refuse a model whose environment is not there, as the real server does before it looks at the model's file.

    Raises LoadError. What an archive holds is not looked at.
    """
    path = _path(definition)
    if path is None:
        return
    if not path.exists():
        raise LoadError(f"Internal: Failed to get the canonical path for {path}.")
    if path.is_dir():
        _require_activate(path.resolve())


def _require_activate(folder: Path) -> None:
    activate = folder / "bin" / "activate"
    if not activate.exists():
        raise LoadError(
            f"Internal: Path {activate} does not exist. The Python environment should contain an 'activate' script."
        )


def tell(definition: ModelDefinition) -> None:
    """Say that a loaded model does without its environment."""
    if environment := _environment(definition):
        _LOG.warning(
            "EXECUTION_ENV_PATH '%s' of model '%s' is not used: model.py runs in the emulator's own Python, %s; "
            "--python-process-per-model runs it with that environment",
            environment,
            definition.name,
            sys.executable,
        )


def _path(definition: ModelDefinition) -> Path | None:
    """Where the environment is; None without one."""
    environment = _environment(definition)
    # 2.51: only the first one is replaced, and a relative path is one of the server's folder
    return Path(environment.replace(_MODEL_DIRECTORY, str(definition.directory), 1)) if environment else None


def _environment(definition: ModelDefinition) -> str | None:
    return definition.config.parameters.get("EXECUTION_ENV_PATH")
