"""Splits an output tensor into one vector for each input, and renders vectors as lists or base64. Pure."""

import base64
import math
import sys
from array import array

from triton_adapter.errors import BadGatewayError, BadRequestError
from triton_adapter.triton.codec import Tensor


def split(tensor: Tensor, size: int, pooling: str | None) -> list["array[float]"]:
    """Cut a tensor into one vector per input.

    [dim] is one vector; [n, dim] a row each; [n, 1, dim] likewise; [n, tokens, dim] is pooled as configured.
    """
    values, shape = tensor.floats(), tensor.shape
    total = math.prod(shape)
    if total != len(values) or total == 0:
        raise BadGatewayError(f"output '{tensor.name}' does not have as many elements as its shape says")
    if size == 1 and len(shape) == 2 and shape[0] != 1:
        shape = [1, *shape]  # one text, a vector for each of its tokens
    if len(shape) == 1:
        shape = [1, *shape]
    if shape[0] != size or len(shape) not in (2, 3):
        raise BadGatewayError(f"output '{tensor.name}' has shape {tensor.shape} for {size} inputs")
    width = shape[-1]
    if len(shape) == 2 or shape[1] == 1:
        return [values[at * width : (at + 1) * width] for at in range(size)]
    length = shape[1] * width
    return [
        pooled(values[at * length : (at + 1) * length], width, pooling, tensor.name) for at in range(size)
    ]


def pooled(values: "array[float]", width: int, pooling: str | None, name: str) -> "array[float]":
    """Return one vector for the vectors of a text's tokens: `mean`, `cls` (the first) or `last`."""
    if pooling == "cls":
        return values[:width]
    if pooling == "last":
        return values[-width:]
    if pooling == "mean":
        tokens = len(values) // width
        return array("f", (math.fsum(values[at::width]) / tokens for at in range(width)))
    raise BadGatewayError(
        f"output '{name}' holds a vector for each token: set pooling to mean, cls or last, or embedding_output"
    )


def shown(vector: "array[float]", *, as_base64: bool, dimensions: int | None) -> list[float] | str:
    """Return a vector as a list, or as base64 of little-endian FP32; cut to `dimensions` and scaled to length 1 again.

    BadRequestError if the vector has fewer dimensions.
    """
    if dimensions is not None and dimensions != len(vector):
        if dimensions > len(vector):
            raise BadRequestError(
                f"'dimensions' is {dimensions}, but the model's embeddings have {len(vector)}",
                param="dimensions",
                code="invalid_value",
            )
        vector = vector[:dimensions]
        norm = math.sqrt(math.fsum(value * value for value in vector))
        vector = array("f", (value / norm for value in vector)) if norm else vector
    if not as_base64:
        return vector.tolist()
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
