"""The parameters of a load request: a config, and files, which are checked and written to a temporary folder."""

import posixpath
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.from_json import parse_json_config
from triton_emulator.repository.schema import Proto

CONFIG = "config"
FILE_PREFIX = "file:"

Parameters = Mapping[str, str | bytes]

_NAME_MAX = 255  # bytes in one part of a path


class TemporaryFolder:
    """A temporary folder; it is removed when this object is no longer referenced."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="folder"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def check_model_name(name: str, rules: Personality) -> None:
    """Refuse a name that leads out of the repository, in every version: 2.51 loads from there.

    Versions that check names refuse others as well. Raises INVALID_ARG.
    """
    trimmed = name.strip(_SPACES)
    if not trimmed and rules.no_model_name:
        raise invalid_arg(rules.no_model_name if name else rules.empty_model_name)
    dots = trimmed == ".." if rules.allows_dots_in_model_names else ".." in name
    if dots or "/" in name or "\0" in name:
        raise invalid_arg(
            f"invalid model name '{name}', model name must not contain path traversal characters"
        )


#: what C++ trims
_SPACES = " \t\n\v\f\r"


def has_files(parameters: Parameters) -> bool:
    return any(key.startswith(FILE_PREFIX) for key in parameters)


def config_override(parameters: Parameters, rules: Personality) -> Proto | None:
    """The config in the parameters, None without one.

    Raises INVALID_ARG for a text that is no config, and for a parameter that a load does not have.
    """
    for key, value in parameters.items():
        if key == CONFIG and isinstance(value, str):
            try:
                return parse_json_config(value, rules.unknown_config_fields)
            except ValueError as error:
                raise invalid_arg(f"Invalid config override: {error}") from None
        if not key.startswith(FILE_PREFIX):
            kind = "<bytes>" if isinstance(value, bytes) else "string"
            raise invalid_arg(f"Unrecognized load parameter '{key}' with type '{kind}'")
    return None


def write_files(parameters: Parameters) -> TemporaryFolder:
    """Write the files of a load to a temporary folder. Raises INVALID_ARG for what cannot be written into one."""
    if not isinstance(parameters.get(CONFIG), str):
        raise invalid_arg("Load parameter 'config' must be specified for model file override")
    folder = TemporaryFolder()
    for key, value in parameters.items():
        if key.startswith(FILE_PREFIX):
            if not isinstance(value, bytes):
                raise invalid_arg(f"File parameter '{key}' must have bytes type for its value")
            _write_file(folder.path, key, value)
    return folder


def _write_file(folder: Path, key: str, content: bytes) -> None:
    name = key.removeprefix(FILE_PREFIX)
    relative = posixpath.normpath(name.lstrip("/"))
    if relative.split("/")[0] == ".." or "\0" in name:
        raise invalid_arg(
            f"Invalid file parameter '{key}' with normalized path '{folder / relative}' "
            "must stay within model directory."
        )
    # 2.51 crashes on a name of 256 characters
    if any(len(part.encode("utf-8", "surrogateescape")) > _NAME_MAX for part in relative.split("/")):
        raise invalid_arg(
            f"Invalid file parameter '{key}', a part of the path is longer than {_NAME_MAX} bytes"
        )
    path = folder / relative
    if name.endswith("/") or path.is_dir():
        raise internal(f"failed to open binary file for write {path}: Is a directory")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise _unwritable(key, error) from None


def _unwritable(key: str, error: OSError) -> TritonError:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return invalid_arg(f"Invalid file parameter '{key}', directory has been created as a file")
    return invalid_arg(f"Invalid file parameter '{key}': {error.strerror}")
