"""The parts of a fault as functions over lists: responses of a model, and wire operations of an answer."""

import numpy as np
import pytest

from triton_emulator import Code, Fault, fault
from triton_emulator.harness.parts import Script, both_statuses
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.wire.operations import Body, Close, End, Hang, Head, Operation, Pause

HEAD = Head(200, ())
ONE, TWO, THREE = Body(b"one"), Body(b"two"), Body(b"three")
STREAM: list[Operation] = [HEAD, ONE, TWO, THREE, End()]


def shaped(wrong: Fault, operations: list[Operation]) -> tuple[list[Operation], bool]:
    """What becomes of an answer, and whether all of the fault has happened."""
    script = Script(wrong.parts)
    return [after for operation in operations for after in script.shaped(operation)], script.complete


@pytest.mark.parametrize(
    "wrong, after, happened",
    [
        (fault.cut(after_events=2), [HEAD, ONE, TWO, Close()], True),
        (fault.cut(after_events=0), [HEAD, Close()], True),
        (fault.cut(after_events=3), [HEAD, ONE, TWO, THREE, Close()], True),
        (fault.cut(after_events=4), STREAM, False),
        (fault.cut(after_bytes=0), [HEAD, Body(b""), Close()], True),
        (fault.cut(after_bytes=3), [HEAD, ONE, Body(b""), Close()], True),
        (fault.cut(after_bytes=4), [HEAD, ONE, Body(b"t"), Close()], True),
        (fault.cut(after_bytes=11), STREAM, False),
        (fault.stall(after_events=1, seconds=2), [HEAD, ONE, Pause(2.0), TWO, THREE, End()], True),
        (fault.stall(after_events=3, seconds=2), [HEAD, ONE, TWO, THREE, Pause(2.0), End()], True),
        (fault.stall(after_events=0), [HEAD, Hang(), ONE, TWO, THREE, End()], True),
        (fault.stall(after_events=4, seconds=2), STREAM, False),
        (
            fault.stall(after_events=1, seconds=2) + fault.cut(after_events=2),
            [HEAD, ONE, Pause(2.0), TWO, Close()],
            True,
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else "",
)
def test_a_fault_changes_the_operations_of_a_stream(
    wrong: Fault, after: list[Operation], happened: bool
) -> None:
    assert shaped(wrong, STREAM) == (after, happened)


def test_a_body_drips_in_pieces_of_a_twentieth_of_a_second() -> None:
    operations, happened = shaped(fault.drip(40), [HEAD, Body(b"12345"), End()])
    pieces: list[Operation] = [Pause(0.05), Body(b"12"), Pause(0.05), Body(b"34"), Pause(0.025), Body(b"5")]
    assert operations == [HEAD, *pieces, End()]
    assert happened


def response(**outputs: object) -> InferResponse:
    tensors = [
        Tensor(name, "FP32", array.shape, array=array.astype(np.float32))
        for name, array in ((name, np.asarray(values)) for name, values in outputs.items())
    ]
    return InferResponse("m", "1", outputs=tensors)


def _shown(one: InferResponse | None) -> object:
    if one is None or one.error is not None:
        return one if one is None or one.error is None else one.error.message
    return {
        tensor.name: (tensor.datatype, tensor.shape, tensor.array.ravel().tolist()) for tensor in one.outputs
    }


def altered(
    wrong: Fault, responses: list[tuple[InferResponse | None, bool]]
) -> tuple[list[tuple[object, bool]], bool]:
    """What becomes of a model's responses: outputs, or the text of an error; and whether the fault has happened."""
    script = Script(wrong.parts)
    after = [each for before in responses for each in script.altered(*before)]
    shown: list[tuple[object, bool]] = [(_shown(one), final) for one, final in after]
    return shown, script.complete


OUT = {"OUT": ("FP32", (1,), [1.0])}


@pytest.mark.parametrize(
    "responses, after, happened",
    [
        # (outputs, final) of each response of the model; None is the final flag alone
        ([(1, False), (1, False), (None, True)], [(OUT, False), ("boom", True)], True),
        ([(1, True)], [(OUT, False), ("boom", True)], True),
        ([(1, False), (None, True)], [(OUT, False), ("boom", True)], True),
        ([(None, True)], [(None, True)], False),
    ],
    ids=["a longer stream", "the last response is the first", "a final flag alone", "no response"],
)
def test_an_error_event_comes_after_one_event_and_ends_the_stream(
    responses: list[tuple[int | None, bool]], after: list[tuple[object, bool]], happened: bool
) -> None:
    given = [(None if value is None else response(OUT=[value]), final) for value, final in responses]
    assert altered(fault.error_event("boom"), given) == (after, happened)


def test_an_error_event_can_be_the_first() -> None:
    assert altered(fault.error_event("boom", after_events=0), [(response(OUT=[1]), True)]) == (
        [("boom", True)],
        True,
    )


@pytest.mark.parametrize(
    "wrong, out",
    [
        (fault.wrong_output("OUT", shape=[3]), ("FP32", (3,), [1.0, 2.0, 1.0])),
        (fault.wrong_output("OUT", shape=[1]), ("FP32", (1,), [1.0])),
        (fault.wrong_output("OUT", shape=[0]), ("FP32", (0,), [])),
        (fault.wrong_output("OUT", shape=[]), ("FP32", (), [1.0])),
        (fault.wrong_output("OUT", datatype="INT8"), ("INT8", (1, 2), [1, 2])),
        (fault.wrong_output("OUT", datatype="BYTES"), ("BYTES", (1, 2), [b"1.0", b"2.0"])),
        (fault.wrong_output("OUT", values=[5, 6]), ("FP32", (1, 2), [5.0, 6.0])),
        (fault.wrong_output("OUT", values=[5, 6, 7]), ("FP32", (3,), [5.0, 6.0, 7.0])),
        (fault.wrong_output("OUT", values=["a"], datatype="BYTES"), ("BYTES", (1,), [b"a"])),
        (fault.wrong_output("OUT", values=["x"]), ("FP32", (1,), [0.0])),
    ],
    ids=repr,
)
def test_a_wrong_output_is_sound_by_itself(wrong: Fault, out: object) -> None:
    shown, happened = altered(wrong, [(response(OUT=[[1, 2]], OTHER=[3]), True)])
    assert shown == [({"OUT": out, "OTHER": ("FP32", (1,), [3.0])}, True)]
    assert happened


def test_an_output_can_be_left_out() -> None:
    shown, happened = altered(fault.wrong_output("OUT", drop=True), [(response(OUT=[1], OTHER=[3]), True)])
    assert shown == [({"OTHER": ("FP32", (1,), [3.0])}, True)]
    assert happened


def test_an_output_that_is_not_there_stays_so_and_the_fault_has_not_happened() -> None:
    shown, happened = altered(fault.wrong_output("NONE", drop=True), [(response(OUT=[1]), True)])
    assert shown == [(OUT, True)]
    assert not happened


@pytest.mark.parametrize(
    "given, status, grpc",
    [
        (400, 400, 3),
        (404, 404, 5),
        (429, 429, 8),
        (500, 500, 13),
        (501, 501, 12),
        (502, 502, 14),
        (503, 503, 14),
        (504, 504, 4),
        (418, 418, 3),
        (599, 599, 13),
        (Code.NOT_FOUND, 404, 5),
        (Code.CANCELLED, 400, 1),
        ("UNAVAILABLE", 503, 14),
        ("unavailable", 503, 14),
        ("RESOURCE_EXHAUSTED", 429, 8),
        ("DEADLINE_EXCEEDED", 504, 4),
        ("UNAUTHENTICATED", 401, 16),
        ("DATA_LOSS", 500, 15),
        ("INVALID_ARG", 400, 3),
        ("INVALID_ARGUMENT", 400, 3),
    ],
)
def test_a_status_has_one_of_the_other_protocol(given: int | str | Code, status: int, grpc: int) -> None:
    assert both_statuses(given) == (status, grpc)
