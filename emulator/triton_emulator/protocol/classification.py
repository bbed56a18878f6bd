"""The classification extension: the top values of an output as strings `value:index[:label]`."""

from collections.abc import Sequence

import numpy as np

from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.tensor import Tensor


def classify(tensor: Tensor, classes: int, labels: Sequence[str], *, batching: bool) -> Tensor:
    """The `classes` highest values of each batch row as a BYTES tensor of shape [batch?, min(classes, row)].

    Values print as C's std::to_string does (six decimals for floats). Equal values stay in index order.
    Raises INVALID_ARG for a BYTES output, as later servers do (2.51 itself crashes).
    """
    if tensor.datatype == "BYTES":
        raise invalid_arg("class result not available for output due to unsupported type 'BYTES'")
    rows = tensor.shape[0] if batching and tensor.shape else 1
    values = tensor.array.reshape(rows, tensor.count // rows if rows else 0)
    top = min(classes, values.shape[1])
    floating = values.dtype.kind == "f"
    found: list[bytes] = []
    for row in values:
        # highest first, equal values in index order, whatever the dtype
        order = (row.size - 1 - np.argsort(row[::-1], kind="stable")[::-1])[:top]
        found += [_entry(row[index].item(), int(index), labels, floating=floating) for index in order]
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return Tensor(tensor.name, "BYTES", [rows, top] if batching else [top], array=array)


def _entry(value: float, index: int, labels: Sequence[str], *, floating: bool) -> bytes:
    text = f"{value:.6f}" if floating else str(int(value))
    label = f":{labels[index]}" if index < len(labels) and labels[index] else ""
    return f"{text}:{index}{label}".encode()
