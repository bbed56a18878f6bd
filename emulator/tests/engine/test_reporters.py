"""The metrics of models with the same labels: whose counts are shown, and for how long."""

from triton_emulator.engine.reporters import Reporter, Reporters
from triton_emulator.engine.statistics import ModelStatistics

LABELS = {"model": "m", "version": "1"}


def reporter() -> Reporter:
    return Reporter(LABELS, caches=False, summaries=None, first_responses=None)


def test_a_model_that_takes_the_place_of_another_goes_on_with_its_counts() -> None:
    reporters, old, new = Reporters(), ModelStatistics(), ModelStatistics()
    first = reporters.enter(LABELS, old, reporter)
    old.execution_count = 3
    second = reporters.enter(LABELS, new, reporter)
    new.execution_count = 1
    reporters.leave(first, old)
    assert second is first
    assert second.statistics().execution_count == 4


def test_the_counts_start_anew_when_no_model_of_the_labels_is_left() -> None:
    reporters, old, new = Reporters(), ModelStatistics(), ModelStatistics()
    old.execution_count = 3
    reporters.leave(reporters.enter(LABELS, old, reporter), old)
    assert reporters.enter(LABELS, new, reporter).statistics().execution_count == 0


def test_a_request_that_is_counted_after_its_model_ended_is_shown() -> None:
    reporters, old, new = Reporters(), ModelStatistics(), ModelStatistics()
    reporters.enter(LABELS, old, reporter)
    shown = reporters.enter(LABELS, new, reporter)
    reporters.leave(shown, old)
    old.success.add(5)
    assert (shown.statistics().success.count, shown.statistics().success.ns) == (1, 5)


def test_many_loads_leave_no_more_behind_than_one() -> None:
    reporters, kept = Reporters(), ModelStatistics()
    shown = reporters.enter(LABELS, kept, reporter)
    for _ in range(10):
        each = ModelStatistics(execution_count=2)
        reporters.enter(LABELS, each, reporter)
        reporters.leave(shown, each)
    assert shown.statistics().execution_count == 20
    assert (len(shown.loaded), len(shown.ended)) == (1, 2)


def test_other_labels_have_other_counts() -> None:
    reporters, one, two = Reporters(), ModelStatistics(), ModelStatistics()
    first = reporters.enter(LABELS, one, reporter)
    second = reporters.enter({**LABELS, "_a": "b"}, two, reporter)
    assert first is not second
