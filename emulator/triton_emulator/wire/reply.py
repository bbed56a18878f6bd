"""A complete HTTP answer as a value, with the header order and spelling that Triton uses."""

from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]

JSON_TYPE = b"application/json"
PLAIN_TYPE = b"text/plain"
OCTET_TYPE = b"application/octet-stream"


class PieceWriter:
    """What has ASGI's `send` as a method and can send a piece in the middle of an answer without a coroutine."""

    __slots__ = ()

    def write(self, piece: bytes) -> bool:
        """Send the piece if that needs no wait. Returns whether it did; where it did not, `send` is to be asked."""
        raise NotImplementedError


@dataclass(slots=True)
class Reply:
    """Status, headers in wire order (with their spelling), and the whole body."""

    status: int
    headers: Headers
    body: bytes = b""


def typed(status: int, content_type: bytes, body: bytes, extra: Headers = ()) -> Reply:
    """An answer whose handler set the Content-Type: it comes first, `extra` next, the length last."""
    length = (b"Content-Length", b"%d" % len(body))
    return Reply(status, ((b"Content-Type", content_type), *extra, length), body)


def untyped(status: int, body: bytes = b"", extra: Headers = ()) -> Reply:
    """An answer whose handler set no Content-Type: the server adds text/plain, after the length."""
    length = (b"Content-Length", b"%d" % len(body))
    return Reply(status, (*extra, length, (b"Content-Type", PLAIN_TYPE)), body)


def json_reply(body: bytes, status: int = 200) -> Reply:
    return typed(status, JSON_TYPE, body)
