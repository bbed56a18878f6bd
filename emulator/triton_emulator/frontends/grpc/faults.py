"""What a fault does to a call over gRPC in place of its answer."""

from triton_emulator.frontends.grpc.entries import CLOSED, GrpcEntry
from triton_emulator.harness.parts import (
    GARBAGE,
    RESET,
    Break,
    NotReady,
    Refuse,
    Script,
    TruncatedBinary,
    Unloaded,
    Wait,
)
from triton_emulator.protocol.errors import Code, TritonError, unavailable
from triton_emulator.repository.repository import unloaded
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState
from triton_emulator.wire.operations import Raw

_UNAVAILABLE = 14
#: a HealthCheckResponse with the status NOT_SERVING
_NOT_SERVING = b"\x08\x02"


class Ended(Exception):
    """A fault ends the call with a status that is not Triton's."""

    def __init__(self, status: int, details: str) -> None:
        super().__init__(status, details)
        self.status = status
        self.details = details


def closed() -> Ended:
    """What a client gets whose connection is closed."""
    return Ended(*CLOSED)


async def answered(
    entry: GrpcEntry, message: Proto, session: SessionState, *, in_messages: bool = False
) -> bytes | None:
    """Note what a call asks for, and do what a fault does before it is looked at.

    Returns the bytes of the answer, None where the server is to answer. Raises Ended and TritonError. With
    `in_messages` an error is a message of a stream, which has no status.
    """
    entry.asks(message)
    if session.harness is None or not session.harness.plans:
        return None
    session.harness.meet(entry)
    script = entry.script
    if script is None:
        return None
    script.note(Wait)  # now: the client may leave meanwhile
    if script.waits:
        await session.clock.sleep(script.waits)
    match script.answer:
        case Break(operations=operations):
            script.note(Break)
            if any(isinstance(operation, Raw) for operation in operations):
                return GARBAGE
            raise Ended(_UNAVAILABLE, "Connection reset by peer") if RESET in operations else closed()
        case Refuse(grpc=status, message=text):
            script.note(Refuse)
            if in_messages:
                raise TritonError(Code.UNKNOWN, text)
            raise Ended(status, text)
        case NotReady():
            script.note(NotReady)
            return _not_ready(entry)
        case Unloaded() if entry.operation not in ("infer", "stream_infer"):
            script.note(Unloaded)
            if entry.operation == "model_ready" and not session.personality.tells_why_no_model_is_ready:
                return b""
            raise unloaded(entry.model, entry.version)
    return None


def _not_ready(entry: GrpcEntry) -> bytes:
    """A message that says so; its field `ready` is not sent where it is false. Raises UNAVAILABLE for an inference."""
    if entry.operation in ("server_ready", "model_ready"):
        return b""
    if entry.operation == "health_check":
        return _NOT_SERVING
    raise unavailable("Server not ready")


def truncate(script: Script, answer: Proto) -> None:
    """Take bytes from the end of an output's data, as the fault does."""
    part = script.truncated
    if part is None:
        return
    for at, output in enumerate(answer.outputs):
        data = answer.raw_output_contents[at]
        if output.name == part.name and data:
            script.note(TruncatedBinary)
            answer.raw_output_contents[at] = data[: max(len(data) - part.missing, 0)]
