"""`assert_requested`: the nearest requests are told field by field, with what may be the mistake."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from triton_emulator import Session

pytestmark = pytest.mark.triton(
    model_control_mode="explicit", load_models=("simple", "simple_string"), allow=("unknown",)
)


def send(triton: Session, arrays: dict[str, Any], model: str = "simple", **rest: Any) -> None:
    """Send arrays to a model, whatever it makes of them."""
    inputs = []
    for name, (datatype, array) in arrays.items():
        data = np.asarray(array)
        inputs.append(
            {"name": name, "datatype": datatype, "shape": list(data.shape), "data": data.ravel().tolist()}
        )
    httpx.post(
        f"{triton.http_url}/v2/models/{model}/infer",
        json={"inputs": inputs, **rest},
        headers={"X-Team": "a", "Authorization": "Bearer s3cret"},
    )


def told(triton: Session, *asked: Any, **expected: Any) -> list[str]:
    """The lines of the failure."""
    with pytest.raises(AssertionError) as failed:
        triton.assert_requested(*asked, **expected)
    return str(failed.value).splitlines()


@pytest.mark.parametrize(
    "datatype, sent, expected, difference",
    [
        (
            "FP32",
            np.zeros((1, 4, 4, 3)),
            np.zeros((1, 3, 4, 4), np.float32),
            "X: expected FP32[1,3,4,4], got FP32[1,4,4,3]: looks like NHWC",
        ),
        (
            "FP32",
            np.zeros((1, 3, 4, 5)),
            np.zeros((1, 4, 5, 3), np.float32),
            "X: expected FP32[1,4,5,3], got FP32[1,3,4,5]: looks like NCHW",
        ),
        (
            "FP32",
            np.zeros((4, 5, 3)),
            np.zeros((3, 4, 5), np.float32),
            "X: expected FP32[3,4,5], got FP32[4,5,3]: looks like HWC",
        ),
        (
            "FP32",
            np.zeros((3, 2)),
            np.zeros((2, 3), np.float32),
            "X: expected FP32[2,3], got FP32[3,2]: looks transposed",
        ),
        (
            "FP32",
            np.zeros((3,)),
            np.zeros((1, 3), np.float32),
            "X: expected FP32[1,3], got FP32[3]: the batch dimension is missing",
        ),
        (
            "FP32",
            np.zeros((1, 3)),
            np.zeros((3,), np.float32),
            "X: expected FP32[3], got FP32[1,3]: has a batch dimension more",
        ),
        ("FP64", [0], np.zeros(1, np.float32), "X: expected FP32[1], got FP64[1]: FP64 is numpy's default"),
        ("INT64", [0], np.zeros(1, np.int32), "X: expected INT32[1], got INT64[1]: INT64 is numpy's default"),
        ("INT8", [0], np.zeros(1, np.bool_), "X: expected BOOL[1], got INT8[1]"),
        (
            "FP32",
            [1, 2, 3],
            np.array([1, 5, 4], np.float32),
            "X: 2 of 3 elements differ; the first is number 1: expected 5.0, got 2.0",
        ),
        ("INT32", [1, 2], [1, 3], "X: 1 of 2 elements differ; the first is number 1: expected 3, got 2"),
        ("INT32", [1, 2], [1], "X: expected 1 elements, got 2"),
        (
            "BYTES",
            ["a"],
            np.array([b"b"], np.object_),
            "X: 1 of 1 elements differ; the first is number 0: expected b'b', got b'a'",
        ),
        ("BYTES", ["a"], ["b"], "X: 1 of 1 elements differ; the first is number 0: expected b'b', got b'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tensor_that_differs(
    triton: Session, datatype: str, sent: Any, expected: Any, difference: str
) -> None:
    send(triton, {"X": (datatype, sent)})
    lines = told(triton, "infer", model="simple", inputs={"X": expected})
    assert lines[1:] == ["the nearest:", "  1. http infer simple, answered 400", f"    {difference}"]


@pytest.mark.parametrize(
    "datatype, sent, expected",
    [
        ("FP32", [1, 2], np.array([1, 2], np.float32)),
        ("FP32", [1, 2], [1, 2]),
        ("FP64", [0.5], [0.5]),
        ("BYTES", ["a"], ["a"]),
        ("BYTES", ["ä"], np.array(["ä".encode()], np.object_)),
        ("BOOL", [True], np.array([True])),
    ],
)
def test_a_tensor_that_is_equal_in_all_that_is_given_fits(
    triton: Session, datatype: str, sent: Any, expected: Any
) -> None:
    send(triton, {"X": (datatype, sent)})
    assert triton.assert_requested("infer", inputs={"X": expected}).count == 1


def test_each_field_that_differs_is_told(triton: Session) -> None:
    send(triton, {"Y": ("INT32", [1])}, parameters={"own": 1})
    lines = told(
        triton,
        "generate",
        model="other",
        version=2,
        protocol="grpc",
        headers={"X-Team": "b", "X-None": None, "Authorization": re.compile("^Basic")},
        where=has_an_id,
        inputs={"X": [1]},
        parameters={"own": 2, "more": 3},
    )
    assert lines[2:] == [
        "  1. http infer simple, answered 400",
        "    operation: expected 'generate', got 'infer'",
        "    model: expected 'other', got 'simple'",
        "    version: expected '2', got ''",
        "    protocol: expected 'grpc', got 'http'",
        "    header authorization: expected '^Basic', got '[redacted]'",
        "    header x-none: missing",
        "    header x-team: expected 'b', got 'a'",
        "    where: has_an_id is not true of it",
        "    parameter own: expected 2, got 1",
        "    parameter more: missing, expected 3",
        "    X: missing; the inputs are Y",
    ]


def has_an_id(entry: Any) -> bool:
    return bool(entry.id)


def test_the_nearest_come_first_and_only_three_are_told(triton: Session) -> None:
    for team in range(5):
        send(triton, {"X": ("INT32", [team])}, parameters={"own": team})
    lines = told(triton, "infer", inputs={"X": [3]}, parameters={"own": 1})
    assert [line for line in lines if line.startswith("  ") and "http" in line] == [
        "  2. http infer simple, answered 400",
        "  4. http infer simple, answered 400",
        "  1. http infer simple, answered 400",
    ]


def test_a_request_of_the_same_operation_and_model_comes_before_any_other(triton: Session) -> None:
    for model in ("nope", "simple"):
        send(triton, {"X": ("FP32", [0.0]), "Y": ("FP32", [0.0])}, model)
    for path in ("/v2/health/ready", "/v2/models/simple", "/v2/models/simple/ready"):
        httpx.get(triton.http_url + path)
    lines = told(
        triton,
        "infer",
        model="simple",
        inputs={"X": [1.0], "Y": [1.0], "Z": [1.0]},
        parameters={"priority": 1},
        headers={"x-team": "b"},
    )
    assert [line for line in lines if line.startswith("  ") and line[2].isdigit()] == [
        "  2. http infer simple, answered 400",
        "  1. http infer nope, answered 404",
        "  4. http model_metadata simple, answered 200",
    ]


def test_a_request_with_inputs_comes_before_one_without_where_inputs_are_expected(triton: Session) -> None:
    httpx.get(f"{triton.http_url}/v2/models/simple")
    send(triton, {"X": ("FP32", [0.0]), "Y": ("FP32", [0.0])})
    lines = told(triton, inputs={"X": [1.0], "Y": [1.0]})
    assert lines[2] == "  2. http infer simple, answered 400"


def test_requests_of_other_operations_and_models_are_told_where_there_are_no_nearer_ones(
    triton: Session,
) -> None:
    httpx.get(f"{triton.http_url}/v2/health/ready")
    assert told(triton, "infer", model="simple") == [
        "expected at least one request for operation='infer', model='simple', got 0",
        "the nearest:",
        "  1. http server_ready, answered 200",
        "    operation: expected 'infer', got 'server_ready'",
        "    model: expected 'simple', got ''",
    ]
    send(triton, {}, "simple")
    assert told(triton, "generate", model="simple")[2:] == [
        "  2. http infer simple, answered 400",
        "    operation: expected 'generate', got 'infer'",
    ]


def test_an_empty_journal_is_told(triton: Session) -> None:
    assert told(triton, "infer", model="simple") == [
        "expected at least one request for operation='infer', model='simple', got 0",
        "the journal is empty: no request has come",
    ]


def test_one_too_many_is_told_with_those_that_fit(triton: Session) -> None:
    send(triton, {"X": ("INT32", [1])})
    send(triton, {"X": ("INT32", [1])})
    assert told(triton, "infer", times=1) == [
        "expected 1 requests for operation='infer', got 2",
        "these fit:",
        "  1. http infer simple, answered 400",
        "  2. http infer simple, answered 400",
    ]
    assert told(triton, "infer", times=0)[0] == "expected 0 requests for operation='infer', got 2"
    assert triton.assert_requested("infer", times=2).count == 2
    assert triton.assert_requested("generate", times=0).count == 0


def test_a_body_that_is_no_request_is_told(triton: Session) -> None:
    httpx.post(f"{triton.http_url}/v2/models/simple/infer", content=b"[]")
    lines = told(triton, "infer", inputs={"X": [1]})
    assert lines[3].startswith("    request 1 has no inputs: ")


@pytest.mark.parametrize(
    "ask",
    [
        lambda triton: triton.assert_requested("inference"),
        lambda triton: triton.requests.where("inference"),
    ],
    ids=["assert_requested", "where"],
)
def test_an_operation_that_there_is_not_is_refused(triton: Session, ask: Callable[[Session], object]) -> None:
    with pytest.raises(ValueError, match=r"^'inference' is no operation; did you mean 'infer'\?$"):
        ask(triton)
