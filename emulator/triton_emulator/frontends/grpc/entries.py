"""Entries of the journal for calls over gRPC, and for each request of a stream."""

import asyncio
import base64
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from google.protobuf.message import Error

from triton_emulator.frontends.grpc.infer_request import c_string, read_infer, wants_empty_final
from triton_emulator.frontends.grpc.infer_response import in_shared_memory
from triton_emulator.frontends.grpc.messages import message_class, parser
from triton_emulator.frontends.journal_regions import NO_REGIONS
from triton_emulator.harness.cassettes.messages import fields
from triton_emulator.harness.harness import Harness
from triton_emulator.harness.journal import UNKNOWN_MODEL, JournalEntry, Undecodable
from triton_emulator.harness.journal import Answer as DecodedAnswer
from triton_emulator.harness.operations import GRPC_METHODS
from triton_emulator.protocol.errors import GRPC_STATUS, TritonError
from triton_emulator.protocol.messages import InferRequest, Parameter
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState

_CANCELLED, _UNKNOWN = 1, 2
#: the status and the details that a client gets whose connection is closed
CLOSED = 14, "Socket closed"
#: how the bytes of a message of a stream begin that is an error
_ERROR_MESSAGE = b"\x0a"
_INFERENCES = ("infer", "stream_infer")


class GrpcEntry(JournalEntry):
    """A call over gRPC, or one request of a stream. `code` is gRPC's number, 0 for a stream that goes on."""

    protocol = "grpc"

    def __init__(self, harness: Harness, method: str, data: bytes, context: Any, rules: Personality) -> None:
        metadata = context.invocation_metadata() or ()
        size = sum(len(name) + len(value) for name, value in metadata)
        super().__init__(harness.journal, size, len(metadata))
        self.operation = GRPC_METHODS[method]
        self.has(data)
        self._harness = harness
        self._method = method
        self._metadata = metadata
        self._rules = rules
        self.peer, self.deadline = context.peer(), context.time_remaining()

    def asks(self, message: Proto) -> None:
        """Note the model and the version that a message names."""
        if self.operation in _INFERENCES:
            self.model, self.version = c_string(message.model_name), message.model_version
            return
        fields = message.DESCRIPTOR.fields_by_name
        if self.operation.startswith("repository") and "model_name" in fields:
            self.model = message.model_name
        elif "name" in fields and "version" in fields:
            self.model, self.version = message.name, message.version

    def finish(self) -> None:
        """The answer is complete; without another status it is OK."""
        if self.code is None:
            self.code = 0
        self._harness.end(self)

    def close(self) -> None:
        """A fault closes the connection in the middle of the answer."""
        self.code, self.details = CLOSED
        self.cut = True

    def refused(self, error: TritonError) -> None:
        """The call, or the stream, ends with the status of an error."""
        self.code, self.details = GRPC_STATUS[error.code], error.message

    def failed(self, fault: Exception) -> None:
        """What serves a request of a stream raised what it should not."""
        self.code, self.details = _UNKNOWN, str(fault)
        self._harness.failed(self, fault)
        self._harness.end(self)

    def cancel(self) -> None:
        """The client has gone. An answer that is complete stays what it is."""
        if not self.complete:
            self.code = _CANCELLED
            self._harness.end(self)

    def asked(self) -> tuple[Sequence[Tensor], Mapping[str, Any]]:
        if self.operation in _INFERENCES:
            try:
                request = self.request
            except Undecodable:
                return (), {"bytes": base64.b64encode(self.body).decode()}
            found: dict[str, Any] = {"parameters": dict(self.parameters)} if self.parameters else {}
            if wants_empty_final(_parse_request(self.body)):
                found["empty_final_response"] = True
            if request.outputs:
                found["outputs"] = [
                    {name: value for name, value in asdict(output).items() if value}
                    for output in request.outputs
                ]
            return request.inputs, found
        try:
            message = message_class(f"{self._method}Request").FromString(self.body)
            return (), {"message": fields(message)}
        except (KeyError, ValueError, Error):  # of another service, or no message
            return (), {"bytes": base64.b64encode(self.body).decode()}

    @property
    def target(self) -> str:
        return self._method

    @property
    def is_error(self) -> bool:
        return bool(self.code)

    def _headers(self) -> Iterator[tuple[str, str]]:
        for name, value in self._metadata:
            yield name, value if isinstance(value, str) else value.decode("latin-1")

    def _read_request(self) -> InferRequest:
        if self.operation not in _INFERENCES:
            raise ValueError(f"{self.operation} has none")
        return read_infer(_parse_request(self.body), NO_REGIONS, self._rules)

    def _read_answers(self) -> Iterator[DecodedAnswer]:
        if self.code and self.operation != "stream_infer":
            yield DecodedAnswer({}, {}, self.details)
        elif self.operation == "infer":
            for _, data in list(self.pieces):
                yield _answer(_parse(message_class("ModelInferResponse"), data), self._placed())
        elif self.operation == "stream_infer":
            for _, data in list(self.pieces):
                message = _parse(message_class("ModelStreamInferResponse"), data)
                if message.error_message:
                    yield DecodedAnswer({}, {}, message.error_message)
                else:
                    yield _answer(message.infer_response, self._placed())

    def _placed(self) -> Collection[str]:
        """The outputs of which the answer has no bytes."""
        try:
            return in_shared_memory(self.request)
        except Undecodable:
            return ()

    def asks_for_nothing(self) -> bool:
        if self.operation != "stream_infer":
            return super().asks_for_nothing()
        # Whether any of its messages is an error is known when all are parsed, which may be many.
        first = self.first_bytes
        return UNKNOWN_MODEL in first and (bool(self.details) or first.startswith(_ERROR_MESSAGE))


_parse_request = parser(message_class("ModelInferRequest"))


def _parse(message_type: Any, data: bytes) -> Proto:
    try:
        return parser(message_type)(data)
    except TritonError as fault:
        raise ValueError(fault.message) from None


def _answer(message: Proto, placed: Collection[str]) -> DecodedAnswer:
    outputs = {}
    for at, output in enumerate(message.outputs):
        if output.name in placed:
            continue
        data = message.raw_output_contents[at] if at < len(message.raw_output_contents) else b""
        outputs[output.name] = Tensor(output.name, output.datatype, output.shape, data=data)
    parameters: dict[str, Parameter] = {
        name: getattr(value, value.WhichOneof("parameter_choice") or "int64_param")
        for name, value in message.parameters.items()
    }
    return DecodedAnswer(outputs, parameters)


#: Answers a call; raises TritonError, or what ends the call by a fault.
Answer = Callable[[SessionState, bytes, Any, GrpcEntry | None], Coroutine[Any, Any, bytes]]


async def watched(
    harness: Harness, session: SessionState, method: str, data: bytes, context: Any, answer: Answer
) -> bytes:
    """Serve a call of which the journal gets an entry."""
    entry = GrpcEntry(harness, method, data, context, session.personality)
    harness.journal.add(entry)
    try:
        reply = await answer(session, data, context, entry)
        entry.code = 0
        entry.wrote(reply)
    except TritonError as fault:
        entry.refused(fault)
        raise
    except asyncio.CancelledError:
        entry.code = _CANCELLED
        raise
    except Exception as fault:
        entry.code, entry.details = getattr(fault, "status", _UNKNOWN), str(getattr(fault, "details", fault))
        if not hasattr(fault, "status"):
            harness.failed(entry, fault)
        raise
    finally:
        harness.end(entry)
    return reply
