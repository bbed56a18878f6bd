"""A worker as its parent has it: a process, the line to it, and the connections that it has been given."""

import asyncio
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

from triton_emulator.frontends.threads import run_in_thread
from triton_emulator.settings import Settings
from triton_emulator.workers.counted import Counted
from triton_emulator.workers.handing import count_ended, hand
from triton_emulator.workers.line import Answers, Gone, Line
from triton_emulator.workers.worker import Loaded

_LOG = logging.getLogger(__name__)
_PROGRAM = str(Path(__file__).with_name("start.py"))
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: seconds that a worker has to end when it has been told to
_END_SECONDS = 10


class Worker:
    """A process that has been started. `number` is from 1 on."""

    @classmethod
    async def start(cls, number: int, answers: Answers) -> "Worker":
        """Start one; `answers` are to its questions. Raises OSError where no process can be started."""
        worker = cls(number, answers)
        await worker._line.open(worker._socket)
        worker._ended = asyncio.create_task(worker._watch())
        return worker

    def __init__(self, number: int, answers: Answers) -> None:
        self.number = number
        self.started = monotonic()
        #: how many connections it has been given that have not ended
        self.open_connections = 0
        #: whether it listens
        self.serves = False
        #: what it had counted when it was last asked
        self.counted = Counted()
        self._line = Line(answers)
        self._socket, theirs = socket.socketpair()
        self._channel, their_channel = socket.socketpair()
        with ExitStack() as ours, theirs, their_channel, _blocked_signals():
            ours.enter_context(self._socket)
            ours.enter_context(self._channel)
            descriptors = theirs.fileno(), their_channel.fileno()
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter and our own program)
                [sys.executable, _PROGRAM, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
            ours.pop_all()  # they are closed only where no process could be started
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._count_ended)
        self._ended: asyncio.Task[None]

    def __repr__(self) -> str:
        state = "serves" if self.serves else "does not serve"
        return f"<Worker {self}, {state}, connections: {self.open_connections}>"

    def __str__(self) -> str:
        return f"{self.number} (process {self._process.pid})"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def load(self, settings: Settings, *, speaks: bool) -> Loaded:
        """Let it load its models; one worker `speaks` of it in the log. Raises Gone."""
        loaded: Loaded = await self._line.ask("load", settings, speaks)
        return loaded

    async def listen(self) -> str:
        """Let it serve; returns why a port cannot be had, "" where it can. Raises Failed and Gone."""
        failure: str = await self._line.ask("listen")
        self.serves = not failure
        return failure

    async def count(self, seconds: float) -> None:
        """Ask what it has counted, for `counted`. Where it has ended, that stays. Raises TimeoutError."""
        with suppress(Gone):
            self.counted = await asyncio.wait_for(self._line.ask("counts"), seconds)

    async def drain(self, seconds: float, *, speaks: bool) -> None:
        """Let it serve on while it has requests at work, at most for so long; one worker `speaks` of what follows."""
        with suppress(Gone, TimeoutError):
            await asyncio.wait_for(self._line.ask("drain", speaks), seconds)

    async def close(self, seconds: float) -> bool:
        """Let it end, at most for so long; returns whether all its requests were answered in time."""
        ended = False
        try:
            ended = await asyncio.wait_for(self._line.ask("close"), seconds)
        except Gone:
            _LOG.error("worker %s %s while the server stopped", self, await self.end())
        except TimeoutError:
            _LOG.error("worker %s has not ended in %s s, and is killed", self, seconds)
            self._process.kill()
        self._line.close()
        await self.end()
        return ended

    def take(self, connection: socket.socket) -> bool:
        """Give it a connection; False where it cannot take any now."""
        if not (self.serves and hand(self._channel, connection)):
            return False
        self.open_connections += 1
        return True

    async def end(self) -> str:
        """Wait until the process has ended; returns how, as the end of a sentence."""
        await asyncio.shield(self._ended)
        return _how(self._process.returncode)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def _watch(self) -> None:
        """Be there until the process has ended."""
        await self._line.run()
        self.serves = False
        try:
            await asyncio.wait_for(run_in_thread(self._process.wait), _END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await run_in_thread(self._process.wait)
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()

    def _count_ended(self) -> None:
        ended = count_ended(self._channel)
        if ended is None:
            asyncio.get_running_loop().remove_reader(self._channel)
        else:
            self.open_connections -= ended


def _how(code: int) -> str:
    if code >= 0:
        return f"has ended with the exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by the signal {-code}"


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """A process that is started meanwhile never gets the signals that end a server."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
