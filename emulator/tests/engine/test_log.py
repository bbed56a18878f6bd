"""Log lines as tritonserver prints them."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from triton_emulator.session import log
from triton_emulator.session.log_settings import LogSettings, clamp_level
from triton_emulator.settings import Settings

LOGGER = logging.getLogger("triton_emulator.test")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger(log.ROOT)
    handlers, propagate, level = list(root.handlers), root.propagate, root.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.propagate = handlers, propagate
    root.setLevel(level)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "triton.log"


def test_a_line_has_level_time_process_place_and_the_quoted_text(file: Path) -> None:
    log.install(LogSettings(file=str(file)))
    LOGGER.warning('a "%s" name\nand a line', "quoted")
    line = file.read_text()
    assert re.fullmatch(
        r'W\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ test_log\.py:\d+\] "a \\"quoted\\" name\\nand a line"\n', line
    )


def test_iso8601_puts_the_level_after_the_time(file: Path) -> None:
    log.install(LogSettings(file=str(file), format="ISO8601"))
    LOGGER.error("no")
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ E \d+ test_log\.py:\d+\] "no"\n', file.read_text())


def test_a_table_is_printed_as_it_is(file: Path) -> None:
    log.install(LogSettings(file=str(file)))
    LOGGER.info("%s", "\n+---+\n| a |\n+---+\n")
    assert file.read_text().partition("] ")[2] == "\n+---+\n| a |\n+---+\n\n"


def test_a_traceback_follows_in_the_same_line(file: Path) -> None:
    log.install(LogSettings(file=str(file)))
    try:
        raise ValueError("boom")
    except ValueError:
        LOGGER.exception("failed")
    (line,) = file.read_text().splitlines()
    assert line.endswith('ValueError: boom"')


@pytest.mark.parametrize(
    "settings, logged",
    [
        (LogSettings(), ["info", "warning", "error"]),
        (LogSettings(info=False), ["warning", "error"]),
        (LogSettings(warning=False), ["info", "error"]),
        (LogSettings(error=False), ["info", "warning"]),
        (LogSettings(verbose_level=1), ["debug", "info", "warning", "error"]),
    ],
    ids=["by default", "without info", "without warnings", "without errors", "verbosely"],
)
def test_levels_are_logged(file: Path, settings: LogSettings, logged: list[str]) -> None:
    log.install(LogSettings(file=str(file)))
    log.follow(lambda: settings)
    for level in ("debug", "info", "warning", "error"):
        getattr(LOGGER, level)(level)
    assert re.findall(r'"(\w+)"', file.read_text()) == logged


def test_a_file_that_can_not_be_opened_leaves_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    log.install(LogSettings(file="/nonexistent/triton.log"))
    LOGGER.info("here")
    assert capsys.readouterr().err.endswith('"here"\n')


def test_the_settings_of_a_server_are_those_of_its_log() -> None:
    given = Settings(log_info=False, log_verbose=-3, log_format="ISO8601", log_file="x")
    assert LogSettings.of(given) == LogSettings("x", info=False, verbose_level=0, format="ISO8601")


@pytest.mark.parametrize(
    "given, kept",
    [(5, 5), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0), (2**32 + 1, 1), (2**64 - 1, 0)],
)
def test_a_level_is_kept_in_32_signed_bits(given: int, kept: int) -> None:
    assert clamp_level(given) == kept
