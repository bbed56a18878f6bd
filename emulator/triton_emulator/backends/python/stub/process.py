"""The stub process: runs one instance of a model on its main thread, and answers its server."""

import asyncio
import itertools
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from triton_emulator.backends.python.children import block_around_forks
from triton_emulator.backends.python.instance import Instance
from triton_emulator.backends.python.metrics import Family, Labels, MetricRegistry, Series
from triton_emulator.backends.python.server import Cancel, Receive
from triton_emulator.backends.python.stub.channel import Channel
from triton_emulator.backends.python.stub.messages import (
    Ask,
    AskReady,
    AutoComplete,
    BlsResponse,
    CallState,
    Done,
    Execute,
    Executed,
    Failed,
    Finalize,
    Initialize,
    Load,
    Log,
    Reply,
    Respond,
    SentCall,
    TellReady,
)
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.messages import InferRequest, InferResponse

#: the logger whose lines the server writes; a model's own loggers write to this process's console
_LOGGER = "triton_emulator"
_MAIN = threading.main_thread().ident
#: what `ps` and `top` show of the process, as of Triton's
_NAME = "triton_python_backend_stub"
#: what ends a program from a console or from a service manager
_ENDS = (signal.SIGINT, signal.SIGTERM)


def serve(jobs: int, events: int) -> None:
    """Run a model for the server at the other end of two sockets, until it is finalised or the server is gone."""
    with suppress(OSError):  # there is no such file on other systems
        Path("/proc/self/comm").write_text(_NAME)
    for number in _ENDS:
        # As in Triton's stub: the server ends its stubs itself. A handler is not inherited by programs that are run.
        signal.signal(number, _skip)
    block_around_forks(_ENDS, partial(_let_go, jobs, events))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    os.set_inheritable(jobs, False)
    os.set_inheritable(events, False)  # a program that replaces this one is no stub process
    asyncio.set_event_loop(asyncio.new_event_loop())
    link = _Link(Channel(socket.socket(fileno=events)))
    logger = logging.getLogger(_LOGGER)
    logger.handlers, logger.propagate = [_LogHandler(link)], False
    logger.setLevel(logging.DEBUG)
    threading.Thread(target=link.listen, name="server", daemon=True).start()
    _Stub(Channel(socket.socket(fileno=jobs)), link).work()


def _skip(number: int, frame: object) -> None:
    """Do nothing."""


def _let_go(*descriptors: int) -> None:
    """In a process that the model has forked: close the channels, and take the usual actions for signals."""
    for descriptor in descriptors:
        os.close(descriptor)
    for number in _ENDS:
        if signal.getsignal(number) is _skip:
            signal.signal(number, signal.SIG_DFL)


class _Link:
    """The second channel: responses and questions to the server, and its answers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count()
        self._replies: dict[int, queue.SimpleQueue[Reply]] = {}
        self._receivers: dict[int, Receive] = {}
        #: asks the model whether it is ready
        self.is_ready: Callable[[], bool] | None = None

    def send(self, message: object) -> None:
        """Send a message; may be called on any thread."""
        self._channel.send(message)

    def ask(self, question: str, *args: Any, receive: Receive | None = None) -> Any:
        """The server's answer; it may raise what the server has raised. `receive` gets the responses to a request."""
        number = next(self._numbers)
        reply = self._replies[number] = queue.SimpleQueue()
        if receive is not None:
            self._receivers[number] = receive
        self.send(Ask(number, question, args))
        answer = reply.get()
        if answer.error is not None:
            self._receivers.pop(number, None)
            raise answer.error
        return answer.value

    def tell(self, question: str, *args: Any) -> None:
        """Send what needs no answer. At the end of the process the server knows it without being told."""
        if not sys.is_finalizing():
            self.send(Ask(next(self._numbers), question, args))

    def listen(self) -> None:
        """Take the server's messages until it is gone; this ends the process."""
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                os._exit(1)
            if isinstance(message, Reply):
                self._replies.pop(message.number).put(message)
            elif isinstance(message, BlsResponse):
                take = self._receivers.pop if message.final else self._receivers.__getitem__
                take(message.number)(message.response, message.final)
            elif isinstance(message, AskReady):
                threading.Thread(target=self._tell_ready, name="is_ready", daemon=True).start()

    def _tell_ready(self) -> None:
        assert self.is_ready is not None  # noqa: S101  (the server asks after Initialize)
        try:
            told = TellReady(self.is_ready(), "")
        except BaseException as error:  # noqa: BLE001  (as in `Readiness`)
            told = TellReady(False, str(error))
        self.send(told)


class _Stub:
    """One instance, and the jobs that its server gives it."""

    def __init__(self, jobs: Channel, link: _Link) -> None:
        self._jobs = jobs
        self._link = link
        self._instance: Any = None
        self._again: list[int] = []

    def work(self) -> None:
        """Do the jobs, one after the other, on this thread."""
        done = False
        while not done:
            try:
                job = self._jobs.receive()
            except (EOFError, OSError):
                os._exit(1)
            done = isinstance(job, Finalize)
            try:
                answer: Done | Executed | Failed = self._do(job)
            except LoadError as error:
                answer = Failed(str(error))
            self._jobs.send(answer)

    def _do(self, job: Any) -> Done | Executed:
        match job:
            case Load(plan, has_server):
                server = _Server(self._link) if has_server else None
                self._instance = _Instance(plan, server, _Metrics(self._link), Modules)
                self._instance.reschedule = lambda call: self._again.append(call.number)
                return Done()
            case AutoComplete(config_json):
                return Done(self._instance.auto_complete(lambda: config_json))
            case Initialize(args):
                self._instance.initialize(args)
                self._link.is_ready = self._instance.is_ready
                return Done(self._instance.tells_readiness)
            case Execute(calls):
                return self._execute([_Call(self._link, sent) for sent in calls])
            case Finalize():
                self._instance.finalize()
                return Done()
        raise TypeError(f"no job: {job!r}")

    def _execute(self, calls: "Sequence[_Call]") -> Executed:
        self._again = []
        responses: list[Respond] = []
        self._instance.returned = responses
        self._instance.execute(calls)
        for call in calls:
            call.keep = None  # what answers it later answers at once
        if any(call.sent for call in calls if call.number in self._again):
            # Executed uses the other channel. It must not come before the responses: the server forgets the number.
            self._link.ask("has_all")
        return Executed([call.state() for call in calls], self._again, responses)


class _Instance(Instance):
    """An instance whose returned responses are kept, to be sent together."""

    returned: list[Respond]

    def _answer(self, calls: Any, *rest: Any) -> None:
        self._keep(calls)
        super()._answer(calls, *rest)

    def _fail(self, calls: Any, error: BaseException) -> None:
        self._keep(calls)
        super()._fail(calls, error)

    def _keep(self, calls: "Sequence[_Call]") -> None:
        for call in calls:
            call.keep = self.returned.append


class _Call(Call):
    """A call of the server's. Its responses are sent there."""

    __slots__ = ("_link", "keep", "number", "sent")

    def __init__(self, link: _Link, sent: SentCall) -> None:
        super().__init__(sent.request, sent.version, _not_here, _nor_here)
        self._link = link
        #: whether a response has used the second channel
        self.sent = False
        self.number = sent.number
        #: takes a response that the model has returned; None while it runs
        self.keep: Callable[[Respond], None] | None = None
        self.execution = sent.execution

    @property
    def cancelled(self) -> bool:
        """Whether the client has gone; only the server knows."""
        return bool(self._link.ask("is_cancelled", self.number))

    @cancelled.setter
    def cancelled(self, value: bool) -> None: ...

    def state(self) -> CallState:
        """What the server has to know of it now."""
        times = self.times
        return CallState(
            times.compute_start,
            times.input_end,
            times.output_start,
            times.compute_end,
            self.failed,
            self.execution,
        )

    def respond(self, response: InferResponse | None, *, final: bool) -> None:
        """Send a response to the server; may be called on any thread."""
        if self.finished:
            return
        self.finished = final
        if final:
            self.end()
        respond = Respond(self.number, response, final, self.state())
        # What has used the second channel goes on there, so that the responses stay in order.
        if self.keep is not None and not self.sent and threading.get_ident() == _MAIN:
            self.keep(respond)
        else:
            self.sent = True
            self._link.send(respond)


def _not_here(response: InferResponse | None, final: bool) -> None:
    """No response is delivered in this process."""


def _nor_here(deliver: Deliver, response: InferResponse | None, final: bool) -> None:
    """Nor on another thread of it."""


class Modules:
    """The modules of the only instance of a process: those of the interpreter. See `modules.Space`."""

    def __init__(
        self,
        folders: Sequence[Path],
        provided: Mapping[str, ModuleType],
        end: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        sys.path += map(str, folders)
        sys.modules.update(provided)

    def import_module(self, name: str) -> ModuleType:
        """Import a module."""
        __import__(name)
        return sys.modules[name]

    def make_resident(self) -> None:
        """Do nothing: no other instance's modules are here."""

    def close(self) -> None:
        """Do nothing: the process ends soon."""


class _Server:
    """`backends.python.server.Server`: the server at the other end."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def is_ready(self, name: str, version: str) -> bool:
        return bool(self._link.ask("is_ready", name, version))

    def is_decoupled(self, name: str, version: str) -> bool:
        return bool(self._link.ask("is_decoupled", name, version))

    def infer(self, request: InferRequest, receive: Receive) -> Cancel:
        number = self._link.ask("infer", request, receive=receive)
        return partial(self._link.ask, "cancel", number)

    def load(self, name: str, parameters: Mapping[str, str | bytes]) -> None:
        self._link.ask("load", name, dict(parameters))

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        self._link.ask("unload", name, unload_dependents)


@dataclass(slots=True, eq=False)
class _RemoteSeries(Series):
    """A series of the server's."""

    number: int = 0


class _Metrics(MetricRegistry):
    """The server's registry."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def family(self, name: str, description: str, kind: str) -> Family:
        self._link.ask("family", name, description, kind)
        return Family(name, description, kind)

    def hold(self, family: Family, labels: Labels, bounds: tuple[float, ...]) -> Series:
        number = self._link.ask("hold", family.name, labels, bounds)
        return _RemoteSeries(labels, number=number)

    def release(self, family: Family, series: Series) -> None:
        self._link.tell("release", _number(series))

    def add(self, series: Series, value: float) -> None:
        self._link.ask("add", _number(series), value)

    def assign(self, series: Series, value: float) -> None:
        self._link.ask("assign", _number(series), value)

    def observe(self, series: Series, value: float) -> None:
        self._link.ask("observe", _number(series), value)

    def value(self, series: Series) -> float:
        return float(self._link.ask("value", _number(series)))


def _number(series: Series) -> int:
    return cast(_RemoteSeries, series).number


class _LogHandler(logging.Handler):
    """Sends log lines to the server, which knows which of them are wanted."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        self._link.send(
            Log(
                record.name,
                record.levelno,
                record.pathname,
                record.lineno,
                record.funcName or "",
                record.getMessage(),
            )
        )
