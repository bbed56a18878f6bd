"""Latencies that were measured: the files of perf_analyzer (CSV), genai-perf and aiperf (JSON).

perf_analyzer's `-f perf.csv` has a row for each concurrency, with percentiles of whole requests in microseconds.
`profile_export_genai_perf.json` and `profile_export_aiperf.json` have a metric each for the time to the first token,
the time from token to token and whole requests, with percentiles and their unit.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_emulator.backends.standins.latency import Latency
from triton_emulator.cxx.numbers import INT32_MAX

_CONCURRENCY = "Concurrency"
_PERCENTILES = ("p50 latency", "p99 latency")
#: of the largest concurrency
_DIGITS = 10
#: milliseconds that no request takes
_TOO_LONG = 1e15
#: milliseconds in the units of aiperf
_UNITS = {"ms": 1.0, "s": 1000.0, "sec": 1000.0, "us": 0.001, "ns": 0.000001}
_FIRST, _REST, _WHOLE = "time_to_first_token", "inter_token_latency", "request_latency"


class BadFile(Exception):
    """A file of latencies that cannot be used; `line` is 0 where no line is at fault."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file tells: the latencies of tokens, and those of whole requests at so many at a time."""

    path: str
    first: Latency | None = None
    rest: Latency | None = None
    whole: tuple[tuple[int, Latency], ...] = ()


def parse(text: str, path: str) -> Measured:
    """Read a file by what it holds. Raises BadFile."""
    if text.lstrip().startswith("{"):
        return _json(text, path)
    try:
        return _csv(text, path)
    except csv.Error as error:
        raise BadFile(0, f"not CSV: {error}") from None


def _csv(text: str, path: str) -> Measured:
    rows = csv.reader(text.splitlines())
    header = [name.strip() for name in next(rows, [])]
    for name in _PERCENTILES:
        if name not in header:
            raise BadFile(1, f"there is no column '{name}': it is neither a CSV of perf_analyzer -f nor JSON")
    found: dict[int, Latency] = {}
    for row in rows:
        line = rows.line_num
        if not any(row):
            continue
        if len(row) != len(header):
            raise BadFile(line, f"it has {len(row)} fields, the first line has {len(header)}")
        fields = dict(zip(header, row, strict=True))
        load = _load(fields, line)
        if load in found:
            again = f"'{_CONCURRENCY}' {load} is there twice"
            by_rate = "a measurement by request rate has one row: measure with --concurrency-range"
            raise BadFile(line, again if _CONCURRENCY in fields else by_rate)
        median, p99 = (_microseconds(fields, name, line) for name in _PERCENTILES)
        found[load] = _latency(median, p99, line, _PERCENTILES)
    if not found:
        raise BadFile(0, "it has no rows")
    return Measured(path, whole=tuple(sorted(found.items())))


def _load(fields: Mapping[str, str], line: int) -> int:
    """The concurrency of a row. One of a measurement by request rate has none, and stands for any."""
    if _CONCURRENCY not in fields:
        return INT32_MAX
    text = fields[_CONCURRENCY].strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and 0 < int(text) <= INT32_MAX):
        raise BadFile(line, f"'{_CONCURRENCY}' is a number of requests, not {text!r}")
    return int(text)


def _microseconds(fields: Mapping[str, str], name: str, line: int) -> float:
    """Milliseconds of a field of microseconds."""
    try:
        value = float(fields[name])
    except ValueError:
        value = -1.0
    if not 0 < value < _TOO_LONG:
        raise BadFile(line, f"'{name}' is a number of microseconds above 0, not {fields[name]!r}")
    return value / 1000


def _latency(median: float, p99: float, line: int, names: tuple[str, str]) -> Latency:
    if p99 < median:
        raise BadFile(line, f"'{names[1]}' is below '{names[0]}'")
    return Latency(median, p99)


def _json(text: str, path: str) -> Measured:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadFile(error.lineno, f"not JSON: {error.msg}") from None
    except RecursionError:
        raise BadFile(1, "not JSON: it is nested too deeply") from None
    except ValueError as error:  # an integer with too many digits
        raise BadFile(1, f"not JSON: {error}") from None
    first, rest, whole = (_metric(document, name, text) for name in (_FIRST, _REST, _WHOLE))
    if first is None and whole is None:
        raise BadFile(
            1, f"it has neither '{_FIRST}' nor '{_WHOLE}': it is no profile export of genai-perf or aiperf"
        )
    return Measured(path, first, rest, () if whole is None else ((INT32_MAX, whole),))


def _metric(document: Mapping[str, Any], name: str, text: str) -> Latency | None:
    """The distribution of a metric, None where the file does not have it."""
    if name not in document:
        return None
    line = text[: max(text.find(f'"{name}"'), 0)].count("\n") + 1
    metric = document[name]
    if not isinstance(metric, dict):
        raise BadFile(line, f"'{name}' is an object with a unit and percentiles, not {metric!r}")
    unit = metric.get("unit", "ms")
    if not isinstance(unit, str) or unit not in _UNITS:
        raise BadFile(line, f"'{name}.unit' is one of {', '.join(_UNITS)}, not {unit!r}")
    median, p99 = (_number(metric, name, key, line) * _UNITS[unit] for key in ("p50", "p99"))
    return _latency(median, p99, line, (f"{name}.p50", f"{name}.p99"))


def _number(metric: Mapping[str, Any], name: str, key: str, line: int) -> float:
    value = metric.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _TOO_LONG:
        raise BadFile(line, f"'{name}.{key}' is a number above 0, not {value!r}")
    return float(value)
