"""ASGI's types, and a whole answer sent through them."""

from collections.abc import Awaitable, Callable
from typing import Any

from triton_emulator.wire.http_cycle import WHOLE
from triton_emulator.wire.reply import PieceWriter, Reply

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def writer_of(send: Send) -> Callable[[bytes], bool] | None:
    """The `write` of the `PieceWriter` whose method this `send` is; None for any other, as another server's."""
    owner = getattr(send, "__self__", None)
    return owner.write if isinstance(owner, PieceWriter) else None


def send_reply(send: Send, reply: Reply) -> Awaitable[None]:
    """Send a whole answer, headers and body, in one message."""
    return send({"type": WHOLE, "reply": reply})
