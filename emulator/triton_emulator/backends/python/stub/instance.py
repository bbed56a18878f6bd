"""The server's side of a stub process."""

import itertools
import logging
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import time_ns
from typing import Any

from triton_emulator.backends.python.instance import not_healthy, refuse
from triton_emulator.backends.python.metrics import Family, MetricError, MetricRegistry, Series
from triton_emulator.backends.python.plan import InstancePlan
from triton_emulator.backends.python.server import Cancel, Server
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
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.errors import TritonError, internal
from triton_emulator.protocol.messages import InferRequest, InferResponse

_LOG = logging.getLogger(__name__)
_PROGRAM = str(Path(__file__).with_name("start.py"))
_Posts = queue.SimpleQueue[tuple[Channel, object] | None]
#: seconds that a stub process may take to end after its model's `finalize`: for `atexit` and threads of the model's own
_EXIT_SECONDS = 10.0


class StubInstance:
    """An instance in a stub process, with the interface of `Instance`. Raises LoadError as that does.

    `python` and `environment` are the interpreter of the process and its environment variables.
    """

    def __init__(
        self,
        plan: InstancePlan,
        python: str,
        environment: Mapping[str, str],
        server: Server | None = None,
        metrics: MetricRegistry | None = None,
    ) -> None:
        self.name = plan.name
        #: takes a call that the model wants to execute again; None if the scheduler cannot do that
        self.reschedule: Callable[[Call], None] | None = None
        self._plan = plan
        #: as `Instance.tells_readiness`
        self.tells_readiness = False
        self._told_ready: queue.SimpleQueue[TellReady] = queue.SimpleQueue()
        self._decoupled = plan.decoupled
        #: whether the process has ended, or is ending
        self._ended = False
        self._numbers = itertools.count()
        #: the calls that are not answered yet. Who takes one out answers it for the last time
        self._calls: dict[int, Call] = {}
        self._answers = _Answers(
            server, metrics or MetricRegistry(), self._calls, readiness_blocks=plan.rules.asks_is_ready
        )
        self._jobs, self._events, self._process = _start(python, environment)
        self._threads = [
            threading.Thread(target=self._listen, name=f"{plan.name} stub", daemon=True),
            threading.Thread(target=self._wait, name=f"{plan.name} exit", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._load(Load(plan, server is not None))

    @property
    def ended(self) -> bool:
        """Whether the process has ended, or is ending."""
        return self._ended

    @property
    def pid(self) -> int:
        """The process id of the stub process."""
        return self._process.pid

    def auto_complete(self, config_json: Callable[[], str]) -> dict[str, Any] | None:
        """As `Instance.auto_complete`."""
        completed: dict[str, Any] | None = self._load(AutoComplete(config_json()))
        return completed

    def initialize(self, args: dict[str, str]) -> None:
        """As `Instance.initialize`."""
        self.tells_readiness = bool(self._load(Initialize(args)))

    def is_ready(self) -> bool:
        """As `Instance.is_ready`; it is to be called on one thread at a time."""
        _send(self._events, AskReady())
        told = self._told_ready.get()
        if told.why:
            raise RuntimeError(told.why)
        return told.ready

    def execute(self, calls: Sequence[Call]) -> None:
        """As `Instance.execute`."""
        numbers = [next(self._numbers) for _ in calls]
        self._calls.update(zip(numbers, calls, strict=True))
        # After the calls are known: the reader thread sets `_ended` before it refuses those that are.
        if self._ended:
            self._refuse()
            return
        now = calls[0].now()
        for call in calls:
            call.times.started(now)
            call.executing = self._decoupled
        sent = [SentCall(n, c.request, c.version, c.execution) for n, c in zip(numbers, calls, strict=True)]
        executed = self._ask(Execute(sent))
        if not isinstance(executed, Executed):
            return
        for call, state in zip(calls, executed.states, strict=True):
            _apply(state, call)
            call.executing = False  # last, as the call is counted as soon as it is not executing any more
        for response in executed.responses:
            self._respond(response)
        for number in executed.rescheduled:
            # None if it has been answered for the last time
            again: Call | None = self._calls.pop(number, None)
            if again is not None and self.reschedule is not None:
                self.reschedule(again)

    def finalize(self) -> None:
        """Call the model's `finalize` and end its process."""
        self._ended = True
        self._ask(Finalize())
        self._end()

    def close(self) -> None:
        """End the process of an instance that was not initialized."""
        self._ended = True
        self._end_channels()  # the process ends without its server
        self._end()

    def _load(self, job: object) -> Any:
        """Do a part of the load. Raises LoadError and ends the process if it fails."""
        answer = self._ask(job)
        if isinstance(answer, Done):
            return answer.value
        self.close()
        raise LoadError(answer.text if isinstance(answer, Failed) else f"Internal: {not_healthy(self.name)}")

    def _ask(self, job: object) -> Done | Executed | Failed | None:
        """Have a job done; None if the process has ended, which `_listen` tells the callers of."""
        try:
            self._jobs.send(job)
            answer: Done | Executed | Failed | str = self._jobs.receive()
        except (EOFError, OSError):
            self._process.kill()  # it may have closed its sockets only
            return None
        # a text comes from an interpreter that cannot run the stub process
        return Failed(f"Internal: {answer}") if isinstance(answer, str) else answer

    def _end(self) -> None:
        """Wait for the end of the process, or end it."""
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            _LOG.warning(
                "the process of model instance '%s' did not end within %g s after its finalize; it is killed",
                self.name,
                _EXIT_SECONDS,
            )
            self._process.kill()
        for thread in self._threads:
            thread.join()
        self._jobs.close()

    def _end_channels(self) -> None:
        self._jobs.end()
        self._events.end()

    def _wait(self) -> None:
        self._process.wait()
        self._end_channels()  # it may have left children that still hold the other ends

    def _listen(self) -> None:
        """Take the stub process's messages until it has ended."""
        while True:
            try:
                message = self._events.receive()
            except (EOFError, OSError):
                break
            match message:
                case Respond():
                    self._respond(message)
                case Ask():
                    self._answers.answer(message, self._events)
                case TellReady():
                    self._told_ready.put(message)
                case Log():
                    _write(message)
        if not self._ended:
            self._ended = True
            self._process.kill()  # it may have closed its sockets only
            code = self._process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            _LOG.error("the process of model instance '%s' (pid %d) has ended: %s", self.name, self.pid, how)
        self._events.close()
        self._told_ready.put(TellReady(False, not_healthy(self.name)))
        self._refuse()
        self._answers.end()

    def _respond(self, message: Respond) -> None:
        call = self._calls.pop(message.number, None) if message.final else self._calls.get(message.number)
        if call is not None:
            if not call.times.compute_end:  # else Executed has told it, and more
                _apply(message.state, call)
            call.respond(message.response, final=message.final)

    def _refuse(self) -> None:
        """Refuse every call that is not answered. It may run on two threads at a time: each call is taken by one."""
        while self._calls:
            try:
                _, call = self._calls.popitem()
            except KeyError:
                return
            refuse([call], self._plan)


def _apply(state: CallState, call: Call) -> None:
    """Take over what the stub process has made of a call."""
    times = call.times
    if call.now is time_ns:
        times.compute_start, times.input_end = state.compute_start, state.input_end
        times.output_start, times.compute_end = state.output_start, state.compute_end
    else:  # the process has no clock but the real one
        times.inputs_read(times.compute_start)
        times.output_start = times.compute_end = call.now() if state.compute_end else 0
    call.failed, call.execution = state.failed, state.execution


def _start(python: str, environment: Mapping[str, str]) -> tuple[Channel, Channel, "subprocess.Popen[bytes]"]:
    """Start a stub process: the channels of jobs and of events, and the process. Raises LoadError."""
    with ExitStack() as sockets:
        jobs, their_jobs = map(sockets.enter_context, socket.socketpair())
        events, their_events = map(sockets.enter_context, socket.socketpair())
        theirs = [their_jobs.fileno(), their_events.fileno()]
        try:
            process = subprocess.Popen(  # noqa: S603
                [python, _PROGRAM, *map(str, theirs)],
                pass_fds=theirs,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
            )
        except OSError as error:
            raise LoadError(f"Internal: cannot start the model's process with {python}: {error}") from None
        return (
            Channel(socket.socket(fileno=jobs.detach())),
            Channel(socket.socket(fileno=events.detach())),
            process,
        )


def _write(line: Log) -> None:
    """Write a log line as if it had been logged here."""
    logger = logging.getLogger(line.logger)
    if logger.isEnabledFor(line.level):
        record = logger.makeRecord(
            logger.name, line.level, line.path, line.line, "%s", (line.text,), None, line.function
        )
        logger.handle(record)


class _Answers:
    """Answers what a stub process asks. Called on its reader thread, which only loads and unloads would hold up.

    `readiness_blocks`: so would the question whether a model is ready, as it may be asked itself.
    """

    def __init__(
        self,
        server: Server | None,
        metrics: MetricRegistry,
        calls: Mapping[int, Call],
        *,
        readiness_blocks: bool,
    ) -> None:
        self._blocking = ("load", "unload", "is_ready") if readiness_blocks else ("load", "unload")
        #: by the number of their Ask, the model's own requests that are not answered yet: how to cancel each, nothing
        #: until it is submitted
        self._cancels: dict[int, list[Cancel]] = {}
        self._server = server
        self._metrics = metrics
        self._calls = calls
        self._held: dict[int, tuple[Family, Series]] = {}
        self._families: dict[str, Family] = {}
        self._posts: _Posts | None = None

    def answer(self, ask: Ask, channel: Channel) -> None:
        """Answer a question, at once or on another thread."""
        if ask.question in self._blocking:
            threading.Thread(target=self._answer, args=(ask, channel), daemon=True).start()
        else:
            self._answer(ask, channel)

    def end(self) -> None:
        """Release what the process has held."""
        for number in list(self._held):
            self._release(number)
        if self._posts is not None:
            self._posts.put(None)

    def _answer(self, ask: Ask, channel: Channel) -> None:
        value, error = None, None
        try:
            value = self._value(ask, channel)
        except (TritonError, MetricError) as refused:
            error = refused
        except Exception as fault:  # noqa: BLE001 the model must not wait for ever
            _LOG.exception("cannot answer the model's '%s'", ask.question)
            error = internal(f"{type(fault).__name__}: {fault}")
        if ask.question != "release":
            _send(channel, Reply(ask.number, value, error))

    def _value(self, ask: Ask, channel: Channel) -> Any:  # noqa: C901, PLR0911 one per question
        server, metrics = self._server, self._metrics
        match ask.question, ask.args:
            case "has_all", ():  # the messages before it have been taken
                return None
            case "is_cancelled", (number,):
                call = self._calls.get(number)
                return call is not None and call.cancelled
            case "is_ready", (name, version) if server:
                return server.is_ready(name, version)
            case "is_decoupled", (name, version) if server:
                return server.is_decoupled(name, version)
            case "infer", (request,) if server:
                self._infer(server, ask.number, request, channel)
                return ask.number
            case "cancel", (number,):
                for cancel in self._cancels.get(number, ()):
                    cancel()
                return None
            case "load", (name, parameters) if server:
                return server.load(name, parameters)
            case "unload", (name, dependents) if server:
                return server.unload(name, unload_dependents=dependents)
            case "family", (name, description, kind):
                self._families[name] = metrics.family(name, description, kind)
                return None
            case "hold", (name, labels, bounds):
                family = self._families[name]
                self._held[ask.number] = family, metrics.hold(family, labels, bounds)
                return ask.number
            case "release", (number,):
                return self._release(number)
            case "value", (number,):
                return metrics.value(self._held[number][1])
            case "add" | "assign" | "observe" as change, (number, value):
                return getattr(metrics, change)(self._held[number][1], value)
        raise internal(f"no answer to '{ask.question}'")

    def _infer(self, server: Server, number: int, request: InferRequest, channel: Channel) -> None:
        receive = partial(_bls, self._sender(), number, channel, self._cancels)
        held = self._cancels[
            number
        ] = []  # known before the last response, which takes it out on another thread
        try:
            held.append(server.infer(request, receive))
        except BaseException:
            self._cancels.pop(number, None)
            raise

    def _release(self, number: int) -> None:
        family, series = self._held.pop(number)
        self._metrics.release(family, series)

    def _sender(self) -> "_Posts":
        """What sends messages for a thread that must not wait for a socket; made on the thread that ends it."""
        if self._posts is None:
            self._posts = queue.SimpleQueue()
            threading.Thread(target=_post, args=(self._posts,), daemon=True).start()
        return self._posts


def _bls(
    posts: "_Posts",
    number: int,
    channel: Channel,
    cancels: dict[int, list[Cancel]],
    response: InferResponse | None,
    final: bool,
) -> None:
    """Send a response to the model's own request. Called on the event loop."""
    if final:
        cancels.pop(number, None)
    posts.put((channel, BlsResponse(number, response, final)))


def _post(posts: "_Posts") -> None:
    """Send messages until there is None."""
    while (post := posts.get()) is not None:
        _send(*post)


def _send(channel: Channel, message: object) -> None:
    try:
        channel.send(message)
    except OSError:
        return  # the process has ended: `_listen` sees it
