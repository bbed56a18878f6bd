"""What a worker has counted, as a value that it sends to the parent, and the sum of several."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from triton_emulator.engine import statistics
from triton_emulator.engine.statistics import ModelStatistics
from triton_emulator.frontends.metrics import readings
from triton_emulator.frontends.metrics.readings import Readings
from triton_emulator.session.state import SessionState
from triton_emulator.session.statistics import Statistics, by_version


@dataclass(frozen=True, slots=True)
class Counted:
    """The statistics of each version of a model, and what the metrics port shows."""

    statistics: Statistics = field(default_factory=dict)
    readings: Readings = field(default_factory=Readings)

    def at_the_end(self) -> "Counted":
        """What stays of it when its worker has ended."""
        return replace(self, readings=self.readings.at_the_end())


def count(session: SessionState) -> Counted:
    """What a session has counted until now."""
    return Counted(by_version(session.repository), readings.read(session))


def total(parts: Iterable[Counted]) -> Counted:
    """The sum of several."""
    listed = list(parts)
    found: dict[tuple[str, int], list[ModelStatistics]] = {}
    for part in listed:
        for key, counts in part.statistics.items():
            found.setdefault(key, []).append(counts)
    sums = {key: statistics.total(counts) for key, counts in found.items()}
    return Counted(sums, readings.total(part.readings for part in listed))
