"""The wire format of protobuf, as far as reading a few fields of a large file needs it.

A message is a sequence of fields. Each begins with a varint: the field's number times 8, plus its wire type. Type 0 is
a varint, 1 is 8 bytes, 5 is 4 bytes, and 2 is a varint with the length of the bytes that follow: a text or a message. A
varint has 7 bits in each byte, the lowest first; the top bit of a byte says that another one follows.

A message stays in the file: its bytes are read when its fields are walked, and a field that nobody needs is skipped.
So a model with gigabytes of weights is read through a window of some kilobytes. Every length is checked against its
message's end, and the number of fields has a limit, so that no file can take much memory or time.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from triton_emulator.backends.model_files.signature import Unreadable, open_model

#: How many bytes are read at a time.
_WINDOW = 1 << 16
#: How many fields of one file are looked at. A model of a million nodes is larger than any that people serve.
_MOST_FIELDS = 2_000_000
#: The longest text, in bytes.
_LONGEST_TEXT = 1 << 14

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Source:
    """A file with a window of it in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._window = b""
        self._start = 0
        self._fields_left = _MOST_FIELDS

    def read(self, at: int, size: int) -> bytes:
        """The bytes from `at`, as many as there are, up to `size`."""
        offset = at - self._start
        if offset < 0 or offset + size > len(self._window):
            self._file.seek(at)
            self._window = self._file.read(max(size, _WINDOW))
            self._start = at
            offset = 0
        return self._window[offset : offset + size]

    def count_field(self) -> None:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise Unreadable(f"it has more than {_MOST_FIELDS} fields")


class Message:
    """A message, or the bytes of a text, between two places of a file."""

    def __init__(self, source: _Source, start: int, end: int) -> None:
        self._source = source
        self._start = start
        self._end = end

    def fields(self) -> Iterator[tuple[int, "int | Message"]]:
        """The fields in their order: number and value. Raises Unreadable where they break off or make no sense."""
        at = self._start
        while at < self._end:
            self._source.count_field()
            key, at = self._varint(at)
            number, kind = key >> 3, key & 7
            value: int | Message
            if kind == _VARINT:
                value, at = self._varint(at)
            elif kind == _BYTES:
                size, at = self._varint(at)
                if size > self._end - at:
                    raise Unreadable(f"it breaks off: {size} bytes should follow byte {at}")
                value, at = Message(self._source, at, at + size), at + size
            elif kind in (_FIXED32, _FIXED64):
                form = "<I" if kind == _FIXED32 else "<Q"
                value, at = self._fixed(form, at)
            else:
                raise Unreadable(f"it has another format: byte {at} begins no field")
            if number == 0:
                raise Unreadable(f"it has another format: a field before byte {at} has the number 0")
            yield number, value

    def messages(self, number: int) -> "Iterator[Message]":
        """The messages in the fields of that number."""
        for found, value in self.fields():
            if found == number and isinstance(value, Message):
                yield value

    def message(self, number: int) -> "Message | None":
        """The first message in a field of that number."""
        return next(self.messages(number), None)

    def integer(self, number: int, default: int) -> int:
        """The signed 64-bit integer in the first field of that number."""
        for found, value in self.fields():
            if found == number and isinstance(value, int):
                return value - (1 << 64) if value >= 1 << 63 else value
        return default

    def text(self, number: int) -> str:
        """The text in the first field of that number, "" where there is none."""
        found = self.message(number)
        return "" if found is None else found.decoded()

    def decoded(self) -> str:
        """All of it as a text."""
        size = self._end - self._start
        if size > _LONGEST_TEXT:
            raise Unreadable(f"it has a name of {size} bytes")
        data = self._source.read(self._start, size)
        if len(data) < size:
            raise Unreadable("it became shorter while it was read")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable("it has a name that is not UTF-8") from None

    def _varint(self, at: int) -> tuple[int, int]:
        value = 0
        for place, byte in enumerate(self._source.read(at, min(10, self._end - at))):
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value & (1 << 64) - 1, at + place + 1
        raise Unreadable(f"it breaks off or has another format at byte {at}")

    def _fixed(self, form: str, at: int) -> tuple[int, int]:
        size = struct.calcsize(form)
        data = self._source.read(at, size) if size <= self._end - at else b""
        if len(data) < size:
            raise Unreadable(f"it breaks off: {size} bytes should follow byte {at}")
        number: int = struct.unpack(form, data)[0]
        return number, at + size


@contextmanager
def open_message(path: Path) -> Iterator[Message]:
    """A file that holds one message. Raises Unreadable for what cannot be opened, in the block too."""
    file, size = open_model(path)
    with file:
        try:
            yield Message(_Source(file), 0, size)
        except OSError as error:
            raise Unreadable(f"it cannot be read: {error.strerror}") from None
