"""The v2 infer codec: tensors to request bytes, reply bytes to tensors. Pure.

JSON by default. A tensor goes as binary data where JSON cannot carry it (Triton refuses FP16 and BF16 in JSON),
and outputs come as binary data when `binary` asks for it.
"""

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from triton_adapter.errors import BadGatewayError, BadRequestError
from triton_adapter.jsontext import dumps, loads

HEADER_LENGTH = "Inference-Header-Content-Length"

# Datatype -> struct/array code of its little-endian elements. BF16 has none: it is the upper half of a FP32.
CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
BINARY_ONLY = frozenset({"FP16", "BF16"})


class Tensor(NamedTuple):
    """One tensor: `data` is a flat list of elements, or the raw bytes of binary data."""

    name: str
    datatype: str
    shape: list[int]
    data: Any

    def values(self) -> list[Any]:
        """Return the elements as a flat list: str for BYTES, float, int or bool otherwise."""
        if isinstance(self.data, list):
            return self.data
        if self.datatype == "BYTES":
            return [item.decode("utf-8", "replace") for item in _split_bytes(self.data)]
        if self.datatype in ("BF16", "FP16", "FP32", "FP64"):
            return self.floats().tolist()
        return list(struct.unpack(f"<{prod(self.shape)}{CODES[self.datatype]}", self.data))

    def floats(self) -> "array[float]":
        """Return the elements as an array of FP32. BadGatewayError unless the tensor holds numbers."""
        if isinstance(self.data, list):
            try:
                return array("f", _flat(self.data))
            except (TypeError, OverflowError) as error:
                raise BadGatewayError(f"output '{self.name}' is {self.datatype}, not numbers") from error
        if self.datatype == "FP32":
            return _little_endian(array("f", bytes(self.data)))
        if self.datatype == "BF16":
            halves = bytes(self.data)
            widened = bytearray(2 * len(halves))
            widened[2::4], widened[3::4] = halves[0::2], halves[1::2]
            return _little_endian(array("f", bytes(widened)))
        if self.datatype == "BYTES":
            raise BadGatewayError(f"output '{self.name}' is BYTES, not numbers")
        return array("f", struct.unpack(f"<{prod(self.shape)}{CODES[self.datatype]}", self.data))


def encode_infer(
    tensors: Sequence[Tensor],
    *,
    outputs: Sequence[str] = (),
    request_id: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    binary: bool = False,
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an infer request.

    `outputs` names the outputs wanted (none: all of them); `binary` asks for them as binary data.
    """
    head: dict[str, Any] = {"inputs": []}
    if request_id:
        head["id"] = request_id
    if parameters:
        head["parameters"] = dict(parameters)
    blobs: list[bytes] = []
    for tensor in tensors:
        item: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        if tensor.datatype in BINARY_ONLY:
            blob = _pack(tensor)
            item["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            item["data"] = tensor.data
        head["inputs"].append(item)
    if outputs and binary:
        head["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    elif outputs:
        head["outputs"] = [{"name": name} for name in outputs]
    elif binary:
        head.setdefault("parameters", {})["binary_data_output"] = True
    body = dumps(head)
    if not blobs:
        return body, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(body))}
    return b"".join([body, *blobs]), headers


def decode_infer(headers: Mapping[str, str], body: bytes) -> dict[str, Tensor]:
    """Return the reply's tensors by name. BadGatewayError if the bytes are no infer reply."""
    cut = headers.get(HEADER_LENGTH)
    try:
        split = int(cut) if cut else len(body)
        head = loads(body[:split] if cut else body)
        found, offset = {}, split
        for item in head["outputs"]:
            data: Any
            name, datatype, shape = item["name"], item["datatype"], item["shape"]
            if not (isinstance(name, str) and isinstance(datatype, str) and all(n >= 0 for n in shape)):
                raise TypeError("no description of a tensor")
            size = (item.get("parameters") or {}).get("binary_data_size")
            if size is None:
                data = _flat(item["data"])
            else:
                data, offset = body[offset : offset + size], offset + size
                if len(data) != size:
                    raise BadGatewayError("Triton's reply ends before its binary data does")
                _check_size(datatype, shape, data)
            found[name] = Tensor(name, datatype, shape, data)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadGatewayError("the reply is not an infer response") from error
    return found


def _check_size(datatype: str, shape: list[int], data: bytes) -> None:
    """Raise ValueError, KeyError or struct.error unless binary data is what datatype and shape say."""
    if datatype == "BYTES":
        _split_bytes(data)
    elif len(data) != prod(shape) * (2 if datatype == "BF16" else struct.calcsize(CODES[datatype])):
        raise ValueError("not the size that the shape says")


def _flat(data: list[Any]) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError("data is a list")
    # Triton writes flat data; other v2 servers nest it by shape.
    while data and isinstance(data[0], list):
        data = [element for row in data for element in row]
    return data


def _pack(tensor: Tensor) -> bytes:
    code = "e" if tensor.datatype == "FP16" else "f"
    try:
        wide = struct.pack(f"<{len(tensor.data)}{code}", *tensor.data)
    except OverflowError as error:
        raise BadRequestError(
            f"the model's input '{tensor.name}' is {tensor.datatype}: the number is too large for it",
            param=tensor.name,
            code="invalid_value",
        ) from error
    if code == "e":
        return wide
    return b"".join(wide[at + 2 : at + 4] for at in range(0, len(wide), 4))


def _split_bytes(data: bytes) -> list[bytes]:
    items, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            raise ValueError("a string ends after the data")
        items.append(bytes(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return items


def _little_endian(values: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
