"""The values of a JSON document, and the two errors of reading one.

Plain Python values, with two additions that Triton's behaviour needs: an object may hold one name twice, and a string
may hold bytes that are not UTF-8 (they travel as lone surrogates, PEP 383, so that they can be written back unchanged).
"""

from collections.abc import Sequence
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | list["Value"] | dict[str, "Value"] | None
Pair: TypeAlias = tuple[str, Value]


class DuplicateKeys(dict[str, Value]):
    """An object that names a member more than once.

    Looking a name up finds its first occurrence, as the server's own look-up does; `pairs` has every occurrence in
    document order, which is what the server sees when it walks over the members.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: Sequence[Pair]) -> None:
        super().__init__()
        self.pairs: tuple[Pair, ...] = tuple(pairs)
        for name, value in pairs:
            self.setdefault(name, value)

    def __repr__(self) -> str:
        return f"DuplicateKeys({list(self.pairs)!r})"


class JSONParseError(Exception):
    """The bytes are not the JSON that Triton reads: its message, and the byte offset at which it stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message, offset)
        self.message = message
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.message} at {self.offset}"


class JSONTypeError(Exception):
    """A JSON value is not of the type that Triton asked for; the text is Triton's."""


def make_object(pairs: list[Pair]) -> dict[str, Value]:
    """The object with these members: a plain dict unless a name occurs twice."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else DuplicateKeys(pairs)


def text_of(raw: bytes) -> str:
    """The string with these bytes, whether or not they are UTF-8."""
    return raw.decode("utf-8", "surrogateescape")


def raw_bytes(text: str) -> bytes:
    """The bytes that a string had on the wire: what a BYTES tensor holds."""
    return text.encode("utf-8", "surrogateescape")
