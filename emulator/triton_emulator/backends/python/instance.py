"""One instance of a Python model: its modules, its `TritonPythonModel` object, and the calls of its functions.

The stages: import (`__init__`), `initialize`, any number of `execute`, `finalize`. A model may also end "its process"
(`os._exit` and the like, see `process`) on any thread and at any time. The instance is then broken as a dead stub
process is in Triton: `_end` answers every open call with an error, and later calls get the same error.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from time import time_ns
from typing import Any

from triton_emulator.backends.python.coroutines import CoroutineThread
from triton_emulator.backends.python.failure import describe
from triton_emulator.backends.python.members import members_of
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.modules import Space
from triton_emulator.backends.python.requests import RELEASE_RESCHEDULE, InferenceRequest
from triton_emulator.backends.python.responses import InferenceResponse, failure, wire_response
from triton_emulator.backends.python.server import Server
from triton_emulator.backends.python.triton_python_backend_utils import ModelConfig
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.protocol.messages import InferResponse

_LOG = logging.getLogger(__name__)


class Instance:
    """A `TritonPythonModel` object with a module space of its own.

    `name` is the instance's name ("<group>_<number>"), which error texts contain. Raises LoadError if model.py cannot
    be imported.
    """

    def __init__(
        self,
        definition: ModelDefinition,
        name: str,
        file: Path,
        server: Server | None = None,
        metrics: MetricRegistry | None = None,
    ) -> None:
        self.name = name
        #: takes a call that the model wants to execute again; None if the scheduler cannot do that
        self.reschedule: Callable[[Call], None] | None = None
        self._file = file
        self._model: Any = None
        #: whether the model has ended what it takes for its own process
        self._ended = False
        #: the calls that are being executed, and those that a response sender will answer later
        self._running: Sequence[Call] = ()
        self._open: set[Call] = set()
        self._coroutines = CoroutineThread(name)
        self._decoupled = definition.config.decoupled
        self._outputs = frozenset(spec.name for spec in definition.config.outputs)
        config = definition.config
        self._may_lack_inputs = config.max_batch_size > 0 and all(spec.optional for spec in config.inputs)
        members = members_of(name, server, metrics or MetricRegistry())
        self._bls = members.bls
        self._received = members.request._received
        self.space = Space(
            (definition.version_directory, definition.directory),
            {members.utils.__name__: members.utils, members.c_utils.__name__: members.c_utils},
            self._end,
        )
        module_name = f"{file.parent.name}.{file.stem}"
        self._class = self._loading(lambda: self.space.import_module(module_name).TritonPythonModel)
        members.complete(file.parent)

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

    def _loading(self, step: Callable[[], Any]) -> Any:
        def enter_model() -> Any:
            return step()

        self.space.make_resident()
        try:
            return enter_model()
        except BaseException as error:  # noqa: BLE001 (sys.exit() in a model must not end the server)
            text = describe(error)
            self.space.close()
            if self._ended:
                text = self._unhealthy
            raise LoadError(f"Internal: {text}") from None

    @property
    def _unhealthy(self) -> str:
        return f"Stub process '{self.name}' is not healthy."

    def _end(self) -> None:
        """Answer every open call with an error; called on the thread on which the model ended its process.

        2.51: the model's stub process is gone until the model is loaded again. There the answer takes a second, and a
        request that waits for a sender outside of `execute` is never answered.
        """
        self._ended = True
        self._refuse([*self._running, *self._open.copy()])  # a copy, as other threads may change the set

    def _refuse(self, calls: Sequence[Call]) -> None:
        for call in calls:
            call.failed = True
            call.execution = 0
            call.executing = False
            call.respond(failure(call, internal(self._unhealthy)), final=True)

    def execute(self, calls: Sequence[Call]) -> None:
        """Run the model over the calls and answer them."""
        # Set before `_ended` is read: if another thread of the model ends the process now, these calls are answered
        # there or here.
        self._running = calls
        if self._ended:
            self._refuse(calls)
            self._running = ()
            return
        if self._may_lack_inputs and self._lacks_inputs(calls):
            self._running = ()
            return
        self.space.make_resident()
        now = time_ns()
        requests = []
        for call in calls:
            call.times.started(now)
            call.times.inputs_read(now)
            call.executing = self._decoupled
            requests.append(self._received(call, self._outputs, self._decoupled))
        try:
            returned = self.enter_model(requests)
            now = time_ns()
            for call in calls:
                call.times.computed(now)
            answers = self._answers(returned, requests) if returned is not None else None
        except BaseException as error:  # noqa: BLE001 sys.exit() in a model must not end the server
            self._fail(calls, error)
        else:
            self._answer(calls, requests, answers)
        self._running = ()

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
        now = time_ns()
        for call in calls:
            call.times.ended(now)
            call.executing = False
        if self._ended:  # the model went on, by an `except` of its own or on another of its threads
            return
        if answers is not None:
            for call, answer in zip(calls, answers, strict=True):
                if answer is not None:
                    call.respond(answer, final=True)
        for request in requests:
            if request._release == RELEASE_RESCHEDULE and self.reschedule is not None:
                self.reschedule(request._call)  # type: ignore[arg-type]
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
        future = self._coroutines.start(returned)
        if not self._decoupled:
            return future.result()
        # 2.51: nothing waits for the coroutine of a decoupled model; what it raises is only logged
        future.add_done_callback(_log_failure)
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
        for response, request in zip(returned, requests, strict=True):
            if response is None:
                answers.append(None)
                continue
            if request._release == RELEASE_RESCHEDULE:
                raise _Refused(
                    "Expected a None object in the execute function return list for reschduled request, found type "
                    f"'{type(response)}'."
                )
            if response.__class__ is not InferenceResponse and not isinstance(response, InferenceResponse):
                raise _Refused(
                    "Expected an 'InferenceResponse' object in the execute function return list, found type "
                    f"'{type(response)}'."
                )
            answers.append(wire_response(request, response))
        return answers

    def _fail(self, calls: Sequence[Call], error: BaseException) -> None:
        if self._ended:
            for call in calls:
                call.executing = False
            return
        text = str(error) if isinstance(error, _Refused) else describe(error)
        message = f"Failed to process the request(s) for model '{self.name}', message: {text}"
        _LOG.error("%s", message)
        now = time_ns()
        for call in calls:
            call.failed = True
            call.times.ended(now)
            call.executing = False  # last, as the call is counted as soon as it is not executing any more
            call.respond(failure(call, internal(message)), final=True)

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


class _Refused(Exception):
    """The backend's own error about what `execute` returned; its text is shown without a type or frames."""


def _log_failure(future: "Future[Coroutine[Any, Any, Any]]") -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        _LOG.error("%s", describe(error))
