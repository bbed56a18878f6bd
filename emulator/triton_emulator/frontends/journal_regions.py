"""Shared memory as the journal sees it: it keeps what was on the wire, which is the name of a region."""

from typing import NoReturn

from triton_emulator.protocol.datatypes import Buffer
from triton_emulator.protocol.errors import TritonError, unsupported
from triton_emulator.protocol.messages import SharedMemoryRef


class _Elsewhere:
    """The bytes of a tensor in shared memory: their number is known, and the bytes are not."""

    def __init__(self, ref: SharedMemoryRef) -> None:
        self._ref = ref

    def __len__(self) -> int:
        return self._ref.byte_size

    def _refuse(self) -> TritonError:
        return unsupported(
            f"it is in the shared memory region '{self._ref.region}'; the journal keeps what was on the wire"
        )

    def read(self, at: int, size: int) -> NoReturn:
        raise self._refuse()

    def whole(self) -> Buffer:
        raise self._refuse()


class NoRegions:
    """Takes every region for one that is registered."""

    input_bytes = 0

    def source(self, ref: SharedMemoryRef) -> _Elsewhere:
        return _Elsewhere(ref)

    def check(self, ref: SharedMemoryRef) -> None:
        """Accept any."""


NO_REGIONS = NoRegions()
