"""What a request asks for: two requests with one meaning are to get one answer.

Tensors are compared by datatype, shape and bytes, whether they came as JSON or as binary data. Other values are
compared as JSON's: the order of keys does not matter. Headers do not matter, and neither does the id of a request.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from triton_emulator.harness.journal import JournalEntry
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Meaning:
    """`inputs` are (name, datatype, shape, digest of the bytes), in the order of their names. `asked` is JSON."""

    protocol: str
    operation: str
    model: str
    version: str
    inputs: tuple[tuple[str, str, tuple[int, ...], str], ...]
    asked: str


def meaning_of(entry: JournalEntry) -> Meaning:
    """The meaning of a request that has come."""
    inputs, asked = entry.asked()
    return meaning(
        (entry.protocol, entry.operation, entry.model, entry.version),
        ((tensor.name, tensor.datatype, tensor.shape, digest(wire_form(tensor))) for tensor in inputs),
        asked,
    )


def meaning(
    what: tuple[str, str, str, str],
    inputs: Iterable[tuple[str, str, tuple[int, ...], str]],
    asked: Mapping[str, Any],
) -> Meaning:
    """`what` is (protocol, operation, model, version)."""
    return Meaning(*what, tuple(sorted(inputs)), json.dumps(asked, sort_keys=True))


def wire_form(tensor: Tensor) -> bytes:
    """The bytes of a tensor; none where they are in shared memory."""
    try:
        return bytes(tensor.data)
    except TritonError:
        return b""


def digest(data: bytes) -> str:
    """What names a file of these bytes."""
    return sha256(data).hexdigest()
