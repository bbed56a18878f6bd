"""Merges the results of the shards of a run, which were asked on several machines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .results import ResultsError, RunResult


def merge(runs: Iterable[RunResult]) -> list[RunResult]:
    """The runs, with the shards of one comparison as one run. A run of all cases stays as it is.

    A run of which a shard is missing ended early, and says which. Raises ResultsError for a shard that is there twice.
    """
    groups: dict[object, list[RunResult]] = {}
    for number, run in enumerate(runs):
        shards = run.shard.partition("/")[2]
        key: object = (run.version, run.expected, run.actual, shards) if shards else number
        groups.setdefault(key, []).append(run)
    return [_merged(members) if members[0].shard else members[0] for members in groups.values()]


def _merged(runs: Sequence[RunResult]) -> RunResult:
    first = runs[0]
    numbers = [run.shard.partition("/")[0] for run in runs]
    total = first.shard.partition("/")[2]
    for number in numbers:
        if numbers.count(number) > 1:
            raise ResultsError(
                f"shard {number}/{total} of {first.actual} is there twice: give each file once"
            )
    missing = [f"{number}/{total}" for number in range(1, int(total) + 1) if str(number) not in numbers]
    told = [run.stopped for run in runs if run.stopped]
    if missing:
        told.append(f"no results of shard {', '.join(missing)}: give their files too")
    return replace(
        first,
        date=max(run.date for run in runs),
        cases=tuple(result for run in runs for result in run.cases),
        stopped="; ".join(told),
        not_asked=sum(run.not_asked for run in runs),
        stale=tuple(dict.fromkeys(line for run in runs for line in run.stale)),
        shard="",
    )
