"""Measures a table of loads on both servers, in turn and round by round, so that both see the same machine load."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TypeVar

from benchmarks.load import Rate
from benchmarks.servers import NAMES, running
from triton_contract.targets import Target

#: the repository of both servers
REPOSITORY = Path(__file__).with_name("models")
CONNECTIONS = (1, 16, 64)

Load = TypeVar("Load")
#: Puts load on a server; the numbers are connections and seconds.
Measure = Callable[[Target, Load, int, int], Rate]


@dataclass(frozen=True)
class Extent:
    """The extent of a measurement: rounds per number (the median is taken), seconds per round, and a filter of rows."""

    rounds: int
    seconds: int
    only: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table: the medians of the rounds."""

    what: str
    connections: int
    emulator: Rate
    triton: Rate

    @property
    def ratio(self) -> float:
        return self.emulator.per_second / self.triton.per_second

    def line(self) -> str:
        """The row as the console shows it."""
        return (
            f"{self.what:52}{self.connections:4}  {self.emulator.per_second:8,.0f}/s  {self.triton.per_second:8,.0f}/s"
            f"  {self.ratio:5.2f}x   processor time {self.emulator.cpu_us:5.0f} us {self.triton.cpu_us:5.0f} us"
        )


@contextmanager
def both(*flags: str) -> Iterator[dict[str, Target]]:
    """Both servers by name, with the models of the benchmarks; `flags` are the emulator's."""
    with running("emulator", REPOSITORY, flags) as emulator, running("triton", REPOSITORY) as triton:
        yield dict(zip(NAMES, (emulator, triton), strict=True))


def measure_all(
    targets: Mapping[str, Target], loads: Mapping[str, Load], measure: Measure[Load], extent: Extent
) -> list[Row]:
    """A row for each load and number of connections; each is printed when it is measured."""
    rows = []
    begin = perf_counter()
    chosen = {what: load for what, load in loads.items() if extent.only in what}
    for what, load in chosen.items():
        for target in targets.values():
            measure(target, load, CONNECTIONS[-1], 1)  # to warm up
        for connections in CONNECTIONS:
            rates: dict[str, list[Rate]] = {name: [] for name in targets}
            for _ in range(extent.rounds):
                for name, target in targets.items():
                    rates[name].append(measure(target, load, connections, extent.seconds))
            row = Row(what, connections, _median(rates["emulator"]), _median(rates["triton"]))
            rows.append(row)
            done = f"{len(rows)}/{len(chosen) * len(CONNECTIONS)}"
            print(f"{done:>6} {perf_counter() - begin:4.0f} s  {row.line()}", flush=True)
    return rows


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(
        median(rate.per_second for rate in rates),
        median(rate.p50_us for rate in rates),
        median(rate.p99_us for rate in rates),
        median(rate.cpu_us for rate in rates),
    )
