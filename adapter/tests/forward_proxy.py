"""A forward proxy on this machine, as offices have them: it finds every name at the address that a test gives it."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from adapter.tests.gateway import copy


class ForwardProxy:
    """Passes on requests in absolute form, and makes tunnels. `heads` is what it was shown, as it came.

    With `answer` it says that instead to whatever is asked.
    """

    def __init__(self, address: str, *, answer: bytes = b"") -> None:
        self._host, _, port = address.partition("://")[2].rpartition(":")
        self._port = int(port)
        self._answer = answer
        self.heads: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._own_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self._own_port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._left.wait()
        server.close()

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
