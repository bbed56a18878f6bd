"""What happens on the wire of one answer, as values: the lawful operations of an HTTP answer, and what faults add.

An answer is a `Head`, any number of `Body` and an `End`. In an answer that is a stream, each `Body` is one event.
Faults are functions from such a stream to another one, so they are tested as lists; a driver for each protocol performs
the result. Over gRPC a `Body` is one message, and `Head` and `End` are what gRPC makes of them.
"""

from dataclasses import dataclass

from triton_emulator.wire.reply import Headers


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the headers."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Body:
    """A piece of the body; in a stream, one event."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The answer is complete."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing happens for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing happens any more, until the client leaves or the server stops."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that need not be HTTP; over gRPC, a message that need not be protobuf."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed (FIN) after what was sent; over gRPC the call ends with UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST), and what was not sent yet is lost; over gRPC the call ends with UNAVAILABLE."""


Operation = Head | Body | End | Pause | Hang | Raw | Close | Reset
