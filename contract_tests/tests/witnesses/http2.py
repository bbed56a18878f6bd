"""A gRPC client that writes literal bytes: it can send HTTP/2 and gRPC frames that no gRPC library would send."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS = 1, 4
ACK = 1
CANCEL = (8).to_bytes(4, "big")
NONE: Mapping[str, str] = MappingProxyType({})
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers in HPACK without its table and without Huffman codes."""
    return b"".join(
        b"\0" + b"".join(bytes((len(text),)) + text.encode() for text in header) for header in headers
    )


def message(data: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """A gRPC message with its prefix: the flag for compression, and the length."""
    return bytes((flag,)) + (len(data) if length is None else length).to_bytes(4, "big") + data


class Frame(NamedTuple):
    kind: int
    flags: int
    payload: bytes
    stream: int


@dataclass(slots=True)
class Answer:
    """The answer on the stream: the header blocks as bytes, and the messages with their prefixes."""

    headers: bytes = b""
    data: bytes = b""

    @property
    def status(self) -> int | None:
        """gRPC's status, or None if the stream has none."""
        found = self._value(b"grpc-status")
        return None if found is None else int(found)

    @property
    def details(self) -> str:
        return (self._value(b"grpc-message") or b"").decode()

    @property
    def compression(self) -> str:
        """The compression of the first message, by its flag and its first byte."""
        return {0: "none", 0x1F: "gzip", 0x78: "deflate"}[self.data[5] if self.data[0] else 0]

    def _value(self, name: bytes) -> bytes | None:
        # gRPC's encoder writes a header's name literally the first time it sends it
        _, found, rest = self.headers.partition(bytes((len(name),)) + name)
        return rest[1 : 1 + rest[0]] if found else None


def call(address: str, method: str, *pieces: bytes, headers: Mapping[str, str] = NONE) -> Answer:
    """Make one call on a new connection; each of `pieces` is sent as one DATA frame."""
    with connect(address) as connection:
        *first, last = pieces
        sent = [frame(DATA, 0, piece) for piece in first]
        connection.sendall(b"".join((start(method, headers), *sent, frame(DATA, END_STREAM, last))))
        return read(connection)


def connect(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(PREFACE + frame(SETTINGS, 0, b"", stream=0))
    return connection


def start(method: str, headers: Mapping[str, str] = NONE, *, stream: int = 1) -> bytes:
    """The HEADERS frame that begins a call."""
    usual = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/inference.GRPCInferenceService/{method}",
        ":authority": "triton",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return frame(HEADERS, END_HEADERS, block((usual | dict(headers)).items()), stream)


def read(connection: socket.socket, stream: int = 1) -> Answer:
    """Read until the stream or the connection has ended. Frames of other streams are ignored."""
    answer = Answer()
    for each in frames(connection):
        if each.stream != stream:
            continue
        if each.kind == HEADERS:
            answer.headers += each.payload
        elif each.kind == DATA:
            answer.data += each.payload
        if each.kind == RST_STREAM or (each.kind in (HEADERS, DATA) and each.flags & END_STREAM):
            break
    return answer


def frames(connection: socket.socket) -> Iterator[Frame]:
    """The server's frames until it closes the connection. Its settings are acknowledged, its pings are not."""
    with connection.makefile("rb") as file:
        while head := file.read(9):
            payload = file.read(int.from_bytes(head[:3], "big"))
            found = Frame(head[3], head[4], payload, int.from_bytes(head[5:9], "big"))
            if found.kind == SETTINGS and not found.flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, b"", stream=0))
            yield found
