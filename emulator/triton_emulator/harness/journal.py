"""The journal: one entry for each request, in the order in which they came.

An entry keeps what came and what was answered as the frontends had it. It decodes nothing until a test looks at it. The
journal is bounded by the number of its entries and by their bytes; the oldest fall out, and are counted.

Entries are made and filled on the event loop. They may be read on any thread, while they are open too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, monotonic_ns, time_ns
from traceback import TracebackException
from types import MappingProxyType
from typing import Any, NamedTuple

from triton_emulator.engine.call import CallTimes, Now
from triton_emulator.harness.parts import Script, grpc_name
from triton_emulator.protocol.datatypes import Array
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest, Parameter
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import TensorSpec

#: headers whose values are secrets, in lower case; the headers of restricted APIs are added
SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token")
)
REDACTED = "[redacted]"
#: how the text of an error begins that Triton has for a model or a version that is not there
UNKNOWN_MODEL = b"Request for unknown model"
#: what an entry counts in bytes besides its bodies, with an ordinary head
_ENTRY_BYTES = 1024
#: what it counts for each header, and for each piece of an answer, besides the bytes
_PIECE_BYTES = 128
#: the status of an answer that is no error
HTTP_OK = 200


class Undecodable(ValueError):
    """A request or an answer is not what its operation asks for, so it has no tensors. The text says why."""


class Event(NamedTuple):
    """One piece of an answer: in a stream, one event. `seconds` are since the request came."""

    seconds: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer, or one event of a stream: its outputs (none where it is an error), parameters and error."""

    outputs: Mapping[str, Tensor]
    parameters: Mapping[str, Parameter]
    error: str | None = None


class JournalEntry:
    """One request and its answer.

    A frontend derives from it what reads its protocol. What is not known yet, or never will be, is None or empty.
    """

    # Class attributes are the values of an entry to which nothing has happened: most entries set few of them.
    protocol = ""
    #: the name of the operation; "" for a path or a method that there is not
    operation = ""
    model = ""
    version = ""
    body: bytes = b""
    #: HTTP's status or gRPC's number
    code: int | None = None
    #: an error's text over gRPC
    details = ""
    #: the inputs of its model, where that has been found
    specs: Mapping[str, TensorSpec] = MappingProxyType({})
    answer_headers: Iterable[tuple[bytes, bytes]] = ()
    ended_ns = 0
    #: the fault of the plan that the request met, at work, and as a text
    script: Script | None = None
    fault: str | None = None
    plan: Any = None
    #: whether the connection was closed before the answer was whole: by a fault, or because a real server did so
    cut = False
    #: the other end of the connection
    peer = ""
    #: over gRPC, the seconds that the client gives the call; None is no limit
    deadline: float | None = None
    #: the stub that answered it
    stub: Any = None
    #: what a handler raised that it should not
    exception: TracebackException | None = None
    times: CallTimes | None = None
    #: whether the whole answer of a real server has passed, and why that server has not answered
    passed = False
    #: whether a recording is its answer
    replayed = False
    #: whether its bytes are wanted even after it has fallen out of the journal: it is recorded
    held = False
    upstream_error: str | None = None
    #: whether the journal has it: not before it is added, and not after it has fallen out
    in_journal = False
    #: whether some of its bytes are not kept, because they are more than the whole journal may keep, or came after it
    #: had fallen out
    truncated = False
    #: (time, bytes) of each piece of the answer
    pieces: Sequence[tuple[int, bytes]] = ()
    #: about how many bytes it keeps
    size = _ENTRY_BYTES
    #: from 1 on, in the order in which the requests came
    number = 0
    _inputs: InferRequest | Undecodable | None = None

    def __init__(self, journal: Journal, size: int = 0, headers: int = 0) -> None:
        """A request that has so many bytes besides its body, and so many headers. `Journal.add` numbers it."""
        self._journal = journal
        self.began_ns = journal.now()
        if (size := size + headers * _PIECE_BYTES) > _ENTRY_BYTES:
            self.size = size

    def __repr__(self) -> str:
        model = f" {self.model}" + (f":{self.version}" if self.version else "") if self.model else ""
        fault = f", met {self.fault}" if self.fault else ""
        stub = ", answered by a stub" if self.stub is not None else ""
        asked = f"{self.protocol} {self.operation or self.target}{model}"
        return f"<JournalEntry {self.number}: {asked}: {self.status}{fault}{stub}>"

    # --- what frontends write ---

    def has(self, body: bytes) -> None:
        """The request has this body."""
        if self._keeps(body):
            self.body = body

    def wrote(self, data: bytes) -> None:
        """A piece of the answer is about to be sent."""
        if self._keeps(data):
            piece = (self._journal.now(), data)
            pieces = self.pieces
            if not pieces:  # most answers are one piece, for which a tuple is smaller
                self.pieces = (piece,)
            elif isinstance(pieces, list):
                pieces.append(piece)
            else:
                self.pieces = [*pieces, piece]

    def _keeps(self, data: bytes) -> bool:
        """Count bytes that are to be kept; returns False for those that are not."""
        journal = self._journal
        more = len(data) + _PIECE_BYTES
        size = self.size + more
        if self.truncated or size > journal.most_bytes:
            self.truncated = True
            return False
        if self.in_journal:
            self.size = size
            journal.bytes += more
            if journal.bytes > journal.most_bytes:
                journal.shrink()
            return True
        # The first piece of an answer tells whether it is for an unknown model, though the entry has fallen out.
        if self.pieces and not self.held:
            self.truncated = True
            return False
        self.size = size
        return True

    def end(self) -> None:
        """The last byte is about to be sent, or the client has gone. A second call does nothing."""
        if not self.ended_ns:
            self.ended_ns = self._journal.now()
            if self._journal.waiting:
                self._journal.tell()

    def asks_for_nothing(self) -> bool:
        """Whether the path, the method or the model that it asks for is not there; it was not answered by HTTP's 200.

        Readiness is asked of any model.
        """
        if not self.operation:
            return self.code is not None  # else the client has gone before it had asked
        return self.operation != "model_ready" and self.is_error and UNKNOWN_MODEL in self.first_bytes

    @property
    def first_bytes(self) -> bytes:
        """The first piece of the answer, over gRPC the details of its status."""
        return self.details.encode("utf-8", "replace") or (self.pieces[0][1] if self.pieces else b"")

    # --- what protocols know ---

    @property
    def is_error(self) -> bool:
        """Whether the answer is, or begins with, an error."""
        raise NotImplementedError

    @property
    def target(self) -> str:
        """The path over HTTP, the method over gRPC."""
        raise NotImplementedError

    def _headers(self) -> Iterator[tuple[str, str]]:
        raise NotImplementedError

    def asked(self) -> tuple[Sequence[Tensor], Mapping[str, Any]]:
        """What the request asks for: its inputs, and everything else that matters for its answer, as JSON's values."""
        raise NotImplementedError

    #: how many bytes at the start of the answer, when it is not compressed, are text before others; 0 is all or none
    text_size = 0
    #: how the answer is compressed, "" where it is not
    coding = ""

    def another_journal(self) -> Journal:
        """An empty journal with the bounds and the clock of this entry's."""
        journal = self._journal
        return Journal(0, journal.most_bytes, journal.secrets, journal.now, journal.now)

    @property
    def secrets(self) -> Collection[str]:
        """The names of headers whose values are secrets, in lower case."""
        return self._journal.secrets

    def _read_request(self) -> InferRequest:
        """Raises TritonError or ValueError where it is no request of its operation."""
        raise NotImplementedError

    def _read_answers(self) -> Iterator[Answer]:
        """Raises ValueError where the answer is none of its operation."""
        raise NotImplementedError

    # --- what a test reads ---

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, over gRPC its metadata, by their names in lower case; secrets are redacted."""
        secrets = self._journal.secrets
        return {name: REDACTED if name in secrets else value for name, value in self.given_headers.items()}

    @property
    def given_headers(self) -> Mapping[str, str]:
        """The same with their secrets, for criteria: nothing shows it."""
        found: dict[str, str] = {}
        for name, value in self._headers():
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    @property
    def request(self) -> InferRequest:
        """The decoded request of an inference. Raises Undecodable for anything else."""
        if self._inputs is None:
            try:
                self._inputs = self._read_request()
            except TritonError as fault:
                self._inputs = Undecodable(f"request {self.number} has no inputs: {fault.message}")
            except ValueError as fault:
                self._inputs = Undecodable(f"request {self.number} has no inputs: {fault}")
        if isinstance(self._inputs, Undecodable):
            raise self._inputs
        return self._inputs

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The inputs with their datatypes and shapes. Raises Undecodable."""
        return {tensor.name: tensor for tensor in self.request.inputs}

    @property
    def inputs(self) -> Mapping[str, Array]:
        """The inputs as arrays in the shapes that the client gave, BYTES as objects. Raises Undecodable."""
        return {name: array_of(tensor, self.number) for name, tensor in self.tensors.items()}

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The request's parameters, with the reserved ones that are set. Raises Undecodable."""
        return parameters_of(self.request)

    @property
    def id(self) -> str:
        """The id that the request has. Raises Undecodable."""
        return self.request.id

    @property
    def request_id(self) -> str:
        """The same, "" where there is none to read."""
        try:
            return self.id
        except Undecodable:
            return ""

    @property
    def requested_outputs(self) -> Sequence[str]:
        """The names of the outputs that were asked for; empty asks for all. Raises Undecodable."""
        return [output.name for output in self.request.outputs]

    @property
    def complete(self) -> bool:
        """Whether the answer has been sent, or will never be."""
        return bool(self.ended_ns)

    @property
    def status(self) -> int | str | None:
        """HTTP's status, or the name of gRPC's; None where there is none yet, or the connection was cut off first."""
        if self.code is None or self.protocol == "http":
            return self.code
        return grpc_name(self.code)

    @property
    def events(self) -> Sequence[Event]:
        """The pieces of the answer with their times; in a stream, one for each event."""
        return [Event((at - self.began_ns) / 1e9, data) for at, data in list(self.pieces) if data]

    @property
    def answer(self) -> bytes:
        """The bytes of the answer's body, over gRPC of its messages one after the other."""
        return b"".join(data for _, data in list(self.pieces))

    @property
    def answers(self) -> Sequence[Answer]:
        """The decoded answer of an inference, or each event of a stream. Raises Undecodable."""
        try:
            return list(self._read_answers())
        except (LookupError, TypeError, ValueError) as fault:  # JSON of another form, where it was cut short
            text = str(fault) if isinstance(fault, ValueError) else f"it lacks {fault}"
            raise Undecodable(f"the answer to request {self.number} has no outputs: {text}") from None

    @property
    def outputs(self) -> Mapping[str, Array]:
        """The outputs of the answer, or of the last event that has some. Raises Undecodable."""
        for answer in reversed(self.answers):
            if answer.outputs:
                return {name: array_of(tensor, self.number) for name, tensor in answer.outputs.items()}
        return {}

    @property
    def error(self) -> str | None:
        """The text of the answer's error, or of the first event that is one."""
        if self.details:
            return self.details
        try:
            return next((answer.error for answer in self.answers if answer.error is not None), None)
        except Undecodable:
            return None

    @property
    def seconds(self) -> float:
        """From the first byte of the request to the last of the answer; until now where it is not complete."""
        return ((self.ended_ns or self._journal.now()) - self.began_ns) / 1e9

    @property
    def queue_seconds(self) -> float | None:
        """How long the request waited for its model; None where no model has had it."""
        times = self.times
        if times is None:
            return None
        return ((times.compute_start or self._journal.time_ns()) - times.queue_start) / 1e9

    @property
    def compute_seconds(self) -> float | None:
        """How long the model had it: input, inference and output together; None where no model has had it."""
        return (
            None if self.times is None or not self.times.compute_start else sum(self.times.compute_ns()) / 1e9
        )


def array_of(tensor: Tensor, number: int) -> Array:
    """A tensor's elements in its shape. Raises Undecodable where they do not fill it."""
    try:
        return tensor.array
    except TritonError as fault:
        raise Undecodable(f"request {number}: tensor {tensor.name!r}: {fault.message}") from None
    except ValueError as fault:
        raise Undecodable(f"request {number}: tensor {tensor.name!r}: {fault}") from None


def parameters_of(request: InferRequest) -> dict[str, Parameter]:
    """A request's parameters, with the reserved ones that are set."""
    reserved: dict[str, Parameter] = {
        "sequence_id": request.sequence_id,
        "sequence_start": request.sequence_start,
        "sequence_end": request.sequence_end,
        "priority": request.priority,
        "timeout": request.timeout,
    }
    return {**dict(request.parameters), **{name: value for name, value in reserved.items() if value}}


class Journal:
    """The entries of one session, the newest of them."""

    def __init__(
        self,
        most: int,
        most_bytes: int,
        secrets: Iterable[str] = (),
        now: Now = monotonic_ns,
        epoch_ns: Now = time_ns,
    ) -> None:
        """Keep up to `most` entries, and up to about `most_bytes` bytes. `secrets` are further names of headers."""
        self.secrets = SECRET_HEADERS | {name.lower() for name in secrets}
        #: nanoseconds of the session's clock: steady ones, and those of the epoch
        self.now, self.time_ns = now, epoch_ns
        self._most = most
        self.most_bytes = most_bytes
        self._entries: deque[JournalEntry] = deque()
        #: about how many bytes its entries keep; they count them as they grow
        self.bytes = 0
        self._made = 0
        self._forgotten = 0
        self._changed = threading.Condition()
        #: how many threads wait for a change
        self.waiting = 0
        #: how often waiters were told of a change
        self._changes = 0

    def __repr__(self) -> str:
        return f"<Journal {len(self._entries)} entries, {self._forgotten} fell out>"

    @property
    def dropped(self) -> int:
        """How many entries have fallen out."""
        return self._forgotten

    @property
    def entries(self) -> Sequence[JournalEntry]:
        """The entries that are kept, the oldest first; may be called on any thread."""
        return list(self._entries)

    def add(self, entry: JournalEntry) -> None:
        """Keep an entry and number it. To be called on the event loop."""
        entry.number = self._made = self._made + 1
        entry.in_journal = True
        entries = self._entries
        entries.append(entry)
        self.bytes += entry.size
        if len(entries) > self._most or self.bytes > self.most_bytes:
            self.shrink()
        if self.waiting:
            self.tell()

    def shrink(self) -> None:
        """Let the oldest fall out. The newest stays, whatever it keeps."""
        entries = self._entries
        while (len(entries) > self._most or self.bytes > self.most_bytes) and len(entries) > 1:
            forgotten = entries.popleft()
            forgotten.in_journal = False
            self._forgotten += 1
            self.bytes -= forgotten.size

    def tell(self) -> None:
        """Wake the threads that wait for a change."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait(self, done: Any, timeout: float) -> bool:
        """Wait until `done()` is true, for up to `timeout` seconds; returns whether it is. Not on the event loop."""
        end = monotonic() + timeout
        with self._changed:
            self.waiting += 1
        try:
            # `done` asks a test's functions, so it holds no lock that the event loop may want
            while True:
                seen = self._changes
                if done():
                    return True
                with self._changed:
                    left = end - monotonic()
                    if not self._changed.wait_for(lambda seen=seen: self._changes != seen, left):  # type: ignore[misc]
                        break
            return bool(done())
        finally:
            with self._changed:
                self.waiting -= 1
