"""Backends that Triton knows by name: their platform, their file name, and how it finds one from the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.repository.schema import Proto

ENSEMBLE = "ensemble"
PYTHON = "python"
TENSORRT_PLAN = "tensorrt_plan"


@dataclass(frozen=True, slots=True)
class _Backend:
    name: str
    platform: str
    filename: str
    #: whether `filename` is a file, a directory, or either
    kind: str = "either"
    other_platforms: tuple[str, ...] = ()


#: In the order in which 2.51 tries them. TensorFlow is separate: its platform decides, not its backend.
_BACKENDS = (
    _Backend("tensorrt", TENSORRT_PLAN, "model.plan", kind="file"),
    _Backend("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    _Backend("openvino", "", "model.xml"),
    _Backend("pytorch", "pytorch_libtorch", "model.pt", kind="file"),
    _Backend(PYTHON, "", "model.py"),
)
_TENSORFLOW = (
    _Backend("tensorflow", "tensorflow_savedmodel", "model.savedmodel", kind="directory"),
    _Backend("tensorflow", "tensorflow_graphdef", "model.graphdef", kind="file"),
)

#: Backend by platform, for the check that a config's two names agree.
BACKEND_OF_PLATFORM: Mapping[str, str] = {
    row.platform: row.name for row in (*_TENSORFLOW, *_BACKENDS) if row.platform
}
#: Backends whose `platform` must be one of theirs.
PLATFORM_BACKENDS = frozenset(BACKEND_OF_PLATFORM.values())


def complete_backend(config: Proto, name: str, version_directory: Path | None) -> None:
    """Fill `platform`, `backend` and `default_model_filename` from each other and from the files of the first version.

    `version_directory` is None where the model has no version. Raises INVALID_ARG where the backend stays unknown.
    """
    files = _Files(version_directory)
    if not config.platform and config.backend in ("", "tensorflow"):
        for row in _TENSORFLOW:
            if config.default_model_filename == row.filename or (
                not config.default_model_filename and files.holds(row)
            ):
                config.platform = row.platform
    for row in _TENSORFLOW:
        if config.platform == row.platform:
            config.backend = config.backend or row.name
            config.default_model_filename = config.default_model_filename or row.filename
            return
    for row in _BACKENDS:
        if not config.backend and _fits(config, row, files):
            config.backend = row.name
        if config.backend == row.name:
            config.platform = config.platform or row.platform
            config.default_model_filename = config.default_model_filename or row.filename
            return
    if not (config.backend or config.platform or config.default_model_filename):
        _complete_custom(config, name)


def _fits(config: Proto, row: _Backend, files: "_Files") -> bool:
    if (row.platform and config.platform == row.platform) or config.default_model_filename == row.filename:
        return True
    return not config.platform and not config.default_model_filename and files.holds(row)


def _complete_custom(config: Proto, name: str) -> None:
    _, dot, backend = name.partition(".")
    if not dot:
        raise missing_backend(name)
    config.backend = backend
    config.default_model_filename = f"model.{backend}"


def missing_backend(name: str) -> TritonError:
    return invalid_arg(
        f"Invalid model name: Could not determine backend for model '{name}' with no backend in model configuration. "
        "Expected model name of the form 'model.<backend_name>'."
    )


class _Files:
    """What a version directory holds."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def holds(self, row: _Backend) -> bool:
        if self._directory is None:
            return False
        path = self._directory / row.filename
        if row.kind == "either":
            return path.exists() or path.is_symlink()
        return path.is_dir() if row.kind == "directory" else path.exists() and not path.is_dir()
