"""Requests that versions after 2.51 check differently. Each test names the source that its expectation was read in."""

import pytest

from triton_emulator.engine.validation import validator
from triton_emulator.protocol.errors import BackendRefusal, Code, TritonError
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.personality import personality
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.pbtxt import parse_config

PLAIN = """
name: "m"
input [{ name: "A" data_type: TYPE_INT64 dims: [ -1, -1 ] }]
input [{ name: "S" data_type: TYPE_STRING dims: [ -1, -1 ] optional: true }]
output [{ name: "B" data_type: TYPE_INT64 dims: [ -1 ] }]
"""
BATCHING = """
name: "m"
max_batch_size: 4
input [{ name: "A" data_type: TYPE_INT64 dims: [ 1 ] }]
output [{ name: "B" data_type: TYPE_INT64 dims: [ 1 ] }]
"""
SEQUENCES = """
name: "m"
input [{ name: "A" data_type: TYPE_INT64 dims: [ 1 ] }]
output [{ name: "B" data_type: TYPE_INT64 dims: [ 1 ] }]
sequence_batching { control_input [{ name: "ID" control [{ kind: CONTROL_SEQUENCE_CORRID data_type: KIND }] }] }
"""
VALUE = Tensor("A", "INT64", [1], data=bytes(8))
EIGHT = bytes(8)


def config(text: str) -> ModelConfig:
    return ModelConfig.of(parse_config(text))


def answer(version: str, text: str, request: InferRequest) -> tuple[Code, str] | int:
    """The batch size, or what the request is refused with."""
    rules, made = personality(version), config(text)
    try:
        return validator(made, rules)(request, made, rules)
    except TritonError as error:
        return error.code, error.message


def refused(text: str) -> tuple[Code, str]:
    return Code.INVALID_ARG, text


TOO_BIG = (
    "Failed to process the request(s) for model instance 'm_0', message: ValueError: array is too big; "
    "`arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
)
DEAD = (
    "Failed to process the request(s) for model instance 'm_0', message: Stub process 'm_0' is not healthy."
)


@pytest.mark.parametrize(
    ("text", "shape", "refusal"),
    [
        (PLAIN, [1 << 60, 1], TOO_BIG),
        (PLAIN, [1 << 59, 1], DEAD),
        (BATCHING, [-1, 1], "batch size 4294967295 for 'm_0', max allowed is 4"),
    ],
    ids=["no array is so big", "no process has so many addresses", "a negative batch"],
)
def test_until_2_45_the_python_backend_refuses_a_shape_of_no_tensor(
    text: str, shape: list[int], refusal: str
) -> None:
    # grpc/versions/shape/* and grpc/versions/batch/* of 2.44.0: the requests count as failed
    request = InferRequest("m", inputs=[Tensor("A", "INT64", shape, data=EIGHT)])
    rules, made = personality("2.45.0"), config(text)
    with pytest.raises(BackendRefusal) as error:
        validator(made, rules)(request, made, rules)
    assert (error.value.code, error.value.message) == (Code.INTERNAL, refusal)


# core r26.03, src/model_config_utils.h; common r26.03, include/triton/common/model_config.h

LARGE = "byte size for tensor 'A' exceeds maximum size of 9223372036854775807"
MANY = "element count for tensor 'S' exceeds maximum size of 9223372036854775807"
MISMATCH = "[request id: 7] input byte size mismatch for input 'A' for model 'm'. Expected {}, got 8"


@pytest.mark.parametrize(
    "shape, before, after",
    [
        ([-2, 2], MISMATCH.format(-32), "tensor 'A' contains an invalid dimension [-2,2]"),
        ([0, -2], MISMATCH.format(0), "tensor 'A' contains an invalid dimension [0,-2]"),
        ([1 << 60, 8], MISMATCH.format(0), LARGE),
        ([(1 << 60) - 1, 1], MISMATCH.format(9223372036854775800), MISMATCH.format(9223372036854775800)),
        ([1 << 60, 1], MISMATCH.format(-9223372036854775808), LARGE),
        ([1 << 60, 0], MISMATCH.format(0), LARGE),
        ([0, 1 << 60], MISMATCH.format(0), MISMATCH.format(0)),
    ],
)
def test_from_2_67_a_shape_of_no_tensor_is_refused(shape: list[int], before: str, after: str) -> None:
    for version, text in (("2.66.0", before), ("2.67.0", after)):
        request = InferRequest("m", id="7", inputs=[Tensor("A", "INT64", shape, data=EIGHT)])
        assert answer(version, PLAIN, request) == refused(text)


def test_from_2_67_two_negative_dims_make_no_tensor() -> None:
    def request() -> InferRequest:
        return InferRequest("m", id="7", inputs=[Tensor("A", "INT64", [-1 - 1, -2], data=bytes(32))])

    assert answer("2.66.0", PLAIN, request()) == 1
    assert answer("2.67.0", PLAIN, request()) == refused("tensor 'A' contains an invalid dimension [-2,-2]")


@pytest.mark.parametrize(
    "shape, text",
    [
        ([-2, 2], "tensor 'S' contains an invalid dimension in shape [-2,2]"),
        ([1 << 62, 2], MANY),
        ([1 << 62, 2, 0], MANY),
    ],
)
def test_from_2_67_a_shape_of_no_strings_is_refused(shape: list[int], text: str) -> None:
    inputs = [Tensor("A", "INT64", [1, 1], data=EIGHT), Tensor("S", "BYTES", shape, data=b"")]
    made = (
        PLAIN
        if len(shape) == 2
        else PLAIN.replace("TYPE_STRING dims: [ -1, -1 ]", "TYPE_STRING dims: [ -1, -1, -1 ]")
    )
    assert answer("2.67.0", made, InferRequest("m", id="7", inputs=inputs)) == refused(text)


# core r25.05, src/infer_request.cc


@pytest.mark.parametrize("batch", [1 << 31, (1 << 32) - 1, -1])
def test_from_2_58_a_batch_that_counted_as_negative_is_too_large(batch: int) -> None:
    request = InferRequest("m", id="7", inputs=[Tensor("A", "INT64", [batch, 1], data=EIGHT)])
    assert answer("2.58.0", BATCHING, request) == refused(
        "[request id: 7] inference request batch-size must be <= 4 for 'm'"
    )


def test_a_batch_that_is_within_31_bits_is_too_large_in_every_version() -> None:
    for version in ("2.41.0", "2.51.0", "2.58.0"):
        request = InferRequest("m", id="7", inputs=[Tensor("A", "INT64", [(1 << 31) - 1, 1], data=EIGHT)])
        assert answer(version, BATCHING, request) == refused(
            "[request id: 7] inference request batch-size must be <= 4 for 'm'"
        )


# core r25.01, src/infer_request.cc


@pytest.mark.parametrize(
    "kind, sequence, text",
    [
        ("TYPE_STRING", "a", None),
        ("TYPE_UINT64", 7, None),
        ("TYPE_INT32", 7, None),
        ("TYPE_STRING", 7, "data-type is 'UINT64', but model 'm' expects 'BYTES'"),
        ("TYPE_STRING", 0, "data-type is 'UINT64', but model 'm' expects 'BYTES'"),
        ("TYPE_UINT64", "a", "data-type is 'BYTES', but model 'm' expects 'UINT64'"),
        ("TYPE_INT32", "a", "data-type is 'BYTES', but model 'm' expects 'INT32'"),
    ],
)
def test_from_2_54_a_sequence_id_is_of_the_type_of_its_control(
    kind: str, sequence: int | str, text: str | None
) -> None:
    request = InferRequest("m", id="7", inputs=[VALUE], sequence_id=sequence)
    made = SEQUENCES.replace("KIND", kind)
    wanted = refused(f"[request id: 7] sequence batching control 'ID' {text}") if text else 1
    assert answer("2.54.0", made, request) == wanted
    assert answer("2.53.0", made, request) == 1


def test_from_2_54_the_data_of_a_request_is_checked_before_its_sequence_id() -> None:
    request = InferRequest("m", id="7", inputs=[Tensor("A", "INT64", [1], data=b"")], sequence_id="a")
    text = "[request id: 7] input byte size mismatch for input 'A' for model 'm'. Expected 8, got 0"
    assert answer("2.54.0", SEQUENCES.replace("KIND", "TYPE_UINT64"), request) == refused(text)
