"""What came back over a connection, as values: a response byte for byte, and how the connection went on.

gRPC answers are shown in the same form (`clients/grpc.py`), so everything that compares, records and prints answers
works for both protocols.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Response:
    """One response as it was on the wire. Names and values of headers are latin-1, in their own spelling."""

    version: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    framing: str = "none"
    """How the end of the body is marked: content-length, chunked, close (of the connection), none."""
    chunks: tuple[int, ...] = ()
    """Sizes of the chunks in order (bytes), when the body is chunked."""
    complete: bool = True
    """Whether the whole body came that the framing announced."""

    @property
    def is_error(self) -> bool:
        """Whether it says that the request failed. gRPC's only status that is no error is 0."""
        return self.status != 0 if self.version == "gRPC" else self.status >= 400

    def header(self, name: str) -> str | None:
        """The value of the first header of that name, in any spelling; None when there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came back for one request."""

    response: Response | None
    interim: tuple[int, ...] = ()
    """Status codes of 1xx responses before it."""
    ending: str = "open"
    """The state of the connection afterwards: open, closed, reset, or silent (no answer in time)."""
    extra: bytes = b""
    """Bytes that came after the response."""
