"""The files of a cassette. What is wrong in one is told with the file and the line; nothing is ever changed."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from triton_emulator.harness.cassettes import documents
from triton_emulator.harness.cassettes.meaning import digest
from triton_emulator.harness.cassettes.pieces import SUFFIX
from triton_emulator.harness.cassettes.recording import Recording, recording
from triton_emulator.harness.operations import PROTOCOLS

_LOG = logging.getLogger(__name__)
#: the format that is written, and the only one that is read
FORMAT = 1
INDEX = "cassette.yaml"
TENSORS = "tensors"
_OF_SERVER = ("name", "version", "extensions")


class CassetteError(Exception):
    """A cassette that cannot be used. The message begins with the file and the line (0: the whole file)."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path = path
        self.line = line


def read_cassette(folder: Path) -> list[Recording]:
    """All recordings; those of one file in its order. Raises CassetteError."""
    check_index(folder)
    found = []
    for protocol in PROTOCOLS:
        for file in sorted((folder / protocol).glob("*.yaml")):
            for line, given in _documents(file):
                where = f"{file.relative_to(folder)}:{line}"
                try:
                    found.append(recording(protocol, given, where, _fetcher(folder)))
                except ValueError as fault:
                    raise CassetteError(file, line, str(fault)) from None
    return found


def read_server(folder: Path) -> Mapping[str, Any]:
    """What the server that was recorded last says of itself: `name`, `version` and `extensions`, as far as it does.

    Raises CassetteError.
    """
    found: dict[str, Any] = {}
    for given in check_index(folder):
        server = given.get("server")
        for name, value in server.items() if isinstance(server, dict) else ():
            texts = value if name == "extensions" and isinstance(value, list) else [value]
            if name in _OF_SERVER and all(isinstance(text, str) for text in texts):
                found[name] = value
    return found


def check_index(folder: Path) -> list[Mapping[str, Any]]:
    """What each run says that has recorded into a cassette.

    Raises CassetteError unless the folder is a cassette of the format that is read.
    """
    file = folder / INDEX
    if not file.is_file():
        missing = "" if folder.is_dir() else ": there is no such folder"
        raise CassetteError(folder, 0, f"is no cassette{missing or f', it has no {INDEX}'}")
    runs = list(_documents(file))
    if not runs:
        raise CassetteError(file, 1, "is empty; a cassette begins with its format")
    for line, given in runs:
        found = given.get("format") if isinstance(given, dict) else None
        if found != FORMAT:
            raise CassetteError(
                file,
                line,
                f"the format is {found!r}, and this version reads {FORMAT}; record it again with this one",
            )
    return [given for _, given in runs]


def _fetcher(folder: Path) -> Any:
    def fetch(name: str) -> bytes:
        if Path(name).name != name:
            raise ValueError(f"file is the name of a file in {TENSORS}, not {name!r}")
        file = folder / TENSORS / name
        try:
            data = file.read_bytes()
        except OSError as fault:
            raise ValueError(f"{file} cannot be read: {fault.strerror}") from None
        if digest(data) + SUFFIX != name:
            raise ValueError(f"{file} is damaged: its bytes are not those that its name stands for")
        return data

    return fetch


def _documents(file: Path) -> Iterator[tuple[int, Any]]:
    """The documents of a file, each with its first line. Raises CassetteError.

    One that does not end, as its writer was interrupted, is told in the log, and left out if it is the last.
    """
    try:
        found = documents.pieces_of(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise CassetteError(file, 0, f"cannot be read: {fault}") from None
    except ValueError as fault:
        line = int(str(fault)) + 1
        raise CassetteError(
            file, line, "the document has no end ('...') before the next one begins"
        ) from None
    for start, text in found:
        if text.endswith(f"\n{documents.ENDS}"):
            yield start + 1, _parsed(file, start, text)
        elif text.strip():
            _LOG.warning(
                "%s:%d: the last exchange is not complete, and is left out: its recorder was interrupted",
                file,
                start + 1,
            )


def _parsed(file: Path, start: int, text: str) -> Any:
    try:
        return documents.parsed(text)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line if fault.problem_mark else 0
        raise CassetteError(file, start + line + 1, f"not YAML: {fault.problem}") from None
    except (yaml.YAMLError, ValueError) as fault:
        raise CassetteError(file, start + 1, f"not YAML: {fault}") from None
    except RecursionError:
        raise CassetteError(file, start + 1, "it is nested too deeply") from None
