"""What the metrics port shows of a session's models, as values: those of several processes can be added up."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from triton_emulator.engine import first_responses, statistics
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.engine.reporters import Reporter
from triton_emulator.engine.statistics import FailureCounts
from triton_emulator.engine.summaries import seen_by_all
from triton_emulator.frontends.metrics.families import ModelRow
from triton_emulator.session.state import SessionState


@dataclass(frozen=True, slots=True)
class Readings:
    """The models' rows, and the failures of all models that there have been.

    `gpus` are the numbers of the GPUs that the loaded models use, `busy_ns` is how long stand-ins have executed.
    """

    rows: tuple[ModelRow, ...] = ()
    failures: FailureCounts = field(default_factory=FailureCounts)
    gpus: frozenset[int] = frozenset()
    busy_ns: int = 0

    def at_the_end(self) -> "Readings":
        """What stays of them when their process has ended: no request waits, and no value is recent any more."""
        return replace(self, rows=tuple(map(_at_the_end, self.rows)))


def read(session: SessionState) -> Readings:
    """The readings of a session."""
    loaded = [served.loaded for served in session.repository.all_served()]
    shows_load = session.personality.has_load_duration
    rows = [
        ModelRow(
            reporter.labels,
            reporter.statistics(),
            sum(model.pending for model in models),
            reporter.caches,
            None if reporter.summaries is None else reporter.summaries.seen(),
            models[-1].load_seconds if shows_load else None,
            None if reporter.first_responses is None else reporter.first_responses.seen(),
        )
        for reporter, models in _by_reporter(loaded).items()
    ]
    gpus = {
        number for model in loaded for group in model.config.proto.instance_group for number in group.gpus
    }
    busy_ns = sum(model.statistics.compute.infer_ns for model in loaded if model.stands_in)
    return Readings(tuple(rows), session.counts.failures, frozenset(gpus), busy_ns)


def total(parts: Iterable[Readings]) -> Readings:
    """The sum of several: counts, and requests that wait, are added up; a load took as long as the longest."""
    listed = list(parts)
    by_labels: dict[tuple[tuple[str, str], ...], list[ModelRow]] = {}
    for part in listed:
        for row in part.rows:
            by_labels.setdefault(tuple(sorted(row.labels.items())), []).append(row)
    return Readings(
        tuple(map(_total_row, by_labels.values())),
        FailureCounts.total(part.failures for part in listed),
        frozenset[int]().union(*(part.gpus for part in listed)),
        sum(part.busy_ns for part in listed),
    )


def _total_row(rows: list[ModelRow]) -> ModelRow:
    """The sum of rows with the same labels."""
    first = rows[0]
    summaries = first.summaries and {
        name: seen_by_all(row.summaries[name] for row in rows if row.summaries) for name in first.summaries
    }
    loads = [row.load_seconds for row in rows if row.load_seconds is not None]
    histograms = [row.first_responses for row in rows if row.first_responses is not None]
    return ModelRow(
        first.labels,
        statistics.total(row.statistics for row in rows),
        sum(row.pending for row in rows),
        first.caches,
        summaries,
        max(loads, default=None),
        first_responses.joined(histograms) if histograms else None,
    )


def _at_the_end(row: ModelRow) -> ModelRow:
    summaries = row.summaries and {name: replace(seen, recent=()) for name, seen in row.summaries.items()}
    return replace(row, pending=0, summaries=summaries)


def _by_reporter(loaded: Iterable[LoadedModel]) -> dict[Reporter, list[LoadedModel]]:
    found: dict[Reporter, list[LoadedModel]] = {}
    for model in loaded:
        found.setdefault(model.reporter, []).append(model)
    return found
