"""Questions and answers between the parent and a worker: pickles over a Unix socket.

A message is the length of the pickle (uint32, in the machine's order), and the pickle of one of

    (number, name, arguments)    a question; the number is the asker's
    (number, whether it went well, value or text of the failure)
"""

import asyncio
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct("=I")
#: answers a question: an asynchronous function by its name
Answers = Mapping[str, Callable[..., Awaitable[Any]]]


class Gone(Exception):
    """The process at the other end has ended."""


class Failed(Exception):
    """The other end could not do what it was asked for. The text says why."""


class Line:
    """One end. After `open`, `run` reads until the other end is gone; `ask` may be called meanwhile."""

    def __init__(self, answers: Answers) -> None:
        """An exception of an answer is Failed, with its text, to the one who asks."""
        self._answers = answers
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Line {'open' if self._writer else 'closed'}, questions: {len(self._waiting)}>"

    async def open(self, sock: socket.socket) -> None:
        """Take a connected socket."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=sock)

    async def run(self) -> None:
        """Read what comes, and answer questions, until the other end is gone."""
        reader = self._reader
        try:
            with suppress(EOFError, OSError):
                while True:
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    self._take(pickle.loads(await reader.readexactly(length)))  # noqa: S301  (of our own process)
        finally:
            self.close()

    async def ask(self, name: str, *arguments: object) -> Any:
        """The answer to a question. Raises Failed, and Gone."""
        if self._writer is None:
            raise Gone
        self._number = number = self._number + 1
        self._waiting[number] = answer = asyncio.get_running_loop().create_future()
        try:
            self._send((number, name, arguments))
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Let the other end know that nothing more comes, and end all questions with Gone."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Gone())

    def _take(self, message: tuple[int, Any, Any]) -> None:
        number, kind, content = message
        if isinstance(kind, str):
            task = asyncio.create_task(self._reply(number, kind, content))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            if kind:
                answer.set_result(content)
            else:
                answer.set_exception(Failed(content))

    async def _reply(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            self._send((number, True, await self._answers[name](*arguments)))
        except Exception as fault:  # noqa: BLE001  (told to the one who asks)
            self._send((number, False, str(fault) or type(fault).__name__))

    def _send(self, message: object) -> None:
        if self._writer is not None:  # else nobody waits for it
            pickled = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(pickled)) + pickled)
