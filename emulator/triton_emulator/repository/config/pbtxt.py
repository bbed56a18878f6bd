"""Reads `config.pbtxt`: protobuf's text format, by the rules of its C++ library."""

from functools import lru_cache
from pathlib import Path

from triton_emulator.cxx import text_format
from triton_emulator.cxx.text_format import Fault, TextFormatError
from triton_emulator.repository.config.raw_text import from_bytes
from triton_emulator.repository.config.whole_file import read_whole
from triton_emulator.repository.schema import Proto, copied, new_config

#: the longest file (bytes) that is kept parsed: tests load the same repository again and again
_REMEMBERED = 1 << 14
_FAULTS_SHOWN, _FAULT_SHOWN = 4, 160


class ConfigError(Exception):
    """A `config.pbtxt` that cannot be read.

    `str` is `<file>:<line>:<column>: <what>` of the first fault, followed by the others: a text may have several.
    """

    def __init__(self, path: Path, faults: tuple[Fault, ...]) -> None:
        told = "; ".join(str(fault)[:_FAULT_SHOWN] for fault in faults[:_FAULTS_SHOWN])
        more = f"; and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
        super().__init__(f"{path}:{told}{more}")
        self.path = path
        self.faults = faults


def parse_config(
    text: bytes | str, path: Path = Path("config.pbtxt"), unknown: frozenset[str] = frozenset()
) -> Proto:
    """The `ModelConfig` message that `text` describes. Raises ConfigError; `path` is for its message only.

    `unknown` are the fields that the emulated version does not have.
    """
    data = text.encode() if isinstance(text, str) else text
    try:
        if len(data) > _REMEMBERED:
            return _parse(data, unknown)
        config = copied(_remembered(data, unknown))
    except TextFormatError as error:
        raise ConfigError(path, error.faults) from None
    return config


@lru_cache(maxsize=256)
def _remembered(data: bytes, unknown: frozenset[str]) -> Proto:
    """The message of a short file. It is shared: copy it, do not change it."""
    return _parse(data, unknown)


def _parse(data: bytes, unknown: frozenset[str]) -> Proto:
    config = new_config(unknown)
    text_format.parse(data, config, from_bytes)
    return config


def read_config(path: Path, unknown: frozenset[str] = frozenset()) -> Proto:
    """The `ModelConfig` message in a file. Raises ConfigError, and OSError for a file that cannot be read."""
    return parse_config(read_whole(path), path, unknown)
