"""Connections that refuse a request body of very many chunks, as servers from 2.69 on do."""

from typing import Any

from triton_emulator.wire.http_cycle import COMPLETE
from triton_emulator.wire.http_protocol import BODY, KnownHead, TritonProtocol
from triton_emulator.wire.reply import json_reply


class ChunkCountingProtocol(TritonProtocol):
    """A connection on which a body may have `most` chunks. With one more the answer comes at once, and it closes.

    2.72: if the rest of the request has come by then, a second answer follows the first, and its head is damaged. Here
    there is none.
    """

    def __init__(self, heads: dict[bytes, KnownHead], most: int, **uvicorns: Any) -> None:
        super().__init__(heads, **uvicorns)
        self._most = most
        #: chunks of the body that is being read; the last, which is empty, counts as well
        self._chunks = 0

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._chunks = 0

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if (
            self._chunks <= self._most
            or self._reading is not BODY
            or cycle is None
            or cycle.answer is COMPLETE
        ):
            super().on_body(body)
            return
        cycle.refuse(
            json_reply(
                b'{"error":"Chunked request body exceeds maximum of %d non-empty chunks. '
                b'Send fewer or larger HTTP chunks."}' % self._most,
                400,
            )
        )
        self._refuse()
