"""The parts of a fault, each a value with what it does to one answer.

A fault is parts in order. A part acts at one of four places, each of which is a base class here:

    Wait     before the request is looked at, for a number of seconds
    Answer   in place of the answer: no model is asked
    Alter    on each response of the model, before a frontend writes it
    Shape    on the wire operations of an answer that a frontend has written

`Script` is a fault at work on one request. `Alter` and `Shape` make a function for it, which may count events; both are
pure functions of what they get, so they are tested as lists. A script remembers which parts have happened: a `cut`
after five events does not happen to an answer with three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from triton_emulator.harness.operations import HTTP, OperationKind
from triton_emulator.protocol.datatypes import DATATYPES, Array
from triton_emulator.protocol.errors import GRPC_STATUS, HTTP_STATUS, Code, internal
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.wire.operations import Body, Close, End, Hang, Operation, Pause, Reset

#: a response of a model, None where only the final flag comes, and whether it is the last
Response = tuple[InferResponse | None, bool]
#: what becomes of one response; says by `happened` that the fault has taken place
Altering = Callable[[InferResponse | None, bool], Iterable[Response]]
#: what becomes of one wire operation
Shaping = Callable[[Operation], Iterable[Operation]]
Happened = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Part:
    """What goes wrong. `text` is the call that makes it, for messages."""

    text: str

    #: for messages: what the operations of which it makes sense have in common
    needs: ClassVar[str] = "any operation"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        """Whether it makes sense for an operation over a protocol."""
        return True


@dataclass(frozen=True, slots=True)
class Wait(Part):
    """Wait before the request is looked at."""

    seconds: float


# --- in place of the answer ---


@dataclass(frozen=True, slots=True)
class Answer(Part):
    """Answer in place of the server."""


@dataclass(frozen=True, slots=True)
class Refuse(Answer):
    """An error: `status` over HTTP, `grpc` (a number) over gRPC."""

    status: int
    grpc: int
    message: str
    #: seconds of the header Retry-After
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Break(Answer):
    """Unlawful operations in place of an answer."""

    operations: tuple[Operation, ...]
    protocols: tuple[str, ...]

    needs: ClassVar[str] = "HTTP, where a request has a connection of its own"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return protocol in self.protocols


@dataclass(frozen=True, slots=True)
class NotReady(Answer):
    """The server is alive and not ready. `uses` and `seconds` say for how long, one of them is None."""

    uses: int | None
    seconds: float | None

    needs: ClassVar[str] = "readiness and inference"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.infers or kind.name in ("server_ready", "model_ready", "health_check")


@dataclass(frozen=True, slots=True)
class Unloaded(Answer):
    """The model is unloaded."""

    needs: ClassVar[str] = "an operation of one model, other than its load and unload"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.of_model and not kind.name.startswith("repository")


@dataclass(frozen=True, slots=True)
class QueueRefuses(Answer):
    """The model's queue refuses the request, because it is full or, with `expired`, because it has waited too long."""

    expired: bool

    needs: ClassVar[str] = "inference"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.infers


# --- on the model's responses ---


@dataclass(frozen=True, slots=True)
class Alter(Part):
    """Change the model's responses."""

    needs: ClassVar[str] = "inference"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.infers

    def altering(self, happened: Happened) -> Altering:
        """The function for the responses of one request, in their order."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class WrongOutput(Alter):
    """An output that is missing, or has another shape, datatype or other values than the model gave it."""

    name: str
    shape: tuple[int, ...] | None
    datatype: str | None
    values: tuple[Any, ...] | None
    drop: bool

    def altering(self, happened: Happened) -> Altering:
        def alter(response: InferResponse | None, final: bool) -> Iterator[Response]:
            if response is not None and any(tensor.name == self.name for tensor in response.outputs):
                happened()
                response = replace(response, outputs=list(self._changed(response.outputs)))
            yield response, final

        return alter

    def _changed(self, outputs: Iterable[Tensor]) -> Iterator[Tensor]:
        for tensor in outputs:
            if tensor.name != self.name:
                yield tensor
            elif not self.drop:
                yield wrong_tensor(tensor, self.shape, self.datatype, self.values)


def wrong_tensor(
    tensor: Tensor, shape: tuple[int, ...] | None, datatype: str | None, values: Sequence[Any] | None
) -> Tensor:
    """A tensor that differs in what is given and is sound by itself, as that of a model with a mistake.

    Elements are repeated or cut to fill another shape, and converted to another datatype. `values` alone keep the shape
    if they fill it; else they are of one dimension.
    """
    datatype = datatype or tensor.datatype
    flat = _elements(tensor.array.ravel() if values is None else values, datatype)
    if shape is None:
        fills = values is None or flat.size == tensor.count
        shape = tensor.shape if fills else (flat.size,)
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    full: Array = flat if flat.size == count else np.resize(flat, count)
    return Tensor(tensor.name, datatype, shape, array=full.reshape(shape))


def _elements(values: Any, datatype: str) -> Array:
    """The elements in one dimension, of a datatype; texts become numbers and numbers texts where they have to."""
    if datatype == "BYTES":
        flat = np.empty(len(values), dtype=np.object_)
        flat[:] = [_bytes(value) for value in values]
        return flat
    wanted = DATATYPES[datatype].numpy
    plain = [_number(value) if isinstance(value, bytes | str) else value for value in values]
    with np.errstate(all="ignore"):  # a number that the datatype does not have becomes some other
        return np.asarray(plain).astype(wanted)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _number(text: bytes | str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class ErrorEvent(Alter):
    """After some events, an error in the stream. It is the last event."""

    message: str
    after_events: int

    needs: ClassVar[str] = "generate_stream and stream_infer"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.streams

    def altering(self, happened: Happened) -> Altering:
        left = self.after_events
        ended = False

        def alter(response: InferResponse | None, final: bool) -> Iterator[Response]:
            nonlocal left, ended
            if ended:
                return
            if left:
                left -= response is not None
                if left:
                    yield response, final
                    return
                yield response, False
            ended = True
            happened()
            of = response or InferResponse("", "")
            yield InferResponse(of.model_name, of.model_version, of.id, error=internal(self.message)), True

        return alter


@dataclass(frozen=True, slots=True)
class MissingFinal(Alter):
    """The flag `triton_final_response` of the last response is not set."""

    needs: ClassVar[str] = "stream_infer, which alone has the flag"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.name == "stream_infer"


# --- on the wire ---


@dataclass(frozen=True, slots=True)
class Shape(Part):
    """Change the wire operations of the answer."""

    def shaping(self, happened: Happened) -> Shaping:
        """The function for the operations of one answer, in their order."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CutEvents(Shape):
    """Close the connection after some events."""

    after_events: int

    needs: ClassVar[str] = "generate_stream and stream_infer"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.streams

    def shaping(self, happened: Happened) -> Shaping:
        left = self.after_events
        cut = False

        def shape(operation: Operation) -> Iterator[Operation]:
            nonlocal left, cut
            if cut:
                return
            if isinstance(operation, Body):
                if left:
                    left -= 1
                    yield operation
                    return
            elif not isinstance(operation, End):
                yield operation
                return
            elif left:
                yield operation  # the stream was too short
                return
            cut = True
            happened()
            yield Close()

        return shape


@dataclass(frozen=True, slots=True)
class CutBytes(Shape):
    """Close the connection after some bytes of the body."""

    after_bytes: int

    needs: ClassVar[str] = "HTTP, where a body has bytes of its own"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return protocol == HTTP

    def shaping(self, happened: Happened) -> Shaping:
        left = self.after_bytes
        cut = False

        def shape(operation: Operation) -> Iterator[Operation]:
            nonlocal left, cut
            if cut:
                return
            if not isinstance(operation, Body):
                yield operation
                return
            if len(operation.data) <= left:
                left -= len(operation.data)
                yield operation
                return
            cut = True
            happened()
            yield Body(operation.data[:left])
            yield Close()

        return shape


@dataclass(frozen=True, slots=True)
class Stall(Shape):
    """After some events, wait; `seconds` None is for ever."""

    after_events: int
    seconds: float | None

    needs: ClassVar[str] = "generate_stream and stream_infer"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.streams

    def shaping(self, happened: Happened) -> Shaping:
        left = self.after_events
        stalled = False

        def shape(operation: Operation) -> Iterator[Operation]:
            nonlocal left, stalled
            first = not left and isinstance(operation, Body | End)
            if first and not stalled:  # it stalls before the first event
                stalled = True
                happened()
                yield self._wait()
            yield operation
            if left and isinstance(operation, Body):
                left -= 1
                if not left:
                    # At once: a client that gives up after this event is not to be faster than the next one.
                    stalled = True
                    happened()
                    yield self._wait()

        return shape

    def _wait(self) -> Operation:
        return Hang() if self.seconds is None else Pause(self.seconds)


#: the parts of a second in which `drip` writes
_DRIPS = 20


@dataclass(frozen=True, slots=True)
class Drip(Shape):
    """Write the body at a number of bytes per second."""

    bytes_per_second: float

    needs: ClassVar[str] = "HTTP, where a body has bytes of its own"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return protocol == HTTP

    def shaping(self, happened: Happened) -> Shaping:
        size = max(1, round(self.bytes_per_second / _DRIPS))

        def shape(operation: Operation) -> Iterator[Operation]:
            if not isinstance(operation, Body):
                yield operation
                return
            happened()
            for at in range(0, len(operation.data), size):
                piece = operation.data[at : at + size]
                yield Pause(len(piece) / self.bytes_per_second)
                yield Body(piece)

        return shape


@dataclass(frozen=True, slots=True)
class TruncatedBinary(Shape):
    """The binary data of an output lacks bytes at its end, although its size is told as it should be."""

    name: str
    missing: int

    needs: ClassVar[str] = "infer"

    def fits(self, kind: OperationKind, protocol: str) -> bool:
        return kind.name == "infer"


# --- at work ---


class Script:
    """A fault at work on one request: what it does at each place, and which of its parts have happened."""

    __slots__ = ("_altering", "_completed", "_happened", "_shaping", "answer", "parts", "truncated", "waits")

    def __init__(self, parts: Sequence[Part], completed: Happened = lambda: None) -> None:
        """`completed` is called when every part has happened, which may be long before the answer ends."""
        self.parts = tuple(parts)
        self._completed = completed
        self._happened: set[int] = set()
        #: seconds to wait before the request is looked at
        self.waits = sum(part.seconds for part in parts if isinstance(part, Wait))
        #: what is answered in place of the server, None where it answers itself
        self.answer = next((part for part in parts if isinstance(part, Answer)), None)
        self.truncated = next((part for part in parts if isinstance(part, TruncatedBinary)), None)
        self._altering = [
            part.altering(self._noter(part))
            for part in parts
            if isinstance(part, Alter) and not isinstance(part, MissingFinal)
        ]
        self._shaping = [
            part.shaping(self._noter(part))
            for part in parts
            if isinstance(part, Shape) and not isinstance(part, TruncatedBinary)
        ]

    def __repr__(self) -> str:
        return f"<Script {' + '.join(part.text for part in self.parts)}>"

    @property
    def complete(self) -> bool:
        """Whether every part has happened."""
        return len(self._happened) == len(self.parts)

    @property
    def missed(self) -> list[str]:
        """The parts that have not happened, by their texts."""
        return [part.text for number, part in enumerate(self.parts) if number not in self._happened]

    def note(self, *kinds: type[Part]) -> None:
        """The parts of these kinds have happened."""
        for number, part in enumerate(self.parts):
            if isinstance(part, kinds):
                self._happen(number)

    def _noter(self, part: Part) -> Happened:
        return partial(self._happen, next(at for at, each in enumerate(self.parts) if each is part))

    def _happen(self, number: int) -> None:
        if number not in self._happened:
            self._happened.add(number)
            if self.complete:
                self._completed()

    @property
    def hides_final(self) -> bool:
        """Whether the last response of a stream is not marked as the last."""
        return any(isinstance(part, MissingFinal) for part in self.parts)

    @property
    def alters(self) -> bool:
        """Whether it changes responses of the model."""
        return bool(self._altering)

    @property
    def shapes(self) -> bool:
        """Whether it changes wire operations."""
        return bool(self._shaping)

    def altered(self, response: InferResponse | None, final: bool) -> list[Response]:
        """What becomes of one response."""
        responses = [(response, final)]
        for alter in self._altering:
            responses = [after for before in responses for after in alter(*before)]
        return responses

    def shaped(self, operation: Operation) -> list[Operation]:
        """What becomes of one wire operation."""
        operations = [operation]
        for shape in self._shaping:
            operations = [after for before in operations for after in shape(before)]
        return operations


GARBAGE = b"\x16\x03\x01\x00\xff\x00garbage, not an answer\xff\xfe"
RESET = Reset()
CLOSE = Close()

_STATUS_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())}
#: gRPC's number for an HTTP status that no code of Triton has; the numbers are those that gRPC's gateways use
_GRPC_BY_STATUS = {401: 16, 403: 7, 408: 4, 409: 10, 413: 8, 429: 8, 499: 1, 502: 14, 504: 4}
#: the HTTP status for a gRPC status that no code of Triton has
_STATUS_BY_GRPC = {4: 504, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 15: 500, 16: 401}
_GRPC_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_LEAST_ERROR, _MOST_STATUS = 400, 599


def both_statuses(given: int | str | Code) -> tuple[int, int]:
    """The HTTP status and gRPC's number for either of them, or for a code of Triton's.

    `given` is an HTTP status of an error, the name of a gRPC status, or a `Code` or its name. Raises ValueError, and
    TypeError for another type.
    """
    if isinstance(given, Code):
        return HTTP_STATUS[given], GRPC_STATUS[given]
    if isinstance(given, str):
        return _statuses_of(given.upper().replace(" ", "_"))
    if type(given) is not int:
        raise TypeError(f"an HTTP status, the name of a gRPC status or a Code of Triton, not {given!r}")
    if not _LEAST_ERROR <= given <= _MOST_STATUS:
        raise ValueError(f"the status of an error is {_LEAST_ERROR} to {_MOST_STATUS}, not {given}")
    if given in _GRPC_BY_STATUS:
        return given, _GRPC_BY_STATUS[given]
    code = _STATUS_CODES.get(given)
    if code is not None and given != HTTP_STATUS[Code.INVALID_ARG]:
        return given, GRPC_STATUS[code]
    fallback = Code.INVALID_ARG if given < HTTP_STATUS[Code.INTERNAL] else Code.INTERNAL
    return given, GRPC_STATUS[fallback]


def _statuses_of(name: str) -> tuple[int, int]:
    if name in Code.__members__:
        code = Code[name]
        return HTTP_STATUS[code], GRPC_STATUS[code]
    if name == "OK" or name not in _GRPC_NAMES:
        raise ValueError(f"{name!r} is no error of gRPC; the names are {', '.join(_GRPC_NAMES[1:])}")
    number = _GRPC_NAMES.index(name)
    status = next((HTTP_STATUS[code] for code, each in GRPC_STATUS.items() if each == number), None)
    return status or _STATUS_BY_GRPC[number], number


def grpc_name(number: int) -> str:
    """The name of a gRPC status."""
    return _GRPC_NAMES[number]


def truncated(
    body: bytes, header_length: int, name: str, missing: int, sizes: Sequence[tuple[str, int]]
) -> bytes:
    """An HTTP body without the last `missing` bytes of one tensor.

    `sizes` are the names and byte sizes of the binary tensors in their order.
    """
    at = header_length
    for tensor, size in sizes:
        if tensor == name:
            kept = max(size - missing, 0)
            return body[: at + kept] + body[at + size :]
        at += size
    return body
