r"""The reader of Triton's event streams. Pure: bytes in, JSON objects out.

Lines end at "\n" only. Triton writes U+2028, U+2029 and U+0085 raw inside JSON strings, so a reader that splits
where `str.splitlines` does loses text. A character cut by a packet boundary is whole again before it is decoded.
"""

from collections.abc import Iterator
from typing import Any

from triton_adapter.errors import BadGatewayError
from triton_adapter.jsontext import loads
from triton_adapter.triton.replies import triton_message

LONGEST_LINE = 64 * 1024 * 1024


class EventReader:
    """Reads `data: {json}` events, however the bytes are cut."""

    __slots__ = ("_data", "_line", "_size")

    def __init__(self) -> None:
        # A line that has not ended: a long one comes in many parts.
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the events completed by `data`. BadGatewayError, in its place, if one is no JSON object."""
        lines: list[bytes] = []
        if b"\n" in data:
            *lines, data = (bytes(self._line) + data if self._line else data).split(b"\n")
            self._line.clear()
        self._line += data
        if len(self._line) > LONGEST_LINE:
            raise BadGatewayError("the event stream holds a line without an end")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
                if self._size > LONGEST_LINE:
                    raise BadGatewayError("the event stream holds an event without an end")
            elif not line and self._data:
                yield self._event()
            elif line and line[:1] not in b":" and line.split(b":", 1)[0] not in (b"event", b"id", b"retry"):
                raise BadGatewayError("the reply is not an event stream")

    def end(self) -> None:
        """Tell the reader that no more bytes come. BadGatewayError if they stop inside an event."""
        rest = bytes(self._line)
        if rest.lstrip().startswith(b"{") and (message := triton_message(rest)) is not None:
            raise BadGatewayError(message)  # an error that is not inside an event
        if rest or self._data:
            raise BadGatewayError("the event stream ends in the middle of an event")

    def _event(self) -> dict[str, Any]:
        text, self._data, self._size = b"\n".join(self._data), [], 0
        try:
            event = loads(text)
        except ValueError as error:
            raise BadGatewayError("the event stream holds an event that is not JSON") from error
        if not isinstance(event, dict):
            raise BadGatewayError("the event stream holds an event that is not a JSON object")
        return event
