"""What can go wrong, as values: `triton.inject(fault.error(503, "overloaded"), operation="generate", times=2)`.

Faults are combined by `+`, in their order: `fault.delay(1) + fault.reset()`. Each function raises TypeError or
ValueError for what means nothing. Where a fault makes no sense for an operation or a protocol, `inject` refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import numpy as np

from triton_emulator.harness import parts
from triton_emulator.harness.arguments import named
from triton_emulator.harness.operations import GRPC, HTTP, kinds_of
from triton_emulator.harness.parts import Part
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.errors import Code
from triton_emulator.wire.operations import Raw

__all__ = [
    "Fault",
    "cut",
    "delay",
    "drip",
    "empty",
    "error",
    "error_event",
    "garbage",
    "missing_final",
    "not_ready",
    "queue_full",
    "reset",
    "stall",
    "timeout_in_queue",
    "truncated_binary",
    "unloaded",
    "wrong_output",
]


@dataclass(frozen=True, slots=True, repr=False)
class Fault:
    """What goes wrong with one request. Made by the functions of this module; combined by `+`."""

    parts: tuple[Part, ...]

    def __add__(self, other: Fault) -> Fault:
        """Let the other fault follow.

        Raises ValueError where one of them is the whole answer (`error`, `reset`, `empty`, `garbage`, `not_ready`,
        `unloaded`, `queue_full`, `timeout_in_queue`) and the other is not a `delay` before it.
        """
        if not isinstance(other, Fault):
            return NotImplemented
        both = self.parts + other.parts
        for number, part in enumerate(both):
            if isinstance(part, parts.Answer):
                rest = [
                    *(each for each in both[:number] if not isinstance(each, parts.Wait)),
                    *both[number + 1 :],
                ]
                if rest:
                    raise ValueError(f"{part.text} is the whole answer; {rest[0].text} cannot change it")
        return Fault(both)

    def __repr__(self) -> str:
        return " + ".join(part.text for part in self.parts)

    def check(self, operation: str | None, protocol: str | None) -> None:
        """Raise ValueError where the fault makes no sense for an operation or a protocol; None is any."""
        kinds = kinds_of(operation, protocol)
        if not kinds:
            raise ValueError(f"there is no {operation} over {protocol}")
        for part in self.parts:
            if not any(part.fits(*each) for each in kinds):
                asked = " over ".join(filter(None, (operation, protocol))) or "any operation"
                raise ValueError(f"{part.text} makes no sense for {asked}; it needs {part.needs}")
        if not any(all(part.fits(*each) for part in self.parts) for each in kinds):
            raise ValueError(f"no operation has a place for all parts of {self}")


@named
def error(
    status_or_code: int | str | Code,
    message: str = "injected by a fault plan",
    *,
    retry_after: int | None = None,
) -> Fault:
    """Answer an error in Triton's form: `{"error": message}`, over gRPC the status with the message as its details.

    In a gRPC stream it is a message with an error, as Triton's are. `status_or_code` is an HTTP status (400 to 599),
    the name of a gRPC status ("RESOURCE_EXHAUSTED"), or a `Code` of Triton's. The other protocol gets the status that
    corresponds to it. `retry_after` is the header Retry-After in seconds, which there is only over HTTP.
    """
    status, grpc = parts.both_statuses(status_or_code)
    after = None if retry_after is None else _count("retry_after", retry_after)
    option = "" if after is None else f", retry_after={after}"
    return _one(
        parts.Refuse(
            f"fault.error({_short(status_or_code)}, {message!r}{option})",
            status,
            grpc,
            _text("message", message),
            after,
        )
    )


@named
def delay(seconds: float) -> Fault:
    """Wait before the request is looked at."""
    return _one(parts.Wait(f"fault.delay({seconds})", _number("seconds", seconds)))


@named
def reset() -> Fault:
    """Reset the connection (RST) in place of an answer; over gRPC the call ends with UNAVAILABLE."""
    return _one(parts.Break("fault.reset()", (parts.RESET,), (HTTP, GRPC)))


@named
def empty() -> Fault:
    """Close the connection (FIN) without an answer. Only over HTTP."""
    return _one(parts.Break("fault.empty()", (parts.CLOSE,), (HTTP,)))


@named
def garbage() -> Fault:
    """Answer bytes that are no HTTP, and close the connection; over gRPC a message that is no protobuf.

    In a gRPC stream, `tritonclient` then waits for ever in `stop_stream`: gRPC for Python does not tell it why the call
    has ended (seen with grpcio 1.85).
    """
    return _one(parts.Break("fault.garbage()", (Raw(parts.GARBAGE), parts.CLOSE), (HTTP, GRPC)))


@named
def cut(*, after_events: int | None = None, after_bytes: int | None = None) -> Fault:
    """Close the connection in the middle: after events of a stream, or after bytes of a body over HTTP.

    Over HTTP it is closed (FIN) without the last chunk; over gRPC the stream ends with UNAVAILABLE.
    """
    if (after_events is None) == (after_bytes is None):
        raise TypeError("cut takes after_events or after_bytes")
    if after_events is not None:
        return _one(
            parts.CutEvents(f"fault.cut(after_events={after_events})", _count("after_events", after_events))
        )
    return _one(parts.CutBytes(f"fault.cut(after_bytes={after_bytes})", _count("after_bytes", after_bytes)))


@named
def stall(*, after_events: int, seconds: float | None = None) -> Fault:
    """Let a stream stop after some events, for `seconds`; None is for ever."""
    lasts = "" if seconds is None else f", seconds={seconds}"
    return _one(
        parts.Stall(
            f"fault.stall(after_events={after_events}{lasts})",
            _count("after_events", after_events),
            None if seconds is None else _number("seconds", seconds),
        )
    )


@named
def drip(bytes_per_second: float) -> Fault:
    """Write the body of an answer at a number of bytes per second. Only over HTTP."""
    rate = _number("bytes_per_second", bytes_per_second)
    if not rate:
        raise ValueError("bytes_per_second is above 0")
    return _one(parts.Drip(f"fault.drip({bytes_per_second})", rate))


@named
def error_event(message: str, *, after_events: int = 1) -> Fault:
    """Send an error inside of a stream, after some events: a 200 over HTTP and an open stream over gRPC. It ends there.

    With `after_events=0` it is the first response, which `generate_stream` answers with a 400.
    """
    return _one(
        parts.ErrorEvent(
            f"fault.error_event({message!r}, after_events={after_events})",
            _text("message", message),
            _count("after_events", after_events),
        )
    )


@named
def missing_final() -> Fault:
    """Never set `triton_final_response` in the responses to a request of a gRPC stream."""
    return _one(parts.MissingFinal("fault.missing_final()"))


@named
def wrong_output(
    name: str,
    *,
    shape: Sequence[int] | None = None,
    datatype: str | None = None,
    values: Iterable[Any] | None = None,
    drop: bool = False,
) -> Fault:
    """Leave an output out (`drop`), or give it another shape (with the batch dimension), datatype, or other values.

    The output is sound by itself, as that of a model with a mistake: elements are repeated or cut to fill a shape, and
    converted to a datatype. `values` are in one dimension.
    """
    given = {"shape": shape, "datatype": datatype, "values": values}
    wanted = {key: value for key, value in given.items() if value is not None}
    if drop == bool(wanted):
        raise TypeError("wrong_output takes drop=True, or some of shape, datatype and values")
    if datatype is not None and datatype not in DATATYPES:
        raise ValueError(f"datatype is one of {', '.join(DATATYPES)}, not {datatype!r}")
    dims = None if shape is None else tuple(_count("a dimension of shape", dim) for dim in shape)
    if dims is not None and (len(dims) > _MOST_DIMS or prod(dims) > _MOST_ELEMENTS):
        raise ValueError(
            f"shape has at most {_MOST_DIMS} dimensions and {_MOST_ELEMENTS} elements, not {_short(shape)}"
        )
    elements = None if values is None else tuple(values)
    if elements is not None and not elements:
        raise ValueError("values has at least one element")
    if elements is not None and not all(isinstance(value, _ELEMENTS) for value in elements):
        raise TypeError(f"values are numbers, texts or bytes in one dimension, not {_short(values)}")
    options = ["drop=True"] if drop else [f"{key}={_short(value)}" for key, value in wanted.items()]
    text = f"fault.wrong_output({', '.join((repr(name), *options))})"
    return _one(parts.WrongOutput(text, _text("name", name), dims, datatype, elements, drop))


@named
def truncated_binary(name: str, *, bytes: int = 1) -> Fault:
    """Leave out the last `bytes` bytes of an output's binary data, whose size and shape are told as they should be."""
    missing = _count("bytes", bytes)
    if not missing:
        raise ValueError("bytes is 1 or more")
    return _one(
        parts.TruncatedBinary(
            f"fault.truncated_binary({name!r}, bytes={bytes})", _text("name", name), missing
        )
    )


@named
def not_ready(*, seconds: float | None = None, requests: int | None = None) -> Fault:
    """Be alive and not ready: health, the readiness of models and inference say so together.

    It lasts for `seconds` after `inject`, or for a number of `requests` of these kinds.
    """
    if (seconds is None) == (requests is None):
        raise TypeError("not_ready takes seconds or requests")
    if requests is not None:
        return _one(parts.NotReady(f"fault.not_ready(requests={requests})", _at_least_one(requests), None))
    return _one(parts.NotReady(f"fault.not_ready(seconds={seconds})", None, _number("seconds", seconds)))


@named
def unloaded() -> Fault:
    """Answer as if the model had been unloaded."""
    return _one(parts.Unloaded("fault.unloaded()"))


@named
def queue_full() -> Fault:
    """Refuse the request as a model does whose queue is full."""
    return _one(parts.QueueRefuses("fault.queue_full()", expired=False))


@named
def timeout_in_queue() -> Fault:
    """Refuse the request as a model does in whose queue it has waited too long."""
    return _one(parts.QueueRefuses("fault.timeout_in_queue()", expired=True))


#: The most of an output that is made up: more would take the memory of the machine.
_MOST_DIMS, _MOST_ELEMENTS = 32, 1 << 26
#: what an element of a tensor may be given as
_ELEMENTS = (bool, int, float, str, bytes, np.generic)


def _one(part: Part) -> Fault:
    return Fault((part,))


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ValueError(f"{name} is a number, 0 or more, not {value!r}")
    return float(value)


def _count(name: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is a whole number, 0 or more, not {value!r}")
    return value


def _at_least_one(value: int) -> int:
    if _count("requests", value) < 1:
        raise ValueError("requests is 1 or more")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {value!r}")
    return value


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Code) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
