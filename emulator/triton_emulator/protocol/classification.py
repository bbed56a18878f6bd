"""The classification extension: the top values of an output as strings `value:index[:label]`."""

from collections.abc import Sequence

import numpy as np

from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.tensor import Tensor

#: Datatypes without classes. 2.51 crashes at BYTES; later servers refuse it in these words too.
_UNSUPPORTED = frozenset({"BOOL", "FP16", "BF16", "BYTES"})


def classify(tensor: Tensor, classes: int, labels: Sequence[str], *, batching: bool) -> Tensor:
    """The `classes` highest values of each batch row as a BYTES tensor of shape [batch?, min(classes, row)].

    Values print as C's std::to_string does (six decimals for floats). Equal values stay in index order.
    Raises INVALID_ARG for a datatype that has none.
    """
    if tensor.datatype in _UNSUPPORTED:
        raise invalid_arg(
            f"class result not available for output due to unsupported type '{tensor.datatype}'"
        )
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
