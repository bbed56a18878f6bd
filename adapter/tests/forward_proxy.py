"""A forward proxy on this machine. It resolves every host name to the address that a test gives it."""

import asyncio
from contextlib import suppress

from adapter.tests.gateway import Relay, copy


class ForwardProxy(Relay):
    """Forwards requests in absolute form and opens CONNECT tunnels. `heads` holds the request heads as they came.

    With `answer` it sends those bytes to every request instead.
    """

    def __init__(self, address: str, *, answer: bytes = b"") -> None:
        super().__init__(address)
        self._answer = answer
        self.heads: list[str] = []

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):
            head = await self._head(reader)
            if not self._answer:
                await self._relay(head, reader, writer)
            writer.write(self._answer)
            await writer.drain()
        writer.close()

    async def _relay(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        if head.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(copy(reader, back), copy(there, writer))
            return
        answers = asyncio.create_task(copy(there, writer))
        try:
            while True:
                method, url, rest = head.split(" ", 2)
                size = int(rest.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
                path = "/" + url.split("/", 3)[3]
                back.write(f"{method} {path} {rest}".encode() + await reader.readexactly(size))
                head = await self._head(reader)
        finally:
            answers.cancel()
            back.close()

    async def _head(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        return head
