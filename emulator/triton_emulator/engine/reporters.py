"""What the metrics port shows of models: one reporter for all loaded models with the same labels.

Core r24.10 (metric_model_reporter.cc) makes a reporter with the first model of its labels, and removes it with the last
one. So the counts go on when a model is loaded again with another config, and start anew after an unload. The first
model's config says whether there are counts of the cache, and which buckets a histogram has.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from triton_emulator.engine.first_responses import FirstResponses
from triton_emulator.engine.statistics import LabelKey, ModelStatistics, label_key, total
from triton_emulator.engine.summaries import ModelSummaries


@dataclass(slots=True, eq=False)
class Reporter:
    """The metrics of some labels. `caches` is whether the counts of the cache are shown."""

    labels: Mapping[str, str]
    caches: bool
    summaries: ModelSummaries | None
    first_responses: FirstResponses | None
    #: of the loaded models, and of those that are loaded no more
    loaded: list[ModelStatistics] = field(default_factory=list)
    ended: list[ModelStatistics] = field(default_factory=list)

    def statistics(self) -> ModelStatistics:
        """The counts of all its models."""
        return total([*self.ended, *self.loaded])


class Reporters:
    """The reporters of one session. May be used on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_labels: dict[LabelKey, Reporter] = {}

    def __repr__(self) -> str:
        return f"<Reporters of {len(self._by_labels)} models>"

    def enter(
        self, labels: Mapping[str, str], statistics: ModelStatistics, make: Callable[[], Reporter]
    ) -> Reporter:
        """The reporter of a model that is being loaded, made by `make` where its labels have none."""
        key = label_key(labels)
        with self._lock:
            reporter = self._by_labels.get(key)
            if reporter is None:
                reporter = self._by_labels[key] = make()
            # The last requests of a model may be counted after its end, but not as late as the next load.
            reporter.ended = [total(reporter.ended)]
            reporter.loaded = [*reporter.loaded, statistics]
            return reporter

    def leave(self, reporter: Reporter, statistics: ModelStatistics) -> None:
        """A model has ended, or could not be loaded."""
        with self._lock:
            reporter.loaded = [each for each in reporter.loaded if each is not statistics]
            reporter.ended = [*reporter.ended, statistics]
            if not reporter.loaded:
                del self._by_labels[tuple(sorted(reporter.labels.items()))]
