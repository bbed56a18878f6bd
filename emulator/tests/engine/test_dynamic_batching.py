"""Which waiting requests a dynamic batcher runs together, when it runs them, and which ones queue policies refuse."""

import pytest

from emulator.tests.engine.calls import MILLISECOND, call, config, names
from triton_emulator.engine.schedulers.dynamic import DynamicBatcher
from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.personality import DEFAULT_VERSION, personality

INPUT = 'input [ { name: "X" data_type: TYPE_INT32 dims: [ -1 ] } ]\n'
MANY = INPUT + 'input [ { name: "Y" data_type: TYPE_INT32 dims: [ -1 ] optional: true } ]\n'


def batcher(
    batching: str = "", *, largest: int = 4, inputs: str = INPUT, instances: int = 1
) -> DynamicBatcher:
    text = f"max_batch_size: {largest}\n{inputs}dynamic_batching {{ {batching} }}\n"
    return DynamicBatcher.of(config(text), instances, personality(DEFAULT_VERSION))


PREFERRED_4 = "preferred_batch_size: [ 4 ]"


def test_a_batch_takes_what_waits_up_to_its_largest_size() -> None:
    b = batcher(PREFERRED_4)
    for name in "abcdef":
        b.add(call(name), 0)
    assert names(b.take(0, 1)) == ["a", "b", "c", "d"]
    assert names(b.take(0, 2)) == ["e", "f"]
    assert b.take(0, 3) == []


def test_rows_count_not_requests() -> None:
    b = batcher(PREFERRED_4)
    for name, rows in (("a", 2), ("b", 3), ("c", 1), ("d", 4)):
        b.add(call(name, rows=rows), 0)
    assert [names(b.take(0, 1)) for _ in range(3)] == [["a"], ["b", "c"], ["d"]]


def test_requests_of_other_shapes_begin_a_batch_of_their_own() -> None:
    b = batcher(PREFERRED_4)
    for name, shape in (("a", (1,)), ("b", (2,)), ("c", (1,)), ("d", (1,))):
        b.add(call(name, shape=shape), 0)
    assert [names(b.take(0, 1)) for _ in range(3)] == [["a"], ["b"], ["c", "d"]]


def test_ragged_inputs_mix() -> None:
    b = batcher(PREFERRED_4, inputs=INPUT.replace("[ -1 ]", "[ -1 ] allow_ragged_batch: true"))
    b.add(call("a"), 0)
    b.add(call("b", shape=(2,)), 0)
    assert names(b.take(0, 1)) == ["a", "b"]


def test_requests_with_other_optional_inputs_do_not_mix() -> None:
    b = batcher(PREFERRED_4, inputs=MANY)
    for name, inputs in (("a", ("X",)), ("b", ("X", "Y")), ("c", ("X", "Y"))):
        b.add(call(name, inputs=inputs), 0)
    assert [names(b.take(0, 1)) for _ in range(2)] == [["a"], ["b", "c"]]


def test_a_batch_of_a_preferred_size_is_closed_and_later_requests_form_the_next() -> None:
    # recorded: with sizes 2 and 4 preferred and the instance busy, seven requests run as 2, 4 and 1
    b = batcher("preferred_batch_size: [ 2, 4 ]", largest=8)
    for name in "abcdefg":
        b.add(call(name), 0)
    assert [names(b.take(0, 1)) for _ in range(3)] == [["a", "b"], ["c", "d", "e", "f"], ["g"]]


def test_with_a_delay_a_request_waits_for_others() -> None:
    b = batcher(PREFERRED_4 + " max_queue_delay_microseconds: 300000")
    b.add(call("a"), 0)
    assert b.take(0, MILLISECOND) == []
    assert b.wake_ns(0) == 300 * MILLISECOND
    b.add(call("b"), 100 * MILLISECOND)
    assert b.take(0, 200 * MILLISECOND) == []
    assert names(b.take(0, 300 * MILLISECOND)) == ["a", "b"]


def test_a_preferred_size_ends_the_delay() -> None:
    b = batcher("preferred_batch_size: [ 3 ] max_queue_delay_microseconds: 300000", largest=8)
    for name in "abc":
        b.add(call(name), 0)
    assert names(b.take(0, 1)) == ["a", "b", "c"]


def test_a_request_that_does_not_fit_ends_the_delay() -> None:
    b = batcher(PREFERRED_4 + " max_queue_delay_microseconds: 300000")
    b.add(call("a"), 0)
    b.add(call("b", shape=(2,)), 1)
    assert names(b.take(0, 2)) == ["a"]
    assert b.take(0, 3) == []


def test_a_batch_ahead_is_formed_for_every_instance_twice() -> None:
    b = batcher("preferred_batch_size: [ 1 ]", largest=1, instances=1)
    for name in "abcd":
        b.add(call(name), 0)
    assert [names(b.take(0, 1)) for _ in range(4)] == [["a"], ["b"], ["c"], ["d"]]


PRIORITIES = "preferred_batch_size: [ 1 ] priority_levels: 3 default_priority_level: 2"


def test_a_higher_priority_goes_first_and_none_or_an_unknown_one_is_the_default() -> None:
    b = batcher(PRIORITIES, largest=1)
    for name, priority in (("low", 3), ("none", 0), ("high", 1), ("unknown", 9), ("two", 2)):
        b.add(call(name, priority=priority), 0)
    order = [names(b.take(0, 1))[0] for _ in range(5)]
    assert order == ["high", "none", "unknown", "two", "low"]


def test_priorities_are_ignored_by_a_model_without_levels() -> None:
    b = batcher("preferred_batch_size: [ 1 ]", largest=1)
    b.add(call("a", priority=3), 0)
    b.add(call("b", priority=1), 0)
    assert [names(b.take(0, 1)) for _ in range(2)] == [["a"], ["b"]]


def test_a_full_queue_refuses() -> None:
    b = batcher("preferred_batch_size: [ 1 ] default_queue_policy { max_queue_size: 2 }", largest=1)
    b.add(call("a"), 0)
    b.add(call("b"), 0)
    with pytest.raises(TritonError) as refused:
        b.add(call("c"), 0)
    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.message == "[request id: c] Exceeds maximum queue size"


REJECTS = "timeout_action: REJECT default_timeout_microseconds: 100000"


def test_a_request_that_waits_too_long_is_dropped_when_a_batch_is_formed() -> None:
    b = batcher("default_queue_policy { " + REJECTS + " }", largest=1)
    b.add(call("a"), 0)
    b.add(call("b"), 90 * MILLISECOND)
    assert names(b.take(0, 101 * MILLISECOND)) == ["b"]
    assert [(one.request.id, error.message) for one, error in b.dropped] == [("a", "Request timeout expired")]


def test_a_queue_with_a_policy_is_checked_every_half_second_though_no_instance_is_free() -> None:
    b = batcher("default_queue_policy { default_timeout_microseconds: 600000 }", largest=1)
    for name, ms in (("a", 0), ("b", 100)):
        b.add(call(name), ms * MILLISECOND)
    assert b.tick_ns == 600 * MILLISECOND  # half a second after the last arrival
    b.tick(500 * MILLISECOND)
    assert b.dropped == []
    b.tick(1000 * MILLISECOND)
    assert [one.request.id for one, _ in b.dropped] == ["a", "b"]
    assert b.tick_ns == 0


def test_a_queue_without_a_policy_needs_no_clock() -> None:
    b = batcher()
    b.add(call("a"), 0)
    assert b.tick_ns == 0


@pytest.mark.parametrize(
    ("timeout", "age_ms", "dropped"),
    [(50_000, 60, True), (50_000, 40, False), (900_000, 101, True), (0, 99, False)],
    ids=["shorter than the policy's", "not reached", "longer than the policy's", "none"],
)
def test_a_request_can_only_shorten_the_timeout(timeout: int, age_ms: int, dropped: bool) -> None:
    b = batcher("default_queue_policy { allow_timeout_override: true " + REJECTS + " }", largest=1)
    b.add(call("a", timeout=timeout), 0)
    assert names(b.take(0, age_ms * MILLISECOND)) == ([] if dropped else ["a"])


def test_a_request_cannot_shorten_the_timeout_where_that_is_not_allowed() -> None:
    b = batcher("default_queue_policy { " + REJECTS + " }", largest=1)
    b.add(call("a", timeout=1), 0)
    assert names(b.take(0, 50 * MILLISECOND)) == ["a"]


def test_delay_puts_a_request_that_is_too_old_after_the_others() -> None:
    b = batcher("default_queue_policy { " + REJECTS.replace("REJECT", "DELAY") + " }", largest=1)
    b.add(call("old"), 0)
    b.add(call("young"), 90 * MILLISECOND)
    assert names(b.take(0, 150 * MILLISECOND)) == ["young"]
    assert names(b.take(0, 150 * MILLISECOND)) == ["old"]
    assert b.dropped == []


def test_each_priority_may_have_a_policy_of_its_own() -> None:
    b = batcher(
        "preferred_batch_size: [ 1 ] priority_levels: 2 default_priority_level: 1 "
        "default_queue_policy { max_queue_size: 1 } priority_queue_policy { key: 2 value { "
        + REJECTS
        + " } }",
        largest=1,
    )
    b.add(call("a", priority=1), 0)
    with pytest.raises(TritonError):
        b.add(call("b", priority=1), 0)
    b.add(call("c", priority=2), 0)
    b.add(call("d", priority=2), 0)
    assert names(b.take(0, 200 * MILLISECOND)) == ["a"]
    assert b.take(0, 200 * MILLISECOND) == []
    assert [one.request.id for one, _ in b.dropped] == ["c", "d"]


def test_a_cancelled_request_is_dropped_before_it_runs() -> None:
    b = batcher("default_queue_policy { max_queue_size: 5 }", largest=1)
    gone = call("gone")
    b.add(gone, 0)
    b.add(call("stays"), 0)
    gone.cancelled = True
    assert names(b.take(0, 1)) == ["stays"]
    assert [error.code for _, error in b.dropped] == [Code.CANCELLED]
