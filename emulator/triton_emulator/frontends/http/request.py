"""A request as a handler gets it: its route is known, its method is allowed, and its body is read.

Every operation has one handler, and all handlers have one signature. They send the answer through the request: whole by
`reply`, or in pieces by `send`.
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from triton_emulator.frontends.asgi import Receive, Send, send_reply
from triton_emulator.frontends.http.entries import HttpEntry
from triton_emulator.frontends.http.errors import typed_error
from triton_emulator.frontends.threads import LARGE, run_in_thread
from triton_emulator.protocol.errors import TritonError, internal
from triton_emulator.protocol.json_access import check_size, parse_document
from triton_emulator.protocol.json_dialect import JSONTypeError, Value
from triton_emulator.protocol.routes import Captures
from triton_emulator.session.state import SessionState
from triton_emulator.wire.reply import Reply


@dataclass(slots=True)
class Request:
    """`headers` have the client's spelling. `receive` waits until the client disconnects.

    `dropped` is the number of bytes of a body that is larger than the version accepts: it is not kept. `entry` is that
    of the journal, None without a journal.
    """

    session: SessionState
    method: str
    captures: Captures
    headers: list[tuple[bytes, bytes]]
    body: bytes
    send: Send
    receive: Receive
    dropped: int = 0
    entry: HttpEntry | None = None

    @property
    def has_body(self) -> bool:
        """Whether there is a body, kept or dropped."""
        return bool(self.body or self.dropped)

    def document(self) -> Value:
        """The JSON of the body. Raises TritonError where it is none, or too large."""
        rules = self.session.personality
        if self.dropped:
            check_size(self.dropped, rules)
        return parse_document(self.body, rules)

    def reply(self, reply: Reply) -> Awaitable[None]:
        """Send the answer. After this has been awaited, the transport has its last byte."""
        return send_reply(self.send, reply)


#: Answers a request.
Handler = Callable[[Request], Coroutine[Any, Any, None]]


def replying(
    make: Callable[[Request], Reply],
    *,
    blocks: bool = False,
    asks_models: bool = False,
    asks_workers: bool = False,
) -> Handler:
    """A handler that sends what `make` returns. A TritonError becomes application/json with its code's status.

    `make` runs in a thread if it `blocks` (it reads folders, or waits for models to load) or if the body is large. If
    it asks whether models are ready, or what other processes have counted, it does so where that may block.
    """

    async def handle(request: Request) -> None:
        try:
            session = request.session
            if (
                blocks
                or len(request.body) > LARGE
                or (asks_models and session.readiness_blocks)
                or (asks_workers and session.totals is not None)
            ):
                reply = await run_in_thread(make, request)
            else:
                reply = make(request)
        except TritonError as error:
            reply = typed_error(error, request.session.personality)
        except JSONTypeError as fault:
            # 2.51: no prefix before a wrong type on these routes
            reply = typed_error(internal(str(fault)), request.session.personality)
        await request.reply(reply)

    return handle
