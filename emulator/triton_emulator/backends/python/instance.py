"""One instance of a Python model: its modules, its `TritonPythonModel` object, and the calls of its functions.

The stages: import (`__init__`), `initialize`, any number of `execute`, `finalize`. A model may also end "its process"
(`os._exit` and the like, see `process`) on any thread and at any time. The instance is then broken as a dead stub
process is in Triton: `_end` answers every open call with an error, and later calls get the same error.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from triton_emulator.backends.python import children
from triton_emulator.backends.python.coroutines import CoroutineThread
from triton_emulator.backends.python.failure import describe
from triton_emulator.backends.python.members import members_of
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.modules import Space
from triton_emulator.backends.python.plan import InstancePlan
from triton_emulator.backends.python.requests import RELEASE_RESCHEDULE, InferenceRequest
from triton_emulator.backends.python.responses import InferenceResponse, failure, wire_response
from triton_emulator.backends.python.server import Server
from triton_emulator.backends.python.triton_python_backend_utils import ModelConfig, deserialize_bytes_tensor
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.protocol.personality import Personality

_LOG = logging.getLogger(__name__)


class Modules(Protocol):
    """Where the modules of an instance live: `modules.Space`, or the whole interpreter of a stub process."""

    def __init__(
        self,
        folders: Sequence[Path],
        provided: Mapping[str, ModuleType],
        end: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None: ...
    def import_module(self, name: str) -> ModuleType: ...
    def make_resident(self) -> None: ...
    def close(self) -> None: ...


class Instance:
    """A `TritonPythonModel` object with modules of its own.

    `told` are the models of which it is said already that they change what all models share. Raises LoadError if
    model.py cannot be imported.
    """

    def __init__(
        self,
        plan: InstancePlan,
        server: Server | None = None,
        metrics: MetricRegistry | None = None,
        make_modules: type[Modules] = Space,
        told: set[str] | None = None,
    ) -> None:
        self.name = plan.name
        self._model_name = plan.model
        self._told = set() if told is None else told
        #: takes a call that the model wants to execute again; None if the scheduler cannot do that
        self.reschedule: Callable[[Call], None] | None = None
        self._file = plan.file
        self._model: Any = None
        #: whether the model has an `is_ready` that readiness requests ask
        self.tells_readiness = False
        #: whether the model has ended what it takes for its own process, or this is a process that it has forked
        self._ended = False
        self._forked = False
        #: the calls that are being executed, and those that a response sender will answer later
        self._running: Sequence[Call] = ()
        #: the requests to execute again, where that was settled before `execute` had ended
        self._rescheduled: Sequence[InferenceRequest] | None = None
        self._open: set[Call] = set()
        self._coroutines = CoroutineThread(plan.name)
        self._plan = plan
        self._decoupled = plan.decoupled
        self._rules = plan.rules
        self._outputs = plan.outputs
        self._may_lack_inputs = plan.may_lack_inputs
        members = members_of(plan.name, server, metrics or MetricRegistry(), plan.rules)
        self._bls = members.bls
        self._bls.decoupled = plan.decoupled
        self._received = members.request._received
        self.space: Modules = make_modules(
            plan.folders,
            {members.utils.__name__: members.utils, members.c_utils.__name__: members.c_utils},
            self._end,
            self._tell_of_change,
        )
        children.watch(self)
        module_name = f"{plan.file.parent.name}.{plan.file.stem}"
        self._class = self._loading(lambda: self.space.import_module(module_name).TritonPythonModel)
        members.complete(plan.file.parent)

    def auto_complete(self, config_json: Callable[[], str]) -> dict[str, Any] | None:
        """The configuration that the model's `auto_complete_config` returns; None if it has no such function.

        `config_json` makes the text of the configuration to complete.
        """
        if not hasattr(self._class, "auto_complete_config"):
            return None
        config = ModelConfig(config_json())
        returned = self._loading(lambda: self._class.auto_complete_config(config))
        if not isinstance(returned, ModelConfig):
            raise LoadError(
                "Internal: auto_complete_config function in model "
                f"'{config.as_dict()['name']}' must return a valid pb.ModelConfig object."
            )
        completed: dict[str, Any] = json.loads(self._loading(lambda: json.dumps(returned.as_dict())))
        return completed

    def initialize(self, args: dict[str, str]) -> None:
        """Make the model object and call its `initialize`. Raises LoadError with Triton's text if either raises."""

        def start() -> None:
            self._model = self._class()
            if hasattr(self._model, "initialize"):
                self._model.initialize(args)

        self._loading(start)
        self._bls.allowed = True
        self.tells_readiness = self._rules.asks_is_ready and hasattr(self._model, "is_ready")

    def is_ready(self) -> bool:
        """What the model's `is_ready` returns, or its coroutine. Raises what that raises, TypeError for no boolean.

        May run beside `execute`, on another thread.
        """
        if not hasattr(self._model, "is_ready"):  # it was there at the end of `initialize`
            return True
        self.space.make_resident()
        ready = self._model.is_ready()
        if asyncio.iscoroutine(ready):
            ready = self._coroutines.start(ready).result()
        if ready.__class__ is not bool:
            raise TypeError("is_ready() must return a boolean value")
        return ready is True

    def _loading(self, step: Callable[[], Any]) -> Any:
        def enter_model() -> Any:
            return step()

        self.space.make_resident()
        try:
            returned = enter_model()
            if self._forked:
                children.leave()
            return returned
        except BaseException as error:  # noqa: BLE001 (sys.exit() in a model must not end the server)
            if self._forked:
                children.leave(error)
            text = describe(error)
            self.space.close()
            if self._ended:
                text = self._unhealthy
            raise LoadError(f"Internal: {text}") from None

    @property
    def _unhealthy(self) -> str:
        return not_healthy(self.name)

    def _end(self) -> None:
        """Answer every open call with an error; called on the thread on which the model ended its process.

        2.51: the model's stub process is gone until the model is loaded again. There the answer takes a second, and a
        request that waits for a sender outside of `execute` is never answered.
        """
        self._ended = True
        # a copy, as other threads may change the set
        refuse([*self._running, *self._open.copy()], self._plan)

    def _tell_of_change(self, change: str) -> None:
        """Say once for each model that its code changes something for all models."""
        if self._model_name not in self._told:
            self._told.add(self._model_name)
            _LOG.warning(
                "model '%s' %s: all models and the server share one process. --python-process-per-model gives the "
                "model a process of its own",
                self._model_name,
                change,
            )

    @property
    def ended(self) -> bool:
        """Whether the model has ended what it takes for its own process."""
        return self._ended

    def end_as_child(self) -> None:
        """Called in a process that a model has forked: the instance's calls are answered by the parent."""
        self._ended = self._forked = True
        self._coroutines.end_as_child()

    def execute(self, calls: Sequence[Call]) -> None:
        """Run the model over the calls and answer them."""
        # Set before `_ended` is read: if another thread of the model ends the process now, these calls are answered
        # there or here.
        self._running = calls
        if self._ended:
            refuse(calls, self._plan)
            self._running = ()
            return
        if self._may_lack_inputs and self._lacks_inputs(calls):
            self._running = ()
            return
        self.space.make_resident()
        now = calls[0].now()
        requests = []
        for call in calls:
            call.times.started(now)
            call.times.inputs_read(now)
            call.executing = self._decoupled
            requests.append(self._received(call, self._outputs, self._decoupled))
        try:
            if not self._rules.backend_checks_strings:
                self._read_inputs(calls)
            returned = self.enter_model(requests)
            now = calls[0].now()
            for call in calls:
                call.times.computed(now)
            may_be_none = self._decoupled or self._rules.senders_everywhere
            answers = None if returned is None and may_be_none else self._answers(returned, requests)
        except BaseException as error:  # noqa: BLE001 sys.exit() in a model must not end the server
            self._fail(calls, error)
        else:
            self._answer(calls, requests, answers)
        self._running = ()

    def _read_inputs(self, calls: Sequence[Call]) -> None:
        def enter_model() -> None:  # the frames in an error text end here
            _read_inputs(calls, self._rules)

        try:
            enter_model()
        except TritonError:  # the backend's own, before its stub process reads anything
            raise
        except Exception:
            if self._decoupled or self._rules.unreadable_inputs_end_stubs:
                self._end()
            raise

    def _lacks_inputs(self, calls: Sequence[Call]) -> bool:
        """Refuse all calls if one has no tensor, as 2.51 reads the batch size from the first input of each."""
        bare = next((c.request for c in calls if not c.request.inputs and not c.request.controls), None)
        if bare is None:
            return False
        error = invalid_arg(f"{bare.log_id}out of bounds index 0: request has 0 inputs")
        for call in calls:
            call.failed = True
            call.execution = 0
            call.respond(failure(call, error), final=True)
        return True

    def _answer(
        self,
        calls: Sequence[Call],
        requests: Sequence[InferenceRequest],
        answers: Sequence[InferResponse | None] | None,
    ) -> None:
        now = calls[0].now()
        for call in calls:
            call.times.ended(now)
            call.executing = False
        if (
            self._ended
        ):  # the model went on, by an `except` of its own, on another of its threads or in a child
            if self._forked:
                children.leave()
            return
        if answers is not None:
            for call, answer in zip(calls, answers, strict=True):
                if answer is not None:
                    call.respond(answer, final=True)
        if self.reschedule is not None:
            for request in _rescheduled(requests) if self._rescheduled is None else self._rescheduled:
                again: Call = request._call  # type: ignore[assignment]
                again.failed = not (self._decoupled or self._rules.error_responses_succeed)
                self.reschedule(again)
            self._rescheduled = None
        for call in calls:
            if not call.finished:
                self._leave_open(call)

    def _leave_open(self, call: Call) -> None:
        if call not in self._open:
            self._open.add(call)
            call.on_end(lambda: self._open.discard(call))
            if call.finished:  # on another thread, before `on_end` was set
                self._open.discard(call)

    def enter_model(self, requests: list[InferenceRequest]) -> Any:
        """Call the model. The frames in an error text end at this function, by its name."""
        model = self._model
        if not hasattr(model, "execute"):
            raise _Refused(f"Python model {self._file} does not implement `execute` method.")
        returned = model.execute(requests)
        if returned.__class__ is list or not asyncio.iscoroutine(returned):
            return returned
        if self._decoupled and not self._rules.decoupled_coroutines:
            return returned
        if not self._decoupled:
            return self._coroutines.start(returned).result()
        # 2.51: nothing waits for the coroutine of a decoupled model: the release flags that it sets come too late, and
        # what it raises is only logged
        self._rescheduled = _rescheduled(requests)
        self._coroutines.start(returned).add_done_callback(_log_failure)
        return None

    def _answers(self, returned: Any, requests: list[InferenceRequest]) -> list[InferResponse | None]:
        """The engine's responses for what `execute` returned; None for a request that a sender will answer."""
        if self._decoupled:
            raise _Refused(
                f"Python model '{self.name}' is using the decoupled mode and the execute function must return None."
            )
        if not isinstance(returned, list):
            raise _Refused(f"Expected a list in the execute return, found type '{type(returned)}'.")
        if len(returned) != len(requests):
            raise _Refused(
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) size is:{len(returned)}\n"
            )
        answers: list[InferResponse | None] = []
        try:
            for response, request in zip(returned, requests, strict=True):
                if response is None and (
                    self._rules.senders_everywhere or request._release == RELEASE_RESCHEDULE
                ):
                    answers.append(None)
                    continue
                if request._release == RELEASE_RESCHEDULE:
                    raise _Refused(
                        "Expected a None object in the execute function return list for reschduled request, found type "
                        f"'{type(response)}'."
                    )
                if response.__class__ is not InferenceResponse and not isinstance(
                    response, InferenceResponse
                ):
                    raise _Refused(
                        "Expected an 'InferenceResponse' object in the execute function return list, found type "
                        f"'{type(response)}'."
                    )
                answer = wire_response(request, response)
                if answer.error is not None and not self._rules.error_responses_succeed:
                    request._call.failed = True  # type: ignore[union-attr]
                answers.append(answer)
        except _Refused:
            if self._rules.responses_sent_singly:  # those before the wrong one have left
                self._send(requests, answers)
            raise
        return answers

    @staticmethod
    def _send(requests: Sequence[InferenceRequest], answers: Sequence[InferResponse | None]) -> None:
        """Send the answers of an execution that has failed all the same."""
        now = requests[0]._call.now()  # type: ignore[union-attr]
        for request, answer in zip(requests, answers, strict=False):
            call: Call = request._call  # type: ignore[assignment]
            if answer is not None:
                call.failed = True
                call.times.ended(now)
                call.respond(answer, final=True)

    def _fail(self, calls: Sequence[Call], error: BaseException) -> None:
        if self._ended:
            if self._forked:
                children.leave(error)
            for call in calls:
                call.executing = False
            return
        rules = self._rules
        if isinstance(error, TritonError):
            answer = error.copy()
        else:
            text = str(error) if isinstance(error, _Refused) else describe(error)
            template = rules.decoupled_execute_failed if self._decoupled else rules.execute_failed
            answer = internal(template.format(instance=self.name, text=text))
        _LOG.error("%s", answer.message)
        now = calls[0].now()
        uncounted = not (self._decoupled or rules.failed_executions_count)
        for call in calls:
            call.failed = True
            if uncounted:
                call.execution = 0
            call.times.ended(now)
            call.executing = False  # last, as the call is counted as soon as it is not executing any more
            call.respond(failure(call, answer), final=True)

    def close(self) -> None:
        """Drop the modules of an instance that was not initialized."""
        self.space.close()

    def finalize(self) -> None:
        """Call the model's `finalize`, then drop its modules."""
        self._bls.allowed = False
        model, self._model = None if self._ended else self._model, None

        def enter_model() -> None:
            if model is not None and hasattr(model, "finalize"):
                model.finalize()

        try:
            enter_model()
        except BaseException as error:  # noqa: BLE001 (2.51: an error here is only logged)
            _LOG.info("%s", describe(error))
        self._coroutines.stop()
        self.space.close()


def _read_inputs(calls: Sequence[Call], rules: Personality) -> None:
    """Read the requests that older backends, or their stub processes, may fail to read. Raises what they raise."""
    for call in calls:
        if not (rules.text_sequence_ids or isinstance(call.request.sequence_id, int)):
            raise invalid_arg(f"{call.request.log_id}correlation ID in request is not an unsigned int")
        for tensor in (*call.request.inputs, *call.request.controls):
            if tensor.datatype == "BYTES":
                deserialize_bytes_tensor(np.frombuffer(tensor.data, np.uint8)).reshape(tensor.shape)
            elif tensor.datatype == "BF16":
                raise _Refused("TYPE_BF16 not currently supported.")
            elif min(tensor.shape, default=0) < 0:
                raise _Refused("ValueError: negative dimensions are not allowed")


def not_healthy(name: str) -> str:
    """Triton's text about an instance whose process has ended."""
    return f"Stub process '{name}' is not healthy."


def refuse(calls: Iterable[Call], plan: InstancePlan) -> None:
    """Answer calls to an instance whose process has ended. They do not count as executed.

    From 2.47 to 2.50 nobody answers them, and before 2.47 those to a decoupled model.
    """
    rules = plan.rules
    if not (rules.dead_stubs_answer or (rules.dead_stubs_restart and not plan.decoupled)):
        return
    text = not_healthy(plan.name)
    if rules.dead_stubs_restart:
        text = rules.execute_failed.format(instance=plan.name, text=text)
    for call in calls:
        call.failed = True
        call.execution = 0
        call.executing = False
        call.respond(failure(call, internal(text)), final=True)


class _Refused(Exception):
    """The backend's own error about what `execute` returned; its text is shown without a type or frames."""


def _rescheduled(requests: Sequence[InferenceRequest]) -> Sequence[InferenceRequest]:
    """The requests that the model wants to execute again."""
    return [request for request in requests if request._release == RELEASE_RESCHEDULE]


def _log_failure(future: "Future[Coroutine[Any, Any, Any]]") -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        _LOG.error("%s", describe(error))
