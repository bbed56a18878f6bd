"""Reads `config.pbtxt`: protobuf's text format, with one clear error where it is broken."""

import re
from functools import lru_cache
from pathlib import Path

from google.protobuf import text_format

from triton_emulator.repository.schema import Proto, fields_newer_than_2_51, new_config, pool

_POSITION = re.compile(r"^(\d+):(\d+) : (.*)$", re.DOTALL)
#: text_format quotes the whole offending line before what is wrong with it
_QUOTED_LINE = re.compile(r"^'.*': ", re.DOTALL)


#: the longest text (characters) that is kept parsed: tests load the same repository again and again
_REMEMBERED = 1 << 14


class ConfigError(Exception):
    """A `config.pbtxt` that cannot be read: `str` is `<file>:<line>:<column>: <what>` (the numbers from 1)."""

    def __init__(self, path: Path, what: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{path}:{line}:{column}: {what}")
        self.path = path
        self.what = what
        self.line = line
        self.column = column


def parse_config(text: str, path: Path = Path("config.pbtxt")) -> Proto:
    """The `ModelConfig` message that `text` describes. Raises ConfigError; `path` is for its message only."""
    config = new_config()
    try:
        if len(text) <= _REMEMBERED:
            config.CopyFrom(_parsed(text))
        else:
            text_format.Parse(text, config, descriptor_pool=pool())
    except text_format.ParseError as error:
        raise _config_error(path, error) from None
    except (RecursionError, UnicodeError) as error:
        raise ConfigError(path, str(error)) from None
    for field in fields_newer_than_2_51(config):
        raise ConfigError(path, f"field '{field}' is unknown to this version of Triton")
    return config


@lru_cache(maxsize=256)
def _parsed(text: str) -> Proto:
    """The message of a short text. It is shared: copy it, do not change it."""
    config = new_config()
    text_format.Parse(text, config, descriptor_pool=pool())
    return config


def read_config(path: Path) -> Proto:
    """The `ModelConfig` message in a file. Raises ConfigError, for a file that cannot be read too."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        raise ConfigError(path, "not valid UTF-8", line, column) from None
    return parse_config(text, path)


def _config_error(path: Path, error: text_format.ParseError) -> ConfigError:
    found = _POSITION.match(str(error))
    if not found:
        return ConfigError(path, str(error), error.GetLine() or 1, error.GetColumn() or 1)
    what = _QUOTED_LINE.sub("", found[3], count=1)
    return ConfigError(path, what, int(found[1]), int(found[2]))
