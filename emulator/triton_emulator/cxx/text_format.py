"""Reads protobuf's text format as its C++ library does (3.21, which tritonserver 2.51 contains).

Python's `text_format` has other rules. A text is bytes here: a comment or a string may contain any byte but 0, and a
column counts bytes. A fault in a token is noted, and the parser goes on; a fault in the grammar ends the parsing. So a
text may have several faults, and they have the words and the places that the C++ library logs.
"""

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from google.protobuf import message_factory

from triton_emulator.cxx.numbers import INT32_MAX, INT64_MAX, UINT64_MAX
from triton_emulator.cxx.text_tokens import (
    END,
    FLOAT,
    INTEGER,
    NAME,
    STRING,
    Tokenizer,
    bytes_of,
    float_of,
    integer_of,
)

_UINT32_MAX = (1 << 32) - 1
_FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
#: doubles up to this one, which is what the largest float is printed as, are read as the largest float
_FLOAT_MAX_PRINTED = 3.4028235677973366e38

_BOOLEANS = dict.fromkeys(("true", "True", "t"), True) | dict.fromkeys(("false", "False", "f"), False)
_NO_NUMBERS = {"inf": float("inf"), "infinity": float("inf"), "nan": float("nan")}
_FAULTS_TOLD = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a text. `line` and `column` count from 1; a tab moves to the next multiple of 8."""

    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.what}"


class TextFormatError(ValueError):
    """A text that is not the message. `faults` has the first 100 of its faults, in the order of their finding."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def parse(data: bytes, message: Any, decode: Callable[[bytes], str] = bytes.decode) -> None:
    """Read `data` into an empty protobuf message. Raises TextFormatError.

    `decode` makes the value of a string field of its bytes, which need not be UTF-8.
    """
    text = data.decode("latin-1")
    parser = _Parser(text, decode)
    with suppress(_Stop):
        parser.root(message)
    if parser.faults:
        raise TextFormatError(tuple(_fault(text, at, what) for at, what in parser.faults[:_FAULTS_TOLD]))


def _fault(text: str, at: int, what: str) -> Fault:
    line_start = text.rfind("\n", 0, at) + 1
    # expandtabs starts a new line at "\r", the C++ library does not
    before = text[line_start:at].replace("\r", " ").expandtabs(8)
    shown = what.encode("latin-1").decode("utf-8", "backslashreplace")
    return Fault(text.count("\n", 0, at) + 1, len(before) + 1, shown)


class _Stop(Exception):
    """A fault in the grammar, which is noted already."""


@dataclass(frozen=True, slots=True)
class _Field:
    """What the parser needs to know of a field: `read` reads a scalar, `entry` makes the message of a map's entry."""

    name: str
    repeated: bool
    oneof: str
    has_presence: bool
    read: "Callable[[_Parser], Any] | None"
    entry: Callable[[], Any] | None


class _Parser(Tokenizer):
    def __init__(self, text: str, decode: Callable[[bytes], str]) -> None:
        self.decode = decode
        super().__init__(text)

    def stop(self, what: str) -> NoReturn:
        """Note a fault at the current token, and end the parsing."""
        self.note(self.start, what)
        raise _Stop

    def root(self, message: Any) -> None:
        while self.kind != END:
            self._field(message)

    def _take(self, token: str) -> bool:
        """Go on if the current token is this one; returns whether it was."""
        if self.token == token:
            self.next()
            return True
        return False

    def _consume(self, token: str) -> None:
        if not self._take(token):
            self.stop(f'Expected "{token}", found "{self.token}".')

    def _identifier(self) -> str:
        if self.kind != NAME:
            self.stop(f"Expected identifier, got: {self.token}")
        name = self.token
        self.next()
        return name

    def _field(self, message: Any, given: set[str] | None = None) -> None:
        """Read a field into the message. `given` collects the names of the fields of a map's entry."""
        descriptor = message.DESCRIPTOR
        if self._take("["):
            name = self._identifier()
            while self._take("."):
                name += "." + self._identifier()
            self._consume("]")
            self.stop(
                f'Extension "{name}" is not defined or is not an extension of "{descriptor.full_name}".'
            )
        name = self._identifier()
        field = _fields(descriptor).get(name)
        if field is None:
            self.stop(f'Message type "{descriptor.full_name}" has no field named "{name}".')
        self._refuse_second(message, field, given)
        if given is not None:
            given.add(name)
        if field.read is None:
            self._take(":")
        else:
            self._consume(":")
        if field.repeated and self._take("["):
            self._list(message, field)
        else:
            self._value(message, field)
        if not self._take(";"):
            self._take(",")

    def _refuse_second(self, message: Any, field: _Field, given: set[str] | None) -> None:
        """Refuse a field that is not repeated and is set, and a member of a oneof beside another one.

        A field without presence counts as set if its value is not 0 or empty. Those of a map's entry have presence.
        """
        if field.repeated:
            return
        name = field.name
        if given is not None:
            is_set = name in given
        else:
            is_set = message.HasField(name) if field.has_presence else not _is_zero(getattr(message, name))
        if is_set:
            self.stop(f'Non-repeated field "{name}" is specified multiple times.')
        if field.oneof and (other := message.WhichOneof(field.oneof)):
            self.stop(
                f'Field "{name}" is specified along with field "{other}", another member of oneof "{field.oneof}".'
            )

    def _list(self, message: Any, field: _Field) -> None:
        if self._take("]"):
            return
        while True:
            self._value(message, field)
            if self._take("]"):
                return
            self._consume(",")

    def _value(self, message: Any, field: _Field) -> None:
        target = getattr(message, field.name)
        if field.read is not None:
            value = field.read(self)
            if field.repeated:
                target.append(value)
            else:
                setattr(message, field.name, value)
        elif field.entry is not None:
            entry = field.entry()
            self._message(entry, set())
            _put(target, entry)
        else:
            if not field.repeated:
                target.SetInParent()
            self._message(target.add() if field.repeated else target)

    def _message(self, message: Any, given: set[str] | None = None) -> None:
        if self._take("<"):
            end = ">"
        else:
            self._consume("{")
            end = "}"
        while self.token not in (">", "}"):
            self._field(message, given)
        self._consume(end)

    def string(self) -> str:
        if self.kind != STRING:
            self.stop(f"Expected string, got: {self.token}")
        parts = []
        while self.kind == STRING:
            parts.append(bytes_of(self.token))
            self.next()
        return self.decode("".join(parts).encode("latin-1"))

    def unsigned(self, most: int) -> int:
        if self.kind != INTEGER:
            self.stop(f"Expected integer, got: {self.token}")
        value = integer_of(self.token)
        if value is None or value > most:
            self.stop(f"Integer out of range ({self.token})")
        self.next()
        return value

    def signed(self, most: int) -> int:
        if self._take("-"):
            return -self.unsigned(most + 1)
        return self.unsigned(most)

    def double(self) -> float:
        negative = self._take("-")
        token = self.token
        if self.kind == INTEGER:
            if token[:2] in ("0x", "0X") or (len(token) > 1 and token[0] == "0" and token[1] in "01234567"):
                self.stop(f"Expect a decimal number, got: {token}")
            value = float(token)
        elif self.kind == FLOAT:
            value = float_of(token)
        elif self.kind == NAME and token.lower() in _NO_NUMBERS:
            value = _NO_NUMBERS[token.lower()]
        else:
            self.stop(f"Expected double, got: {token.lower() if self.kind == NAME else token}")
        self.next()
        return -value if negative else value

    def float(self) -> float:
        value = self.double()
        if _FLOAT_MAX < abs(value):
            return math.copysign(_FLOAT_MAX if abs(value) <= _FLOAT_MAX_PRINTED else math.inf, value)
        return value

    def boolean(self, name: str) -> bool:
        if self.kind == INTEGER:
            return bool(self.unsigned(1))
        word = self._identifier()
        if word not in _BOOLEANS:
            self.stop(f'Invalid value for boolean field "{name}". Value: "{word}".')
        return _BOOLEANS[word]

    def enum(self, name: str, values: dict[str, int]) -> int:
        if self.kind == NAME:
            word = self._identifier()
            if word not in values:
                self.stop(f'Unknown enumeration value of "{word}" for field "{name}".')
            return values[word]
        if self.kind != INTEGER and not self.token.startswith("-"):
            self.stop(f"Expected integer or identifier, got: {self.token}")
        return self.signed(INT32_MAX)


@cache
def _fields(descriptor: Any) -> dict[str, _Field]:
    return {field.name: _field(field) for field in descriptor.fields}


def _field(field: Any) -> _Field:
    entry = None
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = message_factory.GetMessageClass(field.message_type)
    return _Field(
        name=field.name,
        repeated=field.is_repeated,
        oneof=field.containing_oneof.name if field.containing_oneof else "",
        has_presence=field.has_presence,
        read=None if field.message_type is not None else _reader(field),
        entry=entry,
    )


def _reader(field: Any) -> Callable[[_Parser], Any]:
    name = field.name
    if field.enum_type is not None:
        values = {value.name: value.number for value in field.enum_type.values}
        return lambda parser: parser.enum(name, values)
    readers: dict[int, Callable[[_Parser], Any]] = {
        field.CPPTYPE_INT32: lambda parser: parser.signed(INT32_MAX),
        field.CPPTYPE_INT64: lambda parser: parser.signed(INT64_MAX),
        field.CPPTYPE_UINT32: lambda parser: parser.unsigned(_UINT32_MAX),
        field.CPPTYPE_UINT64: lambda parser: parser.unsigned(UINT64_MAX),
        field.CPPTYPE_FLOAT: _Parser.float,
        field.CPPTYPE_DOUBLE: _Parser.double,
        field.CPPTYPE_BOOL: lambda parser: parser.boolean(name),
        field.CPPTYPE_STRING: _Parser.string,
    }
    return readers[field.cpp_type]


def _is_zero(value: Any) -> bool:
    """Whether a value is the default of its type: -0.0 is none."""
    return not value and str(value) != "-0.0"


def _put(target: Any, entry: Any) -> None:
    """Put an entry into a map. The last one of a key is kept."""
    if entry.DESCRIPTOR.fields_by_name["value"].message_type is None:
        target[entry.key] = entry.value
    else:
        target[entry.key].CopyFrom(entry.value)
