"""The log on the console or in a file, line by line as tritonserver prints it."""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from triton_emulator.protocol.json_dialect import write_string
from triton_emulator.session.log_settings import LogSettings

_LETTERS = {"WARNING": "W", "ERROR": "E", "CRITICAL": "E"}
#: The logger above all of ours.
ROOT = "triton_emulator"


class TritonLog(logging.StreamHandler[TextIO]):
    """A handler of `logging` that asks `settings` at each line what is wanted."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__(_stream(settings.file))
        self.settings: Callable[[], LogSettings] = lambda: settings

    def close(self) -> None:
        if self.stream is not sys.stderr:
            self.stream.close()
        super().close()

    def filter(self, record: logging.LogRecord) -> bool:
        settings = self.settings()
        if record.levelno >= logging.ERROR:
            return settings.error
        if record.levelno >= logging.WARNING:
            return settings.warning
        return settings.info if record.levelno >= logging.INFO else settings.verbose_level > 0

    def format(self, record: logging.LogRecord) -> str:
        return f"{_heading(record, self.settings().format)} {_quoted(_text(record))}"


def install(settings: LogSettings) -> TritonLog:
    """Send what the emulator logs to the console, or to the settings' file, and nowhere else."""
    log = TritonLog(settings)
    logger = logging.getLogger(ROOT)
    logger.handlers = [log]
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    return log


def follow(settings: Callable[[], LogSettings]) -> None:
    """Let an installed log do from now on what these settings say at the time of each line."""
    for handler in logging.getLogger(ROOT).handlers:
        if isinstance(handler, TritonLog):
            handler.settings = settings


def _stream(file: str) -> TextIO:
    if file:
        try:
            return Path(file).open("a", encoding="utf-8", errors="surrogateescape")
        except OSError:  # as tritonserver: then the console it is
            pass
    return sys.stderr


def _heading(record: logging.LogRecord, style: str) -> str:
    letter = _LETTERS.get(record.levelname, "I")
    origin = f"{record.process} {record.filename}:{record.lineno}]"
    at = datetime.fromtimestamp(record.created, UTC)
    if style == "ISO8601":
        return f"{at:%Y-%m-%dT%H:%M:%SZ} {letter} {origin}"
    return f"{letter}{at:%m%d %H:%M:%S.%f} {origin}"


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _quoted(text: str) -> str:
    """A message in quotes and escaped, so that it is one line; a table, which starts with a line feed, as it is."""
    if text.startswith("\n"):
        return text
    return write_string(text).decode("utf-8", "surrogateescape")
