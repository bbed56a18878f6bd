"""A call: where its responses go, when it ends, and which times it records."""

import pytest

from emulator.tests.engine.calls import call
from triton_emulator.engine.call import CallTimes
from triton_emulator.protocol.messages import InferResponse


def times(*stages: tuple[str, int]) -> CallTimes:
    made = CallTimes(1000)
    for name, now in stages:
        getattr(made, name)(now)
    return made


@pytest.mark.parametrize(
    ("stages", "compute_ns", "shown"),
    [
        ([], (0, 0, 0), "<CallTimes queued>"),
        (
            [("started", 1010)],
            (0, 0, 0),
            "<CallTimes queue_ns=10 input_ns=0 infer_ns=0 output_ns=0>",
        ),
        (
            [("started", 1010), ("inputs_read", 1030)],
            (20, 0, 0),
            "<CallTimes queue_ns=10 input_ns=20 infer_ns=0 output_ns=0>",
        ),
        (
            [("started", 1010), ("inputs_read", 1030), ("ended", 1100)],
            (20, 70, 0),
            "<CallTimes queue_ns=10 input_ns=20 infer_ns=70 output_ns=0>",
        ),
        (
            [("started", 1010), ("inputs_read", 1030), ("computed", 1060), ("ended", 1100)],
            (20, 30, 40),
            "<CallTimes queue_ns=10 input_ns=20 infer_ns=30 output_ns=40>",
        ),
    ],
    ids=["queued", "started", "inputs read", "answered on the way", "all stages"],
)
def test_a_stage_that_was_not_reached_took_no_time(
    stages: list[tuple[str, int]], compute_ns: tuple[int, int, int], shown: str
) -> None:
    made = times(*stages)
    assert made.compute_ns() == compute_ns
    assert repr(made) == shown


def test_times_can_be_set_by_how_long_each_stage_took() -> None:
    made = times(("started", 1010))
    made.took(1, 2, 3)
    assert (made.complete, made.compute_ns()) == (True, (1, 2, 3))
    assert (made.input_end, made.output_start, made.compute_end) == (1011, 1013, 1016)


def test_nothing_is_sent_after_the_last_response() -> None:
    seen: list[bool] = []

    def deliver(response: InferResponse | None, final: bool) -> None:
        seen.append(final)

    one = call("a", deliver=deliver)
    ended: list[str] = []
    one.on_end(lambda: ended.append("ended"))
    for final in (False, True, True, False):
        one.respond(InferResponse("m", "1"), final=final)
    assert (seen, ended) == ([False, True], ["ended"])


def test_a_call_says_how_far_it_is() -> None:
    one = call("a")
    shown = [repr(one)]
    one.times.started(1)
    one.cancelled = True
    shown.append(repr(one))
    one.failed = True
    one.respond(None, final=True)
    shown.append(repr(one))
    assert shown == [
        "<Call m:1 id='a' queued>",
        "<Call m:1 id='a' running cancelled>",
        "<Call m:1 id='a' answered cancelled failed>",
    ]
