"""The codec of v2 inference requests and responses, tested with literal bytes."""

import struct

import pytest

from triton_adapter.errors import BadGatewayError, BadRequestError
from triton_adapter.triton.codec import Tensor, decode_infer, encode_infer


def test_a_request_is_json() -> None:
    body, headers = encode_infer(
        [Tensor("text_input", "BYTES", [1], ["hi"]), Tensor("max_tokens", "INT32", [1, 1], [5])],
        outputs=["text_output"],
        request_id="r1",
        parameters={"user": "me"},
    )
    assert headers == {"Content-Type": "application/json"}
    assert body == (
        b'{"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["hi"]},'
        b'{"name":"max_tokens","shape":[1,1],"datatype":"INT32","data":[5]}],'
        b'"id":"r1","parameters":{"user":"me"},"outputs":[{"name":"text_output"}]}'
    )


@pytest.mark.parametrize(
    "datatype, data",
    [("FP16", struct.pack("<2e", 1.5, -2)), ("BF16", b"\xc0\x3f\x00\xc0")],
    ids=["FP16", "BF16"],
)
def test_half_precision_goes_as_binary_data_for_triton_refuses_it_in_json(datatype: str, data: bytes) -> None:
    body, headers = encode_infer([Tensor("x", datatype, [2], [1.5, -2.0])])
    head = int(headers["Inference-Header-Content-Length"])
    assert b'"parameters":{"binary_data_size":4}' in body[:head]
    assert body[head:] == data


def test_a_json_reply_gives_its_tensors() -> None:
    body = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1.0,2.5]}]}'
    assert decode_infer({}, body)["y"].values() == [1.0, 2.5]


def test_nested_data_of_other_servers_is_flat() -> None:
    body = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[2,1],"data":[[1.0],[2.0]]}]}'
    assert decode_infer({}, body)["y"].values() == [1.0, 2.0]


@pytest.mark.parametrize(
    "datatype, shape, blob, values",
    [
        ("FP32", [2], struct.pack("<2f", 1.5, -2), [1.5, -2.0]),
        ("FP16", [2], struct.pack("<2e", 1.5, -2), [1.5, -2.0]),
        ("BF16", [2], b"\xc0\x3f\x00\xc0", [1.5, -2.0]),
        ("FP64", [1], struct.pack("<d", 0.5), [0.5]),
        ("INT64", [2], struct.pack("<2q", -1, 7), [-1, 7]),
        ("BOOL", [2], b"\x01\x00", [True, False]),
        ("BYTES", [2], b"\x02\x00\x00\x00hi\x00\x00\x00\x00", ["hi", ""]),
    ],
    ids=["FP32", "FP16", "BF16", "FP64", "INT64", "BOOL", "BYTES"],
)
def test_binary_data_gives_the_same_values(
    datatype: str, shape: list[int], blob: bytes, values: list[object]
) -> None:
    head = (
        f'{{"outputs":[{{"name":"y","datatype":"{datatype}","shape":{shape},'
        f'"parameters":{{"binary_data_size":{len(blob)}}}}}]}}'
    ).encode()
    found = decode_infer({"Inference-Header-Content-Length": str(len(head))}, head + blob)
    assert found["y"].values() == values


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"outputs":5}', b'{"outputs":[{"name":"y"}]}', b'{"outputs":[1]}'],
    ids=[
        "nothing",
        "HTML",
        "a list",
        "no outputs",
        "outputs of a wrong type",
        "an output without data",
        "a number",
    ],
)
def test_anything_else_is_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(BadGatewayError):
        decode_infer({}, body)


def test_binary_data_that_is_too_short_is_the_upstreams_fault() -> None:
    head = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}}]}'
    with pytest.raises(BadGatewayError, match="ends before its binary data does"):
        decode_infer({"Inference-Header-Content-Length": str(len(head))}, head + b"1234")


@pytest.mark.parametrize(
    "output",
    [
        '"datatype":"FP32","shape":[1],"parameters":{"binary_data_size":3}',
        '"datatype":"FP32","shape":[2],"parameters":{"binary_data_size":4}',
        '"datatype":"FP99","shape":[1],"parameters":{"binary_data_size":4}',
        '"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":3}',
        '"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}',
        '"datatype":"FP32","shape":"1","data":[1]',
        '"datatype":["FP32"],"shape":[1],"data":[1]',
        '"datatype":"FP32","shape":[-1],"data":[1]',
        '"datatype":"FP32","shape":[1],"data":"1"',
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_the_upstreams_fault(output: str) -> None:
    head = f'{{"outputs":[{{"name":"y",{output}}}]}}'.encode()
    with pytest.raises(BadGatewayError):
        decode_infer({"Inference-Header-Content-Length": str(len(head))}, head + b"\x09\0\0\0a")


@pytest.mark.parametrize("datatype, value", [("FP16", 1e6), ("BF16", 1e300)])
def test_a_number_that_a_datatype_cannot_hold_is_the_callers_fault(datatype: str, value: float) -> None:
    with pytest.raises(BadRequestError, match=f"'x' is {datatype}: the number is too large"):
        encode_infer([Tensor("x", datatype, [1], [value])])
