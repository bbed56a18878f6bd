"""Sequences: which requests are accepted, which sequences have a slot, which wait, and what ends them."""

from functools import partial
from pathlib import Path

import pytest

from emulator.tests.engine.calls import MILLISECOND, call, config, names
from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.controls import Controls
from triton_emulator.engine.schedulers.direct import DirectSlots
from triton_emulator.engine.schedulers.oldest import OldestSlots
from triton_emulator.engine.schedulers.sequence import SequenceBatcher
from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.personality import personality

CONTROLS = """
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END fp32_false_true: [ -1, 2.5 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
"""


def batcher(
    strategy: str = "direct { }", *, slots: int = 2, instances: int = 1, more: str = CONTROLS
) -> SequenceBatcher:
    text = f"""max_batch_size: {slots}
input [ {{ name: "X" data_type: TYPE_INT32 dims: [ -1 ] }} ]
sequence_batching {{ max_sequence_idle_microseconds: 1000000 {strategy} {more} }}
"""
    made = config(text)
    controls = Controls.of(made, Path("nowhere"), personality("2.51.0"))
    kind = OldestSlots if strategy.startswith("oldest") else DirectSlots
    return SequenceBatcher(made, instances, slots, partial(kind, made, slots, controls))


OLDEST = "oldest { max_candidate_sequences: 2 preferred_batch_size: [ 2 ] }"
both = pytest.mark.parametrize("strategy", ["direct { }", OLDEST], ids=["direct", "oldest"])


def run(b: SequenceBatcher, now: int = 0, instance: int = 0) -> list[str]:
    calls = b.take(instance, now)
    b.done(instance, calls, now)
    return names(calls)


def refused(b: SequenceBatcher, one: Call) -> str:
    with pytest.raises(TritonError) as fault:
        b.add(one, 0)
    assert fault.value.code is Code.INVALID_ARG
    return fault.value.message


@both
@pytest.mark.parametrize("nothing", [0, ""], ids=["zero", "empty"])
def test_a_request_needs_a_correlation_id(strategy: str, nothing: int | str) -> None:
    message = "inference request to model 'm' must specify a non-zero or non-empty correlation ID"
    assert refused(batcher(strategy), call(sequence=nothing, start=True)) == message


@both
def test_a_sequence_begins_with_a_start(strategy: str) -> None:
    message = (
        "inference request for sequence word to model 'm' must specify the START flag on the first request of the "
        "sequence"
    )
    assert refused(batcher(strategy), call(sequence="word")) == message


@both
def test_a_request_is_one_row(strategy: str) -> None:
    message = (
        "inference request to model 'm' must specify batch-size 1 due to requirements of sequence batcher"
    )
    assert refused(batcher(strategy), call(rows=2, sequence=1, start=True)) == message


@both
def test_after_its_end_a_sequence_is_unknown(strategy: str) -> None:
    b = batcher(strategy)
    b.add(call("a", sequence=1, start=True), 0)
    b.add(call("b", sequence=1, end=True), 0)
    assert run(b) + run(b) == ["a", "b"]
    assert "START" in refused(b, call("c", sequence=1))


@both
def test_a_number_and_a_text_are_two_sequences(strategy: str) -> None:
    b = batcher(strategy)
    b.add(call("a", sequence=5, start=True), 0)
    assert "START" in refused(b, call("b", sequence="5"))


@both
def test_a_start_on_a_live_sequence_stays_in_its_slot(strategy: str) -> None:
    b = batcher(strategy, slots=1)
    for name in "ab":
        b.add(call(name, sequence=1, start=True), 0)
    assert run(b) + run(b) == ["a", "b"]


@both
def test_a_sequence_without_a_slot_waits_until_one_ends(strategy: str) -> None:
    b = batcher(strategy, slots=1)
    b.add(call("a", sequence=1, start=True), 0)
    b.add(call("b", sequence=2, start=True), 0)
    b.add(call("c", sequence=2, end=True), 0)
    assert run(b) == ["a"]
    assert run(b) == []
    b.add(call("d", sequence=1, end=True), 0)
    assert [run(b) for _ in range(3)] == [["d"], ["b"], ["c"]]


def test_direct_pads_the_slots_that_have_nothing() -> None:
    b = batcher(slots=4)
    for number in (1, 2, 3):
        b.add(call(f"s{number}", sequence=number, start=True), 0)
    assert run(b) == ["s1", "s2", "s3"]
    b.add(call("only", sequence=3), 0)
    assert run(b) == ["-", "-", "only"]


def test_padding_is_not_ready_and_of_no_sequence() -> None:
    b = batcher(slots=2)
    for number in (1, 2):
        b.add(call(sequence=number, start=True), 0)
    run(b)
    b.add(call(sequence=2), 0)
    padding = b.take(0, 0)[0].request
    assert [tensor.array.tolist() for tensor in padding.controls] == [[[0]], [[-1.0]], [[False]], [[0]]]
    assert [(tensor.name, tensor.shape) for tensor in padding.inputs] == [("X", (1, 1))]


def test_oldest_takes_one_request_of_a_sequence_at_a_time() -> None:
    b = batcher(OLDEST)
    b.add(call("a1", sequence=1, start=True), 0)
    b.add(call("a2", sequence=1), 0)
    b.add(call("b1", sequence=2, start=True), 0)
    first = b.take(0, 0)
    assert names(first) == ["a1", "b1"]
    assert b.take(0, 0) == []
    b.done(0, first, 0)
    assert run(b) == ["a2"]


def test_sequences_spread_over_the_instances() -> None:
    b = batcher(slots=2, instances=2)
    for number in (1, 2, 3):
        b.add(call(f"s{number}", sequence=number, start=True), 0)
    assert run(b, instance=0) == ["s1", "s3"]
    assert run(b, instance=1) == ["s2"]


@pytest.mark.parametrize(
    ("sequence", "start", "end", "shown"),
    [
        (7, True, False, [[[1]], [[-1.0]], [[True]], [[7]]]),
        (7, False, True, [[[0]], [[2.5]], [[True]], [[7]]]),
        # 2.51: read as a number, a name is its length and its first letters
        ("word", True, True, [[[1]], [[2.5]], [[True]], [[4 + (int.from_bytes(b"word", "little") << 32)]]]),
    ],
    ids=["start", "end", "a name"],
)
def test_controls_hold_start_end_ready_and_id(
    sequence: int | str, start: bool, end: bool, shown: list[object]
) -> None:
    b = batcher(slots=1)
    if not start:
        b.add(call(sequence=sequence, start=True), 0)
        run(b)
    b.add(call(sequence=sequence, start=start, end=end), 0)
    assert [tensor.array.tolist() for tensor in b.take(0, 0)[0].request.controls] == shown


def test_a_name_in_a_control_of_strings_has_the_room_of_128_letters() -> None:
    b = batcher(slots=1, more=CONTROLS.replace("TYPE_UINT64", "TYPE_STRING"))
    b.add(call(sequence="abc", start=True), 0)
    assert b.take(0, 0)[0].request.controls[-1].data == b"\3\0\0\0abc" + bytes(125)


@both
def test_an_idle_sequence_loses_its_slot_to_the_next(strategy: str) -> None:
    b = batcher(strategy, slots=1)
    b.add(call("a", sequence=1, start=True), 0)
    run(b)
    b.add(call("b", sequence=2, start=True), 500 * MILLISECOND)
    assert b.tick_ns == 1000 * MILLISECOND
    b.tick(999 * MILLISECOND)
    assert run(b) == []
    b.tick(1000 * MILLISECOND)
    assert run(b) == ["b"]
    assert "START" in refused(b, call("c", sequence=1))


@both
def test_a_sequence_that_waits_too_long_for_a_slot_is_refused(strategy: str) -> None:
    b = batcher(strategy, slots=1)
    b.add(call("a", sequence=1, start=True), 0)
    run(b)
    for name in "bc":
        b.add(call(name, sequence=2, start=name == "b", timeout=100_000), 0)
    assert b.tick_ns == 100 * MILLISECOND
    b.tick(100 * MILLISECOND)
    text = "timeout of the corresponding sequence has been expired"
    assert [(one.request.id, error.message) for one, error in b.dropped] == [("b", text), ("c", text)]
    assert "START" in refused(b, call("d", sequence=2))


def test_a_cancelled_sequence_frees_its_slot() -> None:
    b = batcher(slots=1)
    gone = call("gone", sequence=1, start=True)
    b.add(gone, 0)
    b.add(call("next", sequence=2, start=True), 0)
    gone.cancelled = True
    assert run(b) == ["next"]
    assert [error.code for _, error in b.dropped] == [Code.CANCELLED]


@both
def test_sequences_that_are_never_ended_are_freed(strategy: str) -> None:
    b = batcher(strategy, slots=4)
    now = 0
    for number in range(1, 5001):
        b.add(call(sequence=number, start=True), now)
        b.tick(now)
        run(b, now)
        now += 300 * MILLISECOND
    for _ in range(5000):
        now += 1000 * MILLISECOND
        b.tick(now)
        run(b, now)
    assert b.tick_ns == 0
    assert (b._slots, b._backlog, b._backlogged, b._last_seen, len(b._free)) == (
        {},
        type(b._backlog)(),
        {},
        {},
        4,
    )
    assert b.dropped == []


def test_a_request_of_an_iterative_model_makes_its_own_sequence_until_it_is_not_seen_again() -> None:
    b = batcher(slots=1, more=CONTROLS + "iterative_sequence: true")
    one = call("a")
    b.add(one, 0)
    assert one.request.sequence_id == 1
    first = b.take(0, 0)
    assert first[0].request.controls[0].array.tolist() == [[1]]
    b.again(one, 0)
    b.done(0, first, 0)
    second = b.take(0, 0)
    assert names(second) == ["a"]
    assert second[0].request.controls[0].array.tolist() == [[0]]
    b.done(0, second, 0)
    b.add(call("b"), 0)
    assert run(b) == ["b"]
