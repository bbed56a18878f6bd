"""A named tensor: a datatype, a shape, and its elements as wire bytes, as a numpy array, or both."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from triton_emulator.protocol.datatypes import (
    DATATYPES,
    Array,
    Buffer,
    decode_bytes,
    encode_bytes,
)
from triton_emulator.protocol.shapes import element_count


class Parts(Protocol):
    """Bytes that are read in parts."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Buffer: ...


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

    def peek(self) -> Parts:
        """The wire form, of which little is to be read."""
        return memoryview(self.data)

    @property
    def byte_size(self) -> int:
        """The number of bytes of the wire form."""
        if self._data is None and self._array is not None and self.datatype != "BYTES":
            return self._array.nbytes
        return len(self.data)

    def resize(self, size: int) -> None:
        """Keep `size` bytes of the wire form, with zeros at the end where it has less."""
        self._data = bytes(memoryview(self.data)[:size]).ljust(size, b"\0")
        self._array = None

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


class Source(Protocol):
    """Where the bytes of a RemoteTensor are: `len` gives their number without reading them."""

    def __len__(self) -> int: ...

    def read(self, at: int, size: int) -> Buffer:
        """A copy of `size` bytes from `at` on. Raises TritonError where they can not be read."""

    def whole(self) -> Buffer:
        """A copy of all bytes. Raises as `read` does, and where they are too many."""


class RemoteTensor(Tensor):
    """A tensor whose bytes are not in this process's memory yet. It is checked first and copied by `fetch` after.

    Not `fetch`ed, it tells its sizes, and `peek` reads small parts of it.
    """

    __slots__ = ("_source",)

    def __init__(self, name: str, datatype: str, shape: Sequence[int], source: Source) -> None:
        super().__init__(name, datatype, shape)
        self._source = source

    def fetch(self) -> None:
        """Copy the bytes. Raises what the source raises."""
        if self._data is None:
            self._data = self._source.whole()

    @property
    def has_data(self) -> bool:
        return True

    @property
    def data(self) -> Buffer:
        self.fetch()
        return super().data

    @property
    def byte_size(self) -> int:
        return len(self._source)

    def peek(self) -> "Parts":
        return _Remote(self._source) if self._data is None else memoryview(self._data)

    def renamed(self, name: str, shape: Sequence[int]) -> Tensor:
        self.fetch()
        return super().renamed(name, shape)


#: bytes that are read of a source at least
_WINDOW = 1 << 16


class _Remote:
    """The parts of a source that are asked for, one after the other: a window of it is read at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._window: Buffer = b""
        self._from = 0

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, part: slice) -> Buffer:
        start, stop, _ = part.indices(len(self._source))
        if not self._from <= start <= stop <= self._from + len(self._window):
            size = max(stop - start, min(_WINDOW, len(self._source) - start))
            self._from, self._window = start, self._source.read(start, size)
        return self._window[start - self._from : stop - self._from]
