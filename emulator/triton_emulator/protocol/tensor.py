"""A named tensor: a datatype, a shape, and its elements as wire bytes, as a numpy array, or both."""

from collections.abc import Sequence

import numpy as np

from triton_emulator.protocol.datatypes import (
    DATATYPES,
    Array,
    Buffer,
    decode_bytes,
    encode_bytes,
)
from triton_emulator.protocol.shapes import element_count


class Tensor:
    """A tensor in a request or a response.

    Built from `data` (the wire form: little-endian elements, BYTES after length prefixes) or from `array` (of the
    datatype's numpy type, any shape with the right number of elements). The other form is made when it is needed.
    `shape` includes the batch dimension where the model has one.
    """

    __slots__ = ("_array", "_data", "datatype", "name", "shape")

    def __init__(
        self,
        name: str,
        datatype: str,
        shape: Sequence[int],
        *,
        data: Buffer | None = None,
        array: Array | None = None,
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = tuple(shape)
        self._data = data
        self._array = array

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.datatype}, {list(self.shape)})"

    @property
    def has_data(self) -> bool:
        """Whether the wire form is there without a conversion."""
        return self._data is not None

    @property
    def data(self) -> Buffer:
        """The wire form."""
        if self._data is None:
            array = self._array
            if array is None:
                self._data = b""
            elif self.datatype == "BYTES":
                self._data = encode_bytes(array.ravel().tolist())
            else:
                self._data = array.tobytes()
        return self._data

    @property
    def byte_size(self) -> int:
        """The number of bytes of the wire form."""
        if self._data is None and self._array is not None and self.datatype != "BYTES":
            return self._array.nbytes
        return len(self.data)

    @property
    def array(self) -> Array:
        """The elements as an array of `shape`; raises what `decode_bytes` raises, ValueError where sizes differ."""
        if self._array is None:
            if self.datatype == "BYTES":
                elements = decode_bytes(self.data)
                flat = np.empty(len(elements), dtype=np.object_)
                flat[:] = elements
            else:
                flat = np.frombuffer(self.data, dtype=DATATYPES[self.datatype].numpy)
            self._array = flat
        if self._array.shape != self.shape:
            self._array = self._array.reshape(self.shape)
        return self._array

    @property
    def count(self) -> int:
        """The number of elements by `shape`."""
        return element_count(self.shape)

    @property
    def element_total(self) -> int:
        """The number of elements in the array; by `shape` where there is no array."""
        return self.count if self._array is None else self._array.size

    def renamed(self, name: str, shape: Sequence[int]) -> "Tensor":
        """The same elements with another name and shape."""
        return Tensor(name, self.datatype, shape, data=self._data, array=self._array)
