"""The values of an ensemble's tensors while a request runs: each is kept until its last reader has taken it."""

from dataclasses import dataclass

from triton_emulator.protocol.messages import Parameter
from triton_emulator.protocol.tensor import Tensor


@dataclass(slots=True)
class Value:
    """One value of an ensemble tensor. `tensor` is None if the request or the step left it out.

    `parameters` names the sequence that the value belongs to; it is None for an input of the ensemble. `readers` counts
    the steps and responses that will still read the value.
    """

    tensor: Tensor | None
    parameters: tuple[tuple[str, Parameter], ...] | None = None
    readers: int = 0


class Values:
    """The values of one ensemble tensor by their numbers, from 0 on."""

    __slots__ = ("_by_number", "_next", "_readers", "batch")

    def __init__(self, readers: int) -> None:
        self._readers = readers
        self._by_number: dict[int, Value] = {}
        self._next = 0
        #: the batch size of the request that made the values, 0 without a batch dimension
        self.batch = 0

    def add(self, value: Value) -> int:
        """Add a value; returns its number. A value that nothing reads is dropped."""
        number = self._next
        self._next += 1
        value.readers = self._readers
        if value.readers:
            self._by_number[number] = value
        return number

    def __contains__(self, number: int) -> bool:
        return number in self._by_number

    def __getitem__(self, number: int) -> Value:
        return self._by_number[number]

    def done(self, number: int) -> None:
        """One reader has taken the value; after the last one it is dropped."""
        value = self._by_number[number]
        value.readers -= 1
        if not value.readers:
            del self._by_number[number]
