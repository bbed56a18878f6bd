"""The classification extension: the top values of an output as strings `value:index[:label]`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_emulator.cxx import introsort
from triton_emulator.cxx.numbers import to_uint32
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.personality import NO_LIMIT
from triton_emulator.protocol.tensor import Tensor

#: Datatypes without classes. 2.51 crashes at BYTES; later servers refuse it with this error too.
_UNSUPPORTED = frozenset({"BOOL", "FP16", "BF16", "BYTES"})

#: std::sort is stable up to this many values
_STABLE = 16
#: the most values that are sorted as C++ does, which takes Python about a microsecond each
_SORTED_MOST = 10_000


def classify(
    tensor: Tensor, classes: int, labels: Sequence[bytes], *, batching: bool, limit: int = NO_LIMIT
) -> Tensor:
    """The `classes` highest values of each batch row as a BYTES tensor of shape [batch?, min(classes, row)].

    Values are printed as C++'s std::to_string does (six decimals for floats). Equal values are in the order in which
    std::sort leaves them, but in index order in a row of more than ten thousand values, or where C++ sorts by a heap.
    Raises INVALID_ARG for a datatype that has no classes, and for a row of more than `limit` values.
    """
    rows = tensor.shape[0] if batching and tensor.shape else 1
    width = tensor.count // rows if rows else 0
    if width > limit and tensor.datatype != "BYTES":
        raise invalid_arg("classification output tensor too large")
    if tensor.datatype in _UNSUPPORTED:
        raise invalid_arg(
            f"class result not available for output due to unsupported type '{tensor.datatype}'"
        )
    values = tensor.array.reshape(rows, width)
    top = min(to_uint32(classes), values.shape[1])  # gRPC may ask for more, of which 2.51 keeps 32 bits
    floating = values.dtype.kind == "f"
    found: list[bytes] = []
    for row in values:
        found += [
            _entry(row[index].item(), int(index), labels, floating=floating) for index in _highest(row, top)
        ]
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return Tensor(tensor.name, "BYTES", [rows, top] if batching else [top], array=array)


def _highest(row: "np.ndarray[Any, Any]", top: int) -> Sequence[int]:
    """The indices of the `top` highest values."""
    # highest first, equal values in index order, whatever the dtype
    order = row.size - 1 - np.argsort(row[::-1], kind="stable")[::-1]
    highest = row[order[: top + 1]]
    unordered = row.dtype.kind == "f" and bool(np.isnan(row).any())
    if unordered or (_STABLE < row.size <= _SORTED_MOST and bool((highest[1:] == highest[:-1]).any())):
        exact = introsort.descending(row.tolist()) if row.size <= _SORTED_MOST else None
        if exact is not None:
            return exact[:top]
    return [int(index) for index in order[:top]]


def _entry(value: float, index: int, labels: Sequence[bytes], *, floating: bool) -> bytes:
    text = f"{value:.6f}:{index}" if floating else f"{int(value)}:{index}"
    label = labels[index] if index < len(labels) else b""
    return b"%b:%b" % (text.encode(), label) if label else text.encode()
